"""TFDS builder of HMDB51."""

import tensorflow_datasets as tfds

from pipelines.builders import video_builder
from pipelines.manifest import annotations

_CITATION = """\
@inproceedings{kuehne2011hmdb,
  title     = {HMDB: A Large Video Database for Human Motion Recognition},
  author    = {Hilde Kuehne and Hueihan Jhuang and Estibaliz Garrote and Tomaso Poggio and Thomas Serre},
  booktitle = {IEEE International Conference on Computer Vision},
  year      = {2011},
}"""


class Builder(tfds.core.GeneratorBasedBuilder):
    """HMDB51: three splits, each with 70 videos of a class for training and 30 for testing."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Encoded files with the labels of the original annotations."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=f"split{fold}", description=f"Split {fold} of 3.") for fold in (1, 2, 3)
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    The data set is at https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database:
    hmdb51_org.rar, which holds a .rar for each class, and test_train_splits.rar. Extracted, they make

        testTrainMulti_7030_splits/<class>_test_split<1, 2 or 3>.txt
        hmdb51_org/<class>/<file>.avi

    in the manual directory. Videos that are missing are left out and reported.
    """

    def _info(self):
        return video_builder.dataset_info(
            self,
            num_classes=51,
            description="Clips of films and web videos, each showing one of 51 human actions.",
            homepage="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database",
            citation=_CITATION,
            license="CC BY 4.0",
        )

    def _split_generators(self, dl_manager):
        fold = int(self.builder_config.name.removeprefix("split"))

        def read(directory, split, classes):
            return annotations.read_hmdb51(directory, split, fold)

        return video_builder.split_generators(self, dl_manager, read, ["train", "test"])

    def _generate_examples(self, directory, split, manifest):
        return video_builder.examples(self, directory, split, manifest)
