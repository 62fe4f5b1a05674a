"""TFDS builders: small data sets in the real ones' layout go in, and their videos and labels come out."""

import json
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import ramp_videos
import tensorflow as tf
import tensorflow_datasets as tfds

import pipelines.builders
from pipelines.builders.__main__ import main
from pipelines.decoding.decode import decode_frames

ROOT = Path(__file__).parents[1]
KINETICS_HEADER = "label,youtube_id,time_start,time_end,split"
SIDES = ["Pulling something from left to right", "Pulling something from right to left"]
MISSING = "annotated, but there is no such file"


def put(root, files):
    """Writes {path: text or bytes} below root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def table(*lines):
    return "".join(f"{line}\n" for line in lines)


def kinetics(video, classes=400):
    """Each class has one clip, the first two of them in folders of their own; one clip is missing."""
    names = [f"doing {number:03d}" for number in range(classes)]
    train = [f"{name},t{name[6:]},5,15,train" for name in names]
    files = {f"train/t{name[6:]}_000005_000015.mp4": f"clip {name}" for name in names[2:]}
    files["train/doing 000/t000_000005_000015.mp4"] = video
    files["train/doing_001/t001_000005_000015.webm"] = "clip 1"
    files["train.csv"] = table(KINETICS_HEADER, *train, "doing 007,gone,0,10,train")
    files |= {f"val/{name}/v{name[6:]}_000000_000010.mkv": f"clip v {name}" for name in names}
    val = [f"{name},v{name[6:]},0,10,val" for name in names]
    files["val.csv"] = table(KINETICS_HEADER, *val, "doing 004,gone,0,10,val")
    return files


def mini_kinetics(video):
    files = kinetics(video)
    names = [f"doing {number:03d}" for number in range(0, 400, 2)]
    files["labels.txt"] = table(*names, "doing 003").replace("doing 002\n", "")
    files["train_ytid_list.txt"] = table(*(f"t{name[6:]}" for name in names[2:]), "t000", "t003", "gone-too")
    files["val_ytid_list.txt"] = table(*(f"v{name[6:]}" for name in names[2:]), "v000", "v003", "gone")
    return files


def something(version, video):
    names = SIDES + [f"Doing something {number}" for number in range(172)]
    rows = {"train": (names[0], names[1], names[9]), "validation": (names[8], names[7])}
    base, files = f"something-something-v{version}", {}
    for first, (split, labels) in zip((1, 11), rows.items(), strict=True):
        if version == 1:
            files[f"{base}-{split}.csv"] = table(*(f"{n};{label}" for n, label in enumerate(labels, first)))
        else:
            templates = [label.replace("something", "[something]") for label in labels]
            entries = [{"id": str(n), "template": text} for n, text in enumerate(templates, first)]
            files[f"{base}-{split}.json"] = json.dumps(entries)
    if version == 1:
        files[f"{base}-labels.csv"] = table(*names)
        for number in (1, 2, 11):
            for frame in (1, 2, 3):
                picture = np.full((20, 24, 3), 20 * frame + number, np.uint8)
                path = f"20bn-something-something-v1/{number}/{frame:05d}.jpg"
                files[path] = tf.io.encode_jpeg(picture, quality=100).numpy()
    else:
        files[f"{base}-labels.json"] = json.dumps({name: str(n) for n, name in enumerate(names)})
        files |= {f"20bn-something-something-v2/{n}.webm": f"clip {n}" for n in (2, 11)}
        files["20bn-something-something-v2/1.webm"] = video
    return files


def hmdb51(video):
    files = {}
    for number in range(51):
        rows = [(f"a{number}.avi", "1"), (f"b{number}.avi", "2"), (f"c{number}.avi", "0"), ("gone.avi", "1")]
        rows = rows if number < 3 else rows[2:3]
        for fold in "123":
            uses = {"1": "2", "2": "1", "0": "0"} if (number, fold) == (0, "2") else {}
            lines = [f"{name} {uses.get(use, use)} " for name, use in rows if name[0] != "g" or fold == "1"]
            files[f"testTrainMulti_7030_splits/act{number:02d}_test_split{fold}.txt"] = table(*lines)
        files |= {f"hmdb51_org/act{number:02d}/{name}": f"clip {name}" for name, _ in rows if name[0] != "g"}
    files["hmdb51_org/act00/a0.avi"] = video
    return files


def charades(video):
    files = {"Charades_v1_480/AB.mp4": video, "Charades_v1_480/CD.mp4": "clip", "Charades_v1_480/EF.mp4": "e"}
    files["Charades_v1_train.csv"] = table(
        "id,scene,actions", "AB,Hall,c092 11.90 21.20;c147 0.00 12.60", "GONE,Hall,c001 0.00 1.00", "CD,Hall,"
    )
    files["Charades_v1_test.csv"] = table("id,scene,actions", "EF,Hall,c000 1.50 2.50")
    return files


CLIP_0 = "train/doing 000/t000_000005_000015.mp4"
GONE_VAL = "val/doing 004/gone_000000_000010.mp4"
SS1, SS2 = "20bn-something-something-v1", "20bn-something-something-v2"


class Case(NamedTuple):
    """A builder: what makes its files, and what then has to come out."""

    make: Callable
    configs: list
    num_classes: int
    splits: dict
    unusable: dict
    real: str  # Path of the one real video, and
    label: str  # the name of its label.


CASES = {
    "kinetics400": Case(
        kinetics,
        [None],
        400,
        {"train": 400, "validation": 400},
        {"train": ["train/doing 007/gone_000000_000010.mp4"], "validation": [GONE_VAL]},
        CLIP_0,
        "doing 000",
    ),
    "mini_kinetics200": Case(
        mini_kinetics,
        ["clips", "labels"],
        200,
        {"train": 200, "validation": 200},
        {"train": [], "validation": [GONE_VAL]},
        CLIP_0,
        "doing 000",
    ),
    "something_something_v1": Case(
        partial(something, 1),
        [None],
        174,
        {"train": 2, "validation": 1},
        {"train": [f"{SS1}/3"], "validation": [f"{SS1}/12"]},
        f"{SS1}/1",
        SIDES[0],
    ),
    "something_something_v2": Case(
        partial(something, 2),
        [None],
        174,
        {"train": 2, "validation": 1},
        {"train": [f"{SS2}/3.webm"], "validation": [f"{SS2}/12.webm"]},
        f"{SS2}/1.webm",
        SIDES[0],
    ),
    "hmdb51": Case(
        hmdb51,
        ["split1", "split2", "split3"],
        51,
        {"train": 3, "test": 3},
        {"train": [f"hmdb51_org/act{number:02d}/gone.avi" for number in range(3)], "test": []},
        "hmdb51_org/act00/a0.avi",
        "act00",
    ),
    "charades": Case(
        charades,
        [None],
        157,
        {"train": 2, "test": 1},
        {"train": ["Charades_v1_480/GONE.mp4"], "test": []},
        "Charades_v1_480/AB.mp4",
        None,
    ),
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """The bytes of a ramp video of 12 frames."""
    return Path(ramp_videos.write(tmp_path_factory.mktemp("ramp") / "ramp.mp4", num_frames=12)).read_bytes()


def build(root, name, files, config=None):
    put(root / name, files)
    builder = tfds.builder(name, config=config, data_dir=root / "data")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=root / name))
    return builder


@pytest.fixture(scope="module")
def built(video, tmp_path_factory):
    """Every builder once, by name: in its first configuration, which has done its work."""
    root = tmp_path_factory.mktemp("built")
    builders = {name: build(root, name, case.make(video), case.configs[0]) for name, case in CASES.items()}
    return SimpleNamespace(root=root, builders=builders)


def example(builder, path, split="train", **options):
    for found in builder.as_dataset(split=split, **options).as_numpy_iterator():
        if found["path"].decode() == path:
            return found
    raise AssertionError(f"no example {path}")


@pytest.mark.parametrize("name", CASES)
def test_features_are_known_before_there_are_data(name, tmp_path):
    builder = tfds.builder(name, data_dir=tmp_path)
    label = {"label": tf.TensorSpec((), tf.int64)}
    video = tf.TensorSpec((), tf.string)
    if name == "charades":
        spans = {"label": tf.int64, "start": tf.float32, "end": tf.float32}
        label = {"labels": {key: tf.TensorSpec((None,), dtype) for key, dtype in spans.items()}}
    if name == "something_something_v1":
        video = tf.TensorSpec((None, None, None, 3), tf.uint8)
    expected = {"video": video, "path": tf.TensorSpec((), tf.string), **label}
    specs = builder.info.features.get_tensor_spec()
    assert specs == expected
    assert class_label(builder).num_classes == CASES[name].num_classes
    for text in (builder.info.description, builder.info.citation, builder.info.redistribution_info.license):
        assert text
    assert builder.info.supervised_keys == (None if name == "charades" else ("video", "label"))


def num_examples(builder):
    return {split: info.num_examples for split, info in builder.info.splits.items()}


def class_label(builder):
    features = builder.info.features
    return features["labels"]["label"] if "labels" in features else features["label"]


@pytest.mark.parametrize("name", CASES)
def test_every_video_there_is_comes_out_once_and_missing_ones_are_named(name, built):
    case, builder = CASES[name], built.builders[name]
    assert num_examples(builder) == case.splits
    assert builder.info.metadata["unusable"] == {
        split: dict.fromkeys(paths, MISSING) for split, paths in case.unusable.items()
    }
    for split, count in case.splits.items():
        dataset = builder.as_dataset(split=split, decoders={"video": tfds.decode.SkipDecoding()})
        paths = [found["path"].decode() for found in dataset.as_numpy_iterator()]
        assert len(set(paths)) == len(paths) == count
        assert all((built.root / name / path).exists() for path in paths)


@pytest.mark.parametrize("name", [name for name in CASES if name != "something_something_v1"])
def test_a_file_comes_out_as_it_was_and_decodes_to_a_clip(name, built, video):
    found = example(built.builders[name], CASES[name].real)
    assert found["video"] == video
    assert ramp_videos.numbers(decode_frames(found["video"], [0, 5, 11]).frames) == [0, 5, 11]
    if name != "charades":
        assert class_label(built.builders[name]).int2str(found["label"]) == CASES[name].label


def test_the_example_of_the_package_makes_clips(built):
    """What the docstring shows, as it stands there but for the data set's name."""
    lines = pipelines.builders.__doc__.split("\n")
    code = [line[4:] for line in lines if line.startswith("    ") and "$" not in line]
    code = "\n".join(code).replace(
        '"kinetics400", split="validation"', '"charades", split="train", data_dir=data_dir'
    )
    scope = {"data_dir": built.root / "data"}
    exec(code.replace('example["label"]', 'example["path"]'), scope)
    readable = scope["dataset"].ignore_errors()
    ((clip, path),) = readable.as_numpy_iterator()
    assert path == b"Charades_v1_480/AB.mp4"
    assert clip.shape == (8, 64, 96, 3)


def test_labels_with_time_spans(built):
    builder = built.builders["charades"]
    labels = example(builder, "Charades_v1_480/AB.mp4")["labels"]
    np.testing.assert_array_equal(labels["label"], [92, 147])
    np.testing.assert_allclose(labels["start"], [11.9, 0.0])
    np.testing.assert_allclose(labels["end"], [21.2, 12.6])
    assert class_label(builder).names[92] == "c092"
    nothing = example(builder, "Charades_v1_480/CD.mp4")["labels"]
    assert [len(nothing[key]) for key in ("label", "start", "end")] == [0, 0, 0]


def test_folders_of_frames_in_their_order_as_pictures_and_as_their_files(built):
    builder = built.builders["something_something_v1"]
    found = example(builder, f"{SS1}/2")
    assert builder.info.features["label"].int2str(found["label"]) == SIDES[1]
    assert found["video"].shape == (3, 20, 24, 3)
    np.testing.assert_allclose(found["video"].mean(axis=(1, 2, 3)), [22, 42, 62], atol=2)
    files = example(builder, f"{SS1}/2", decoders={"video": tfds.decode.SkipDecoding()})["video"]
    folder = built.root / "something_something_v1" / SS1 / "2"
    assert list(files) == [(folder / f"{number:05d}.jpg").read_bytes() for number in (1, 2, 3)]


def test_metadata_say_which_labels_a_mirror_changes(built):
    for name, builder in built.builders.items():
        metadata = builder.info.metadata
        if name.startswith("something"):
            assert metadata["directional"] is True
            assert metadata["mirrored"] == [1, 0, *range(2, 174)]
        else:
            assert (metadata["directional"], metadata["mirrored"]) == (False, [])


def test_what_is_written_can_be_read_without_the_builder(built):
    builder = tfds.builder_from_directory(built.builders["hmdb51"].data_dir)
    assert builder.info.features["label"].names == [f"act{number:02d}" for number in range(51)]
    assert len(builder.info.metadata["unusable"]["train"]) == 3
    assert len(list(builder.as_dataset(split="test"))) == 3


def test_a_test_split_of_kinetics_and_the_releases_name_of_the_validation_file(tmp_path, video):
    files = kinetics(video)
    files["validate.csv"] = files.pop("val.csv")
    files["test.csv"] = table(KINETICS_HEADER, "doing 399,x,1,11,test")
    files["test/x_000001_000011.mp4"] = "clip x"
    builder = build(tmp_path, "kinetics400", files)
    assert set(builder.info.splits) == {"test", "train", "validation"}
    assert example(builder, "test/x_000001_000011.mp4", split="test")["label"] == 399


def test_an_empty_file_is_left_out_and_a_row_that_occurs_twice_counts_twice(tmp_path, video, caplog):
    files = charades(video)
    files["Charades_v1_480/CD.mp4"] = ""
    files["Charades_v1_test.csv"] += "EF,Hall,c001 3.00 4.00\n"
    builder = build(tmp_path, "charades", files)
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == {
        "train": 1,
        "test": 2,
    }
    unusable = tfds.builder("charades", data_dir=tmp_path / "data").info.metadata["unusable"]["train"]
    assert set(unusable) == {"Charades_v1_480/CD.mp4", "Charades_v1_480/GONE.mp4"}
    assert "0 bytes" in unusable["Charades_v1_480/CD.mp4"]
    assert "1 of 3 annotated videos cannot be used, as Charades_v1_480/GONE.mp4" in caplog.text
    assert "Bad video left out" in caplog.text


def test_a_folder_without_frames_and_one_with_an_empty_frame_are_named(tmp_path, video):
    files = something(1, video)
    del files[f"{SS1}/2/00001.jpg"], files[f"{SS1}/2/00002.jpg"], files[f"{SS1}/2/00003.jpg"]
    files[f"{SS1}/2/thumbs.db"] = "x"
    files |= {f"{SS1}/3/00001.jpg": "x", f"{SS1}/3/00002.jpg": ""}
    builder = build(tmp_path, "something_something_v1", files)
    reasons = builder.info.metadata["unusable"]["train"]
    assert "without JPEG" in reasons[f"{SS1}/2"]
    assert "empty" in reasons[f"{SS1}/3"]
    assert builder.info.splits["train"].num_examples == 1


def test_a_split_of_empty_files_is_an_error(tmp_path, video):
    files = charades(video) | {"Charades_v1_480/EF.mp4": ""}
    with pytest.raises(ValueError, match=r"'test' .*EF\.mp4: the file is empty.*Try"):
        build(tmp_path, "charades", files)
    assert not (tmp_path / "data/charades/1.0.0").exists()


@pytest.mark.parametrize("name", CASES)
def test_without_manual_files_the_instructions_are_shown(name, tmp_path):
    with pytest.raises(AssertionError, match=r"does not exist or is empty[\s\S]*manual directory"):
        build(tmp_path, name, {})


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("kinetics400", "train.csv"),
        ("kinetics400", "val.csv"),
        ("mini_kinetics200", "val_ytid_list.txt"),
        ("something_something_v1", "something-something-v1-labels.csv"),
        ("something_something_v2", "something-something-v2-validation.json"),
        ("charades", "Charades_v1_test.csv"),
    ],
)
def test_a_missing_annotation_file_is_named_with_the_instructions(name, absent, tmp_path, video):
    files = CASES[name].make(video)
    del files[absent]
    with pytest.raises(FileNotFoundError, match=absent.replace("val.csv", "validate.csv")) as raised:
        build(tmp_path, name, files)
    (note,) = raised.value.__notes__
    assert note.startswith(f"For {name}, with --manual_dir={tmp_path / name}:\n\n")
    assert textwrap.dedent(tfds.builder_cls(name).MANUAL_DOWNLOAD_INSTRUCTIONS) in note


def test_a_split_without_videos_and_another_number_of_classes_are_errors(tmp_path, video):
    files = kinetics(video)
    files = {path: content for path, content in files.items() if not path.startswith("val/")}
    with pytest.raises(ValueError, match=r"401 rows of .*val\.csv.*Try"):
        build(tmp_path / "a", "kinetics400", files)
    with pytest.raises(
        ValueError, match=r"Expected annotations of 400 classes .*Received 399\. Try"
    ) as raised:
        build(tmp_path / "b", "kinetics400", kinetics(video, classes=399))
    assert raised.value.__notes__


BUILD = ["-m", "pipelines.builders"]
TFDS_BUILD = ["-m", "tensorflow_datasets.scripts.cli.main", "build"]


@pytest.mark.parametrize(
    "command",
    [
        [*BUILD, "hmdb51/split2"],
        [*BUILD, "hmdb51", "--config=split2"],
        [*TFDS_BUILD, "--imports=pipelines.builders", "hmdb51/split2"],
        [*TFDS_BUILD, "--imports=pipelines.builders", "hmdb51", "--config=split2"],
    ],
    ids=lambda command: " ".join(command),
)
def test_the_command_line_builds(command, tmp_path, video):
    if command[1] != BUILD[1]:
        for needed in ("apache_beam", "mlcroissant"):
            pytest.importorskip(needed, reason="the program tfds does not start without it")
    put(tmp_path / "manual", hmdb51(video))
    process = run(*command, f"--data_dir={tmp_path / 'data'}", f"--manual_dir={tmp_path / 'manual'}")
    assert process.returncode == 0, process.stderr[-3000:]
    builder = tfds.builder("hmdb51/split2", data_dir=tmp_path / "data")
    assert num_examples(builder) == {"train": 3, "test": 3}
    assert example(builder, "hmdb51_org/act00/b0.avi")  # Trains in the second split alone.


def test_a_folder_may_have_the_name_of_the_data_set(tmp_path, video, monkeypatch):
    put(tmp_path / "charades", charades(video))
    monkeypatch.chdir(tmp_path)
    assert main(["charades", "--manual_dir=charades", "--data_dir=data"]) == 0
    assert num_examples(tfds.builder("charades", data_dir="data")) == {"train": 2, "test": 1}


def test_the_command_line_says_what_is_missing(tmp_path):
    put(tmp_path, {"manual/readme.txt": "x"})
    process = run(*BUILD, "charades", f"--data_dir={tmp_path}", f"--manual_dir={tmp_path / 'manual'}")
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    message = process.stderr[process.stderr.index("error: Expected") :]
    assert message.index("Charades_v1_train.csv") < message.index("For charades, with --manual_dir=")


def run(*command):
    command = [sys.executable, *command]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_only_the_builders_know_tfds():
    files = [
        path for package in ("pipelines", "train", "savedmodels") for path in ROOT.glob(f"{package}/*.py")
    ]
    assert len(files) > 10
    assert [path.name for path in files if "tensorflow_datasets" in path.read_text(encoding="utf-8")] == []


class TfdsTests:
    """TFDS's own tests of a builder, on the files of its case."""

    case = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        video = Path(ramp_videos.write(Path(folder.name) / "ramp.mp4", num_frames=4))
        put(Path(folder.name) / "manual", cls.case.make(video.read_bytes()))
        cls.EXAMPLE_DIR = str(Path(folder.name) / "manual")
        super().setUpClass()


for _name, _case in CASES.items():
    globals()[f"Test_{_name}"] = type(
        f"Test_{_name}",
        (TfdsTests, tfds.testing.DatasetBuilderTestCase),
        {"case": _case, "DATASET_CLASS": tfds.builder_cls(_name), "SPLITS": _case.splits, "__test__": True},
    )
