"""The TFDS builders of the data sets; TFDS makes the name `mini_kinetics200` of a class `MiniKinetics200`."""

import pathlib

import tensorflow_datasets as tfds

from pipelines.builders.video_builder import VideoBuilder
from pipelines.manifest import annotations

_KAY_2017 = """\
@article{kay2017kinetics,
  title   = {The Kinetics Human Action Video Dataset},
  author  = {Will Kay and Joao Carreira and Karen Simonyan and Brian Zhang and Chloe Hillier and
             Sudheendra Vijayanarasimhan and Fabio Viola and Tim Green and Trevor Back and Paul Natsev and
             Mustafa Suleyman and Andrew Zisserman},
  journal = {arXiv preprint arXiv:1705.06950},
  year    = {2017},
}"""

_XIE_2018 = """\
@inproceedings{xie2018rethinking,
  title     = {Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video Classification},
  author    = {Saining Xie and Chen Sun and Jonathan Huang and Zhuowen Tu and Kevin Murphy},
  booktitle = {European Conference on Computer Vision},
  year      = {2018},
}"""

_GOYAL_2017 = """\
@inproceedings{goyal2017something,
  title     = {The "Something Something" Video Database for Learning and Evaluating Visual Common Sense},
  author    = {Raghav Goyal and Samira Ebrahimi Kahou and Vincent Michalski and Joanna Materzynska and
               Susanne Westphal and Heuna Kim and Valentin Haenel and Ingo Fruend and Peter Yianilos and
               Moritz Mueller-Freitag and Florian Hoppe and Christian Thurau and Ingo Bax and
               Roland Memisevic},
  booktitle = {IEEE International Conference on Computer Vision},
  year      = {2017},
}"""

_KUEHNE_2011 = """\
@inproceedings{kuehne2011hmdb,
  title     = {HMDB: A Large Video Database for Human Motion Recognition},
  author    = {Hilde Kuehne and Hueihan Jhuang and Estibaliz Garrote and Tomaso Poggio and Thomas Serre},
  booktitle = {IEEE International Conference on Computer Vision},
  year      = {2011},
}"""

_SIGURDSSON_2016 = """\
@inproceedings{sigurdsson2016hollywood,
  title     = {Hollywood in Homes: Crowdsourcing Data Collection for Activity Understanding},
  author    = {Gunnar A. Sigurdsson and Gul Varol and Xiaolong Wang and Ali Farhadi and Ivan Laptev and
               Abhinav Gupta},
  booktitle = {European Conference on Computer Vision},
  year      = {2016},
}"""


class Kinetics400(VideoBuilder):
    """Kinetics-400: about 240,000 clips of 10 seconds for training and 20,000 for validation."""

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
    NUM_CLASSES = 400
    FACTS = {
        "description": "Clips of 10 seconds from YouTube, each showing one of 400 human actions.",
        "homepage": "https://github.com/cvdfoundation/kinetics-dataset",
        "license": "The annotations are under CC BY 4.0; the videos belong to their uploaders.",
        "citation": _KAY_2017,
    }

    def _split_names(self, directory):
        return tuple(_kinetics_tables(directory))

    def _read(self, directory, split, classes):
        return annotations.read_kinetics(directory, _kinetics_tables(directory)[split], classes)


class MiniKinetics200(VideoBuilder):
    """Mini-Kinetics-200: a part of Kinetics-400, by its authors' lists of clips or by labels."""

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
    NUM_CLASSES = 200
    SPLITS = ("train", "validation")
    FACTS = {
        "description": "The 200 classes of Kinetics-400 that have the most clips.",
        "homepage": "https://github.com/s9xie/Mini-Kinetics-200",
        "license": "The annotations of Kinetics are under CC BY 4.0; the videos belong to their uploaders.",
        "citation": _XIE_2018,
    }

    def _read(self, directory, split, classes):
        clips = {"train": "train_ytid_list.txt", "validation": "val_ytid_list.txt"}[split]
        chosen = {"clips": clips} if self.builder_config.name == "clips" else {"labels": "labels.txt"}
        table = _kinetics_tables(directory)[split]
        return annotations.read_mini_kinetics(directory, table, classes=classes, **chosen)


class SomethingSomethingV1(VideoBuilder):
    """Something-Something V1: 86,017 videos for training and 11,522 for validation, as folders of JPEGs."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    The data set is at https://developer.qualcomm.com/software/ai-datasets/something-something, after a
    registration. The manual directory holds

        something-something-v1-labels.csv                                one label a line
        something-something-v1-train.csv, ...-validation.csv             id;label
        20bn-something-something-v1/<id>/00001.jpg, 00002.jpg, ...       12 frames a second

    Videos that are missing are left out and reported.
    """
    NUM_CLASSES = 174
    SPLITS = ("train", "validation")
    FRAMES = True
    FACTS = {
        "description": "People do 174 things with everyday objects; height 100, 12 a second.",
        "homepage": "https://developer.qualcomm.com/software/ai-datasets/something-something",
        "license": "For academic research, after registration; see the homepage.",
        "citation": _GOYAL_2017,
    }

    def _read(self, directory, split, classes):
        return annotations.read_something_something_v1(directory, split)


class SomethingSomethingV2(VideoBuilder):
    """Something-Something V2: 168,913 videos for training and 24,777 for validation."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    The data set is at https://developer.qualcomm.com/software/ai-datasets/something-something, after a
    registration. The manual directory holds

        something-something-v2-labels.json                               {"label": "number", ...}
        something-something-v2-train.json, ...-validation.json           [{"id": ..., "template": ...}, ...]
        20bn-something-something-v2/<id>.webm                            or .mp4, .mkv, .avi

    Older releases call the lists something-something-v2-*.json, newer ones labels.json, train.json and
    validation.json: name them as above. Videos that are missing are left out and reported.
    """
    NUM_CLASSES = 174
    SPLITS = ("train", "validation")
    FACTS = {
        "description": "People do 174 things with everyday objects; height 240, 12 frames a second.",
        "homepage": "https://developer.qualcomm.com/software/ai-datasets/something-something",
        "license": "For academic research, after registration; see the homepage.",
        "citation": _GOYAL_2017,
    }

    def _read(self, directory, split, classes):
        return annotations.read_something_something_v2(directory, split)


class Hmdb51(VideoBuilder):
    """HMDB51: three splits, each with 70 videos of a class for training and 30 for testing."""

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
    NUM_CLASSES = 51
    SPLITS = ("train", "test")
    FACTS = {
        "description": "Clips of films and web videos, each showing one of 51 human actions.",
        "homepage": "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database",
        "license": "CC BY 4.0",
        "citation": _KUEHNE_2011,
    }

    def _read(self, directory, split, classes):
        fold = int(self.builder_config.name.removeprefix("split"))
        return annotations.read_hmdb51(directory, split, fold)


class Charades(VideoBuilder):
    """Charades: 7,985 videos for training and 1,863 for testing, each with the times of its actions."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    The data set is at https://prior.allenai.org/projects/charades: the annotations and the videos scaled to
    480p. The manual directory holds

        Charades_v1_train.csv, Charades_v1_test.csv    columns id, actions and others
        Charades_v1_classes.txt                        names of the 157 classes; may be missing
        Charades_v1_480/<id>.mp4

    Videos that are missing are left out and reported.
    """
    NUM_CLASSES = 157
    SPLITS = ("train", "test")
    SPANS = True
    FACTS = {
        "description": "People act out everyday scenes at home; 157 actions, several in a video.",
        "homepage": "https://prior.allenai.org/projects/charades",
        "license": "For non-commercial use; see the homepage.",
        "citation": _SIGURDSSON_2016,
    }

    def _read(self, directory, split, classes):
        return annotations.read_charades(directory, split)


def _kinetics_tables(directory):
    """Returns {split: annotation file} of a copy of Kinetics; a test split is only there if its file is."""
    tables = {"train": "train.csv", "validation": "validate.csv", "test": "test.csv"}
    directory = pathlib.Path(directory)
    if not (directory / tables["validation"]).exists() and (directory / "val.csv").exists():
        tables["validation"] = "val.csv"
    if not (directory / tables["test"]).exists():
        del tables["test"]
    return tables
