"""TFDS builder of Something-Something V2."""

import tensorflow_datasets as tfds

from pipelines.builders import video_builder
from pipelines.manifest import annotations

_CITATION = """\
@inproceedings{goyal2017something,
  title     = {The "Something Something" Video Database for Learning and Evaluating Visual Common Sense},
  author    = {Raghav Goyal and Samira Ebrahimi Kahou and Vincent Michalski and Joanna Materzynska and
               Susanne Westphal and Heuna Kim and Valentin Haenel and Ingo Fruend and Peter Yianilos and
               Moritz Mueller-Freitag and Florian Hoppe and Christian Thurau and Ingo Bax and
               Roland Memisevic},
  booktitle = {IEEE International Conference on Computer Vision},
  year      = {2017},
}"""


class Builder(tfds.core.GeneratorBasedBuilder):
    """Something-Something V2: 168,913 videos for training and 24,777 for validation."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Encoded files with the labels of the original annotations."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    The data set is at https://developer.qualcomm.com/software/ai-datasets/something-something, after a
    registration. The manual directory holds

        something-something-v2-labels.json                               {"label": "number", ...}
        something-something-v2-train.json, ...-validation.json           [{"id": ..., "template": ...}, ...]
        20bn-something-something-v2/<id>.webm                            or .mp4, .mkv, .avi

    Older releases call the lists something-something-v2-*.json, newer ones labels.json, train.json and
    validation.json: name them as above. Videos that are missing are left out and reported.
    """

    def _info(self):
        return video_builder.dataset_info(
            self,
            num_classes=174,
            description="People do 174 things with everyday objects; height 240, 12 frames a second.",
            homepage="https://developer.qualcomm.com/software/ai-datasets/something-something",
            citation=_CITATION,
            license="For academic research, after registration; see the homepage.",
        )

    def _split_generators(self, dl_manager):
        def read(directory, split, classes):
            return annotations.read_something_something_v2(directory, split)

        return video_builder.split_generators(self, dl_manager, read, ["train", "validation"])

    def _generate_examples(self, directory, split, manifest):
        return video_builder.examples(self, directory, split, manifest)
