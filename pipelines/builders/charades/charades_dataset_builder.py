"""TFDS builder of Charades."""

import tensorflow_datasets as tfds

from pipelines.builders import video_builder
from pipelines.manifest import annotations

_CITATION = """\
@inproceedings{sigurdsson2016hollywood,
  title     = {Hollywood in Homes: Crowdsourcing Data Collection for Activity Understanding},
  author    = {Gunnar A. Sigurdsson and Gul Varol and Xiaolong Wang and Ali Farhadi and Ivan Laptev and
               Abhinav Gupta},
  booktitle = {European Conference on Computer Vision},
  year      = {2016},
}"""


class Builder(tfds.core.GeneratorBasedBuilder):
    """Charades: 7,985 videos for training and 1,863 for testing, each with the times of its actions."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Encoded files with the labels of the original annotations."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    The data set is at https://prior.allenai.org/projects/charades: the annotations and the videos scaled to
    480p. The manual directory holds

        Charades_v1_train.csv, Charades_v1_test.csv    columns id, actions and others
        Charades_v1_classes.txt                        names of the 157 classes; may be missing
        Charades_v1_480/<id>.mp4

    Videos that are missing are left out and reported.
    """

    def _info(self):
        return video_builder.dataset_info(
            self,
            num_classes=157,
            spans=True,
            description="People act out everyday scenes at home; 157 actions, several in a video.",
            homepage="https://prior.allenai.org/projects/charades",
            citation=_CITATION,
            license="For non-commercial use; see the homepage.",
        )

    def _split_generators(self, dl_manager):
        def read(directory, split, classes):
            return annotations.read_charades(directory, split)

        return video_builder.split_generators(self, dl_manager, read, ["train", "test"])

    def _generate_examples(self, directory, split, manifest):
        return video_builder.examples(self, directory, split, manifest)
