"""Reading annotation files: every layout of Kinetics found, everything wrong with them said in words."""

import re

import pytest

from pipelines.manifest import read_kinetics

HEADER = "label,youtube_id,time_start,time_end,split"


def write_table(directory, *lines, header=HEADER, name="train.csv"):
    (directory / name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return name


def touch(directory, *parts):
    path = directory.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


@pytest.mark.parametrize(
    "parts",
    [
        ("train", "arm wrestling", "abc_000005_000015.mp4"),
        ("train", "arm_wrestling", "abc_000005_000015.mp4"),
        ("train", "abc_000005_000015.mp4"),
        ("train", "arm wrestling", "abc_000005_000015.mkv"),
        ("train", "arm_wrestling", "abc_000005_000015.webm"),
        ("train", "abc_000005_000015.avi"),
    ],
)
def test_a_clip_is_found_in_every_layout(tmp_path, parts):
    path = touch(tmp_path, *parts)
    manifest = read_kinetics(tmp_path, write_table(tmp_path, "arm wrestling,abc,5,15,train"))
    assert manifest.videos == ((path, 0),)
    assert manifest.missing == ()


def test_rows_keep_their_order_and_labels_are_sorted_names(tmp_path):
    paths = [touch(tmp_path, "val", f"{name}_000000_000010.mp4") for name in "abc"]
    table = write_table(tmp_path, "yoga,a,0,10,val", "archery,b,0,10,val", "yoga,c,0,10,val")
    manifest = read_kinetics(str(tmp_path), table)
    assert manifest.classes == ("archery", "yoga")
    assert manifest.videos == tuple(zip(paths, (1, 0, 1), strict=True))
    assert len(manifest) == 3


def test_missing_files_are_reported_with_path_and_reason(tmp_path):
    touch(tmp_path, "train", "yoga", "a_000000_000010.mp4")
    (tmp_path / "train" / "yoga" / "c_000000_000010.mp4").mkdir()  # A folder is no video.
    table = write_table(tmp_path, "yoga,a,0,10,train", "yoga,b,0,10,train", "yoga,c,0,10,train")
    manifest = read_kinetics(tmp_path, table)
    assert len(manifest) == 1
    assert [bad.path for bad in manifest.missing] == [
        str(tmp_path / "train" / "yoga" / f"{name}_000000_000010.mp4") for name in "bc"
    ]
    assert all("no such file" in bad.reason for bad in manifest.missing)


def test_a_label_without_videos_is_named_in_training_and_allowed_in_validation(tmp_path):
    touch(tmp_path, "train", "yoga", "a_000000_000010.mp4")
    table = write_table(tmp_path, "yoga,a,0,10,train", "tai chi,b,0,10,train")
    with pytest.raises(
        ValueError, match=rf"none of tai chi.*{re.escape(str(tmp_path / 'train' / 'tai chi'))}"
    ):
        read_kinetics(tmp_path, table)
    manifest = read_kinetics(tmp_path, table, classes=("archery", "tai chi", "yoga"))
    assert manifest.classes == ("archery", "tai chi", "yoga")
    assert [video.label for video in manifest.videos] == [2]


def test_a_label_unknown_to_training_is_an_error(tmp_path):
    touch(tmp_path, "val", "a_000000_000010.mp4")
    with pytest.raises(ValueError, match=r"Received 'juggling' in .*val\.csv.*Try"):
        read_kinetics(
            tmp_path, write_table(tmp_path, "juggling,a,0,10,val", name="val.csv"), classes=("yoga",)
        )


def test_a_table_without_a_single_file_is_an_error_that_says_where_it_looked(tmp_path):
    table = write_table(tmp_path, "yoga,a,0,10,train")
    expected = re.escape(str(tmp_path / "train" / "yoga" / "a_000000_000010.mp4"))
    with pytest.raises(ValueError, match=rf"the 1 rows.*{expected}.*Try"):
        read_kinetics(tmp_path, table, classes=("yoga",))


def test_missing_folder_and_missing_table_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*Try: --data_dir"):
        read_kinetics(tmp_path / "nowhere", "train.csv")
    with pytest.raises(FileNotFoundError, match=r"train\.csv.*Try: --train_annotations"):
        read_kinetics(tmp_path, "train.csv")


def test_a_missing_column_is_named(tmp_path):
    table = write_table(tmp_path, "yoga,a,0,10", header="label,youtube_id,time_start,time_end")
    with pytest.raises(ValueError, match="Try: add split to the header"):
        read_kinetics(tmp_path, table)


@pytest.mark.parametrize(
    "line",
    [
        "yoga,b",
        "yoga,b,0,10",
        "yoga,b,zero,10,train",
        "yoga,b,0,nan,train",
        "yoga,b,inf,10,train",
        ",b,0,10,train",
    ]
    + ["yoga,,0,10,train", "yoga,b,0,10,"],
)
def test_a_malformed_line_is_an_error_with_its_number(tmp_path, line):
    touch(tmp_path, "train", "a_000000_000010.mp4")
    table = write_table(tmp_path, "yoga,a,0,10,train", line, "yoga,a,0,10,train")
    with pytest.raises(ValueError, match=r"in line 3 of .*train\.csv.*Try"):
        read_kinetics(tmp_path, table)


def test_an_empty_table_and_a_header_alone_are_errors(tmp_path):
    (tmp_path / "train.csv").touch()
    with pytest.raises(ValueError, match="Received None"):
        read_kinetics(tmp_path, "train.csv")
    with pytest.raises(ValueError, match="header only"):
        read_kinetics(tmp_path, write_table(tmp_path))


def test_marks_further_columns_and_fractions_of_seconds_do_no_harm(tmp_path):
    path = touch(tmp_path, "train", "yoga", "a_000003_000013.mp4")
    header = "\ufefflabel,is_cc,youtube_id,time_start,time_end,split"  # A byte order mark, as Excel writes.
    table = write_table(tmp_path, '"yoga",0,a,3.0,13.0,train', "", header=header)
    assert read_kinetics(tmp_path, table).videos == ((path, 0),)


def test_the_table_may_lie_elsewhere(tmp_path):
    path = touch(tmp_path, "videos", "train", "yoga", "a_000000_000010.mp4")
    write_table(tmp_path, "yoga,a,0,10,train")
    manifest = read_kinetics(tmp_path / "videos", str(tmp_path / "train.csv"))
    assert manifest.videos == ((path, 0),)
