"""TFDS builder of Kinetics-400."""

import tensorflow_datasets as tfds

from pipelines.builders import video_builder
from pipelines.manifest import annotations

_CITATION = """\
@article{kay2017kinetics,
  title   = {The Kinetics Human Action Video Dataset},
  author  = {Will Kay and Joao Carreira and Karen Simonyan and Brian Zhang and Chloe Hillier and
             Sudheendra Vijayanarasimhan and Fabio Viola and Tim Green and Trevor Back and Paul Natsev and
             Mustafa Suleyman and Andrew Zisserman},
  journal = {arXiv preprint arXiv:1705.06950},
  year    = {2017},
}"""


class Builder(tfds.core.GeneratorBasedBuilder):
    """Kinetics-400: about 240,000 clips of 10 seconds for training and 20,000 for validation."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Encoded files with the labels of the original annotations."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    The lists and links to copies of the clips are at https://github.com/cvdfoundation/kinetics-dataset.
    The manual directory holds

        train.csv       label,youtube_id,time_start,time_end,split
        validate.csv    (or val.csv) the same columns
        test.csv        the same columns; may be missing
        <split>/<label>/<youtube_id>_<time_start>_<time_end>.mp4

    where <split> is as in the column `split`, times have six digits (000005), the label may have underscores
    for spaces and its folder may be left out, and videos may also be .mkv, .webm or .avi. Clips that
    are missing, as in every copy, are left out and reported.
    """

    def _info(self):
        return video_builder.dataset_info(
            self,
            num_classes=400,
            description="Clips of 10 seconds from YouTube, each showing one of 400 human actions.",
            homepage="https://github.com/cvdfoundation/kinetics-dataset",
            citation=_CITATION,
            license="The annotations are under CC BY 4.0; the videos belong to their uploaders.",
        )

    def _split_generators(self, dl_manager):
        tables = video_builder.kinetics_tables(dl_manager.manual_dir)

        def read(directory, split, classes):
            return annotations.read_kinetics(directory, tables[split], classes)

        return video_builder.split_generators(self, dl_manager, read, list(tables))

    def _generate_examples(self, directory, split, manifest):
        return video_builder.examples(self, directory, split, manifest)
