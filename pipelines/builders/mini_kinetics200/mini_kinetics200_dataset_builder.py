"""TFDS builder of Mini-Kinetics-200."""

import tensorflow_datasets as tfds

from pipelines.builders import video_builder
from pipelines.manifest import annotations

_CITATION = """\
@inproceedings{xie2018rethinking,
  title     = {Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video Classification},
  author    = {Saining Xie and Chen Sun and Jonathan Huang and Zhuowen Tu and Kevin Murphy},
  booktitle = {European Conference on Computer Vision},
  year      = {2018},
}"""


class Builder(tfds.core.GeneratorBasedBuilder):
    """Mini-Kinetics-200: a part of Kinetics-400, by its authors' lists of clips or by labels."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Encoded files with the labels of the original annotations."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="clips", description="80,000 and 5,000 clips listed by the authors."),
        tfds.core.BuilderConfig(name="labels", description="All clips of Kinetics-400 with the 200 labels."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    The manual directory is a copy of Kinetics-400, as the builder kinetics400 expects it (train.csv,
    validate.csv or val.csv, <split>/<label>/<youtube_id>_<time_start>_<time_end>.mp4), with

        train_ytid_list.txt, val_ytid_list.txt    one YouTube id a line, for the configuration `clips`
        labels.txt                                one label a line, for the configuration `labels`

    The lists of clips are at https://github.com/s9xie/Mini-Kinetics-200. Clips that are missing are left out
    and reported.
    """

    def _info(self):
        return video_builder.dataset_info(
            self,
            num_classes=200,
            description="The 200 classes of Kinetics-400 that have the most clips.",
            homepage="https://github.com/s9xie/Mini-Kinetics-200",
            citation=_CITATION,
            license="The annotations of Kinetics are under CC BY 4.0; the videos belong to their uploaders.",
        )

    def _split_generators(self, dl_manager):
        tables = video_builder.kinetics_tables(dl_manager.manual_dir)
        clips = {"train": "train_ytid_list.txt", "validation": "val_ytid_list.txt"}

        def read(directory, split, classes):
            if self.builder_config.name == "clips":
                chosen = {"clips": clips[split]}
            else:
                chosen = {"labels": "labels.txt"}
            return annotations.read_mini_kinetics(directory, tables[split], classes=classes, **chosen)

        return video_builder.split_generators(self, dl_manager, read, list(clips))

    def _generate_examples(self, directory, split, manifest):
        return video_builder.examples(self, directory, split, manifest)
