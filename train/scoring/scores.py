"""The scores of the videos of a split, as a file that is read again without the model."""

import dataclasses
import os

import numpy as np

from pipelines.whole_files import whole_file


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a model says of the V videos of a split that can be read.

    Attributes:
        logits: float32 [V, K], averaged over the views of a video.
        labels: int [V], or bool [V, K] where a video has several labels or none.
        paths: The V paths, as in the manifest.
        classes: The K names of the classes.
    """

    logits: np.ndarray
    labels: np.ndarray
    paths: tuple
    classes: tuple

    def save(self, path):
        """Writes an `.npz` file, whole or not at all."""
        with whole_file(os.fspath(path)) as partial, open(partial, "wb") as file:
            np.savez(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote, without running anything that may be in the file."""
        with np.load(path, allow_pickle=False) as file:
            logits, labels = file["logits"], file["labels"]
            return cls(logits, labels, tuple(file["paths"].tolist()), tuple(file["classes"].tolist()))
