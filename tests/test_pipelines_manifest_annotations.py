"""Reading data sets' own annotations: every layout found, everything wrong with them said in words."""

import json
import re
import time
from pathlib import Path

import pytest

from pipelines.manifest import Label, Video, annotations, files
from pipelines.manifest.annotations import (
    mirrored_classes,
    read_charades,
    read_cub200,
    read_folders,
    read_hmdb51,
    read_kinetics,
    read_list,
    read_mini_kinetics,
    read_something_something_v1,
    read_something_something_v2,
    read_ucf101,
)

HEADER = "label,youtube_id,time_start,time_end,split"

# The only labels of Something-Something that have the words, at their places in the released order of V1 ...
SIDES_V1 = {
    2: "Turning the camera left while filming something",
    4: "Turning the camera right while filming something",
    30: "Pushing something from left to right",
    41: "Pushing something from right to left",
    52: "Pulling something from right to left",
    66: "Pulling something from left to right",
}
# ... and in the alphabetical one of V2.
SIDES_V2 = {
    86: "Pulling something from left to right",
    87: "Pulling something from right to left",
    93: "Pushing something from left to right",
    94: "Pushing something from right to left",
    166: "Turning the camera left while filming something",
    167: "Turning the camera right while filming something",
}


def write_table(directory, *lines, header=HEADER, name="train.csv"):
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*([header] if header else []), *lines]) + "\n", encoding="utf-8")
    return name


def touch(directory, *parts):
    path = directory.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def one(path, number, split="train"):
    return Video(path, (Label(number),), split=split)


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
    found = read_kinetics(tmp_path, write_table(tmp_path, "arm wrestling,abc,5,15,train"))
    assert found.videos == (one(path, 0),)
    assert found.unusable == ()


def test_rows_keep_their_order_and_labels_are_sorted_names(tmp_path):
    paths = [touch(tmp_path, "val", f"{name}_000000_000010.mp4") for name in "abc"]
    table = write_table(tmp_path, "yoga,a,0,10,val", "archery,b,0,10,val", "yoga,c,0,10,val")
    found = read_kinetics(str(tmp_path), table)
    assert found.classes == ("archery", "yoga")
    assert found.videos == tuple(
        one(path, number, "val") for path, number in zip(paths, (1, 0, 1), strict=True)
    )
    assert len(found) == 3 and not found.multi_label and not found.directional


def test_missing_files_are_reported_with_path_and_reason_or_kept(tmp_path):
    touch(tmp_path, "train", "yoga", "a_000000_000010.mp4")
    (tmp_path / "train" / "yoga" / "c_000000_000010.mp4").mkdir()  # A folder is no video.
    table = write_table(tmp_path, "yoga,a,0,10,train", "yoga,b,0,10,train", "yoga,c,0,10,train")
    found = read_kinetics(tmp_path, table)
    assert len(found) == 1
    assert [bad.path for bad in found.unusable] == [
        str(tmp_path / "train" / "yoga" / f"{name}_000000_000010.mp4") for name in "bc"
    ]
    assert all("no such file" in bad.reason for bad in found.unusable)
    kept = read_kinetics(tmp_path, table, keep_bad=True)
    assert len(kept) == 3 and kept.unusable == ()


def test_a_label_without_videos_is_named_in_training_and_allowed_in_validation(tmp_path):
    touch(tmp_path, "train", "yoga", "a_000000_000010.mp4")
    table = write_table(tmp_path, "yoga,a,0,10,train", "tai chi,b,0,10,train")
    with pytest.raises(
        ValueError, match=rf"none of tai chi.*{re.escape(str(tmp_path / 'train' / 'tai chi'))}"
    ):
        read_kinetics(tmp_path, table)
    found = read_kinetics(tmp_path, table, classes=("archery", "tai chi", "yoga"))
    assert found.classes == ("archery", "tai chi", "yoga")
    assert [video.label for video in found.videos] == [2]


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
    with pytest.raises(FileNotFoundError, match=r"train\.csv.*Try: .*--data_dir"):
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEADER}\nyoga,\xe9,0,1,train\n".encode("latin-1"), "UTF-8 text in .*0xe9"),
        (f"{HEADER}\nyoga,a\0,0,1,train\n".encode(), "a NUL in line 2"),
        (f"{HEADER}\n{'x' * 140_000},a,0,1,train\n".encode(), "CSV in .*after line 1: field larger"),
    ],
)
def test_what_is_no_text_is_an_error(tmp_path, content, message):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{message}.*Try"):
        read_kinetics(tmp_path, "train.csv")


def test_marks_further_columns_and_fractions_of_seconds_do_no_harm(tmp_path):
    path = touch(tmp_path, "train", "yoga", "a_000003_000013.mp4")
    header = "\ufefflabel,is_cc,youtube_id,time_start,time_end,split"  # A byte order mark, as Excel writes.
    table = write_table(tmp_path, '"yoga",0,a,3.0,13.0,train', "", header=header)
    assert read_kinetics(tmp_path, table).videos == (one(path, 0),)


def test_kinetics_700_2020_has_a_column_more(tmp_path):
    path = touch(tmp_path, "train", "yoga", "a_000003_000013.mp4")
    table = write_table(tmp_path, "yoga,a,3,13,train,1", header=f"{HEADER},is_cc")
    assert read_kinetics(tmp_path, table).videos == (one(path, 0),)


def test_the_table_may_lie_elsewhere(tmp_path):
    path = touch(tmp_path, "videos", "train", "yoga", "a_000000_000010.mp4")
    write_table(tmp_path, "yoga,a,0,10,train")
    found = read_kinetics(tmp_path / "videos", str(tmp_path / "train.csv"))
    assert found.videos == (one(path, 0),)


def test_mini_kinetics_by_labels_and_by_clips(tmp_path):
    paths = {name: touch(tmp_path, "train", f"{name}_000000_000010.mp4") for name in "abc"}
    table = write_table(tmp_path, "yoga,a,0,10,train", "archery,b,0,10,train", "tai chi,c,0,10,train")
    write_table(tmp_path, "yoga", "", "tai chi ", header=None, name="labels.txt")
    write_table(tmp_path, "b", "a", "dead link", header=None, name="clips.txt")
    found = read_mini_kinetics(tmp_path, table, labels="labels.txt")
    assert (found.classes, found.videos) == (("tai chi", "yoga"), (one(paths["a"], 1), one(paths["c"], 0)))
    found = read_mini_kinetics(tmp_path, table, clips="clips.txt")
    assert (found.classes, found.videos) == (("archery", "yoga"), (one(paths["a"], 1), one(paths["b"], 0)))
    found = read_mini_kinetics(tmp_path, table, clips="clips.txt", classes=("yoga", "archery"))
    assert found.videos == (one(paths["a"], 0), one(paths["b"], 1))


def test_mini_kinetics_needs_one_list_and_rows_for_it(tmp_path):
    table = write_table(tmp_path, "yoga,a,0,10,train")
    for lists in ({}, {"labels": "x.txt", "clips": "x.txt"}):
        with pytest.raises(ValueError, match=r"a list of labels or one of clips.*Try"):
            read_mini_kinetics(tmp_path, table, **lists)
    write_table(tmp_path, "yoga", "golf", header=None, name="x.txt")
    with pytest.raises(ValueError, match=r"each line of .*x\.txt.*none of golf. Try"):
        read_mini_kinetics(tmp_path, table, labels="x.txt")
    with pytest.raises(ValueError, match=r"the youtube_id of .*none of golf, yoga. Try"):
        read_mini_kinetics(tmp_path, table, clips="x.txt")


def something_labels(sides, count=174):
    return [sides.get(number, f"Doing something, number {number}") for number in range(count)]


@pytest.mark.parametrize(
    ("sides", "pairs"),
    [
        (SIDES_V1, {2: 4, 30: 41, 52: 66}),
        (SIDES_V2, {86: 87, 93: 94, 166: 167}),
    ],
    ids=["V1", "V2"],
)
def test_a_mirrored_something_is_what_its_text_says(sides, pairs):
    expected = pairs | {partner: number for number, partner in pairs.items()}
    mirrored = mirrored_classes(something_labels(sides))
    assert {number: partner for number, partner in enumerate(mirrored) if number != partner} == expected


def test_only_whole_words_are_sides():
    names = (
        "Leftovers to the right",
        "Leftovers to the left",
        "Bright",
        "Bleft",
        "What is left",
        "Left turn",
        "Right turn",
    )
    assert mirrored_classes(names) == (1, 0, 2, 3, 4, 6, 5)


def test_something_something_v1(tmp_path):
    labels = something_labels(SIDES_V1)
    write_table(tmp_path, *labels, header=None, name="something-something-v1-labels.csv")
    rows = [f"{10 + number};{labels[number]}" for number in (3, 41, 2)]
    write_table(tmp_path, *rows, header=None, name="something-something-v1-train.csv")
    write_table(tmp_path, "12", "13", header=None, name="something-something-v1-test.csv")
    folders = {
        n: touch(tmp_path, "20bn-something-something-v1", n, "00001.jpg")[: -len("/00001.jpg")]
        for n in ("13", "12")
    }
    touch(
        tmp_path, "20bn-something-something-v1", "51"
    )  # A file is no folder of frames, but that is found later.
    found = read_something_something_v1(tmp_path, "train")
    assert found.videos[::2] == (one(folders["13"], 3), one(folders["12"], 2))
    assert found.classes == tuple(labels)
    assert found.directional and found.mirrored[41] == 30 and not found.multi_label
    test = read_something_something_v1(tmp_path, "test")
    assert test.videos == tuple(Video(folders[name], (), split="test") for name in ("12", "13"))
    with pytest.raises(
        ValueError, match=r"--split to be one of train, validation, test. Received 'val'. Try: --split"
    ):
        read_something_something_v1(tmp_path, "val")
    for line in ("14;No label", "14", ";Holding something"):
        write_table(tmp_path, rows[0], line, header=None, name="something-something-v1-train.csv")
        with pytest.raises(ValueError, match=r"in line 2 of .*v1-train\.csv.*Try"):
            read_something_something_v1(tmp_path, "train")


def test_something_something_v2(tmp_path):
    labels = something_labels(SIDES_V2)
    numbers = {name: str(number) for number, name in reversed(list(enumerate(labels)))}
    (tmp_path / "something-something-v2-labels.json").write_text(json.dumps(numbers))
    entry = {"id": "7", "label": "pushing a cup", "template": "Pushing [something] from left to right"}
    entries = [
        entry | {"placeholders": ["a cup"]},
        entry | {"id": "8"},
        entry | {"id": "9", "template": labels[0]},
    ]
    table = tmp_path / "something-something-v2-validation.json"
    table.write_text(json.dumps(entries))
    (tmp_path / "something-something-v2-test.json").write_text('[{"id": "7"}]')
    paths = [touch(tmp_path, "20bn-something-something-v2", name) for name in ("7.webm", "9.mp4")]
    found = read_something_something_v2(tmp_path, "validation")
    assert found.videos == (one(paths[0], 93, "validation"), one(paths[1], 0, "validation"))
    assert [bad.path for bad in found.unusable] == [paths[0].replace("7.webm", "8.webm")]
    assert found.classes == tuple(labels)
    assert found.directional and found.mirrored[93] == 94
    assert read_something_something_v2(tmp_path, "test").videos == (Video(paths[0], (), split="test"),)
    for wrong in (
        entry | {"template": "No [label]"},
        {"id": "7"},
        {"template": labels[0]},
        [1],
        entry | {"template": 3},
    ):
        table.write_text(json.dumps([entry, wrong]))
        with pytest.raises(ValueError, match=r"in entry 2 of .*v2-validation\.json.*Try"):
            read_something_something_v2(tmp_path, "validation")
    for text, message in (
        ("[", "Expected JSON"),
        ("{}", "JSON list .*a dict"),
        ("[" * 9999, "Expected JSON"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=rf"{message}.*Try"):
            read_something_something_v2(tmp_path, "validation")


@pytest.mark.parametrize("text", ['{"a": "0", "b": "2"}', '{"a": "0", "b": "0"}', "{}", '{"a": "x"}'])
def test_numbers_of_labels_must_be_without_gaps(tmp_path, text):
    (tmp_path / "something-something-v2-labels.json").write_text(text)
    with pytest.raises(ValueError, match=r"names of classes in .*v2-labels\.json.*Try"):
        read_something_something_v2(tmp_path, "train")


CHARADES = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"


def test_charades(tmp_path):
    rows = [
        'A1,S,Home,6,7,Yes,"One, ""two""\nthree.",bag;box,B.,c092 11.90 21.20;c147 0.00 12.60,30.5',
        "A2,S,Home,,,No,A.,,B.,,12.0",
        "A3,S,Home,,,No,A.,,B.,c000 5.0 5.0,12.0",
    ]
    write_table(tmp_path, *rows, header=CHARADES, name="Charades_v1_test.csv")
    paths = [touch(tmp_path, "Charades_v1_480", f"A{number}.mp4") for number in (1, 2)]
    found = read_charades(tmp_path, "test")
    assert found.videos == (
        Video(paths[0], (Label(92, 11.9, 21.2), Label(147, 0.0, 12.6)), split="test"),
        Video(paths[1], (), split="test"),
    )
    assert [bad.path for bad in found.unusable] == [paths[0].replace("A1", "A3")]
    assert found.multi_label and not found.directional
    assert found.classes == tuple(f"c{number:03d}" for number in range(157))
    names = [f"c{number:03d} Doing thing {number}" for number in range(157)]
    write_table(tmp_path, *names, header=None, name="Charades_v1_classes.txt")
    assert read_charades(tmp_path, "test").classes[92] == "Doing thing 92"
    write_table(tmp_path, *names[1:], header=None, name="Charades_v1_classes.txt")
    with pytest.raises(ValueError, match=r"each of c000 to c156 in .*156 codes. Try"):
        read_charades(tmp_path, "test")


@pytest.mark.parametrize(
    "actions",
    [
        "c157 0 1",
        "92 0 1",
        "c092 0",
        "c092 5 4",
        "c092 -1 4",
        "c092 nan 4",
        "c092 0 inf",
        "c092 a b",
        "c92 0 1",
    ],
)
def test_malformed_actions_are_errors(tmp_path, actions):
    touch(tmp_path, "Charades_v1_480", "A1.mp4")
    rows = [f"A1,S,H,,,,,,,{text},9" for text in ("c001 0 1", actions)]
    write_table(tmp_path, *rows, header=CHARADES, name="Charades_v1_train.csv")
    with pytest.raises(ValueError, match=r"actions as .* in line 3 of .*Charades_v1_train\.csv.*Try"):
        read_charades(tmp_path, "train")


def test_ucf101(tmp_path):
    write_table(tmp_path, "1 Archery", "2 YoYo", header=None, name="ucfTrainTestlist/classInd.txt")
    lines = ["YoYo/v_YoYo_g01_c01.avi 2", "Archery/v_Archery_g01_c01.avi 1\r", "YoYo/v_YoYo_g01_c02.avi 2"]
    write_table(tmp_path, *lines, header=None, name="ucfTrainTestlist/trainlist02.txt")
    write_table(tmp_path, "YoYo/v_YoYo_g01_c02.avi", header=None, name="ucfTrainTestlist/testlist02.txt")
    paths = [
        touch(tmp_path, "UCF-101", *parts)
        for parts in (
            ("YoYo", "v_YoYo_g01_c01.avi"),
            ("Archery", "v_Archery_g01_c01.avi"),
            ("YoYo", "v_YoYo_g01_c02.mp4"),
        )
    ]
    found = read_ucf101(tmp_path, "train", fold=2)
    assert found.videos == (one(paths[0], 1), one(paths[1], 0), one(paths[2], 1))
    assert found.classes == ("Archery", "YoYo")
    assert read_ucf101(tmp_path, "test", fold="2").videos == (one(paths[2], 1, "test"),)
    with pytest.raises(FileNotFoundError, match=r"trainlist01\.txt.*Try"):
        read_ucf101(tmp_path, "train")
    with pytest.raises(ValueError, match=r"one of 1, 2, 3. Received 4. Try"):
        read_ucf101(tmp_path, "train", fold=4)
    for line in ("YoYo/v.avi 1", "Golf/v.avi 1", "v.avi", "YoYo/ 2", "YoYo/v.avi two"):
        write_table(tmp_path, lines[0], line, header=None, name="ucfTrainTestlist/trainlist01.txt")
        with pytest.raises(ValueError, match=r"in line 2 of .*trainlist01\.txt.*Try"):
            read_ucf101(tmp_path, "train")


def test_hmdb51(tmp_path):
    folder = "testTrainMulti_7030_splits"
    write_table(
        tmp_path, "a.avi 1 ", "b (2).avi 2 ", "#c.avi 0 ", header=None, name=f"{folder}/wave_test_split1.txt"
    )
    write_table(tmp_path, "d.avi 1", header=None, name=f"{folder}/brush_hair_test_split1.txt")
    write_table(tmp_path, "a.avi 2", header=None, name=f"{folder}/wave_test_split2.txt")
    paths = [
        touch(tmp_path, "hmdb51_org", *parts)
        for parts in (("wave", "a.avi"), ("wave", "b (2).avi"), ("brush_hair", "d.avi"))
    ]
    found = read_hmdb51(tmp_path, "train")
    assert found.videos == (one(paths[2], 0), one(paths[0], 1))
    assert found.classes == ("brush_hair", "wave")
    assert read_hmdb51(tmp_path, "test").videos == (one(paths[1], 1, "test"),)
    assert read_hmdb51(tmp_path, "test", fold=2).videos == (one(paths[0], 0, "test"),)
    with pytest.raises(FileNotFoundError, match=r"<class>_test_split3\.txt.*Try"):
        read_hmdb51(tmp_path, "train", fold=3)
    for line in ("a.avi", "a.avi 3", "1"):
        write_table(tmp_path, line, header=None, name=f"{folder}/wave_test_split2.txt")
        with pytest.raises(ValueError, match=r"in line 1 of .*wave_test_split2\.txt.*Try"):
            read_hmdb51(tmp_path, "train", fold=2)


def test_cub200(tmp_path):
    def tables(**changes):
        content = {
            "classes": ["1 001.Albatross", "2 002.Auk"],
            "images": ["1 001.Albatross/A_1.jpg", "2 002.Auk/B 1.jpg", "3 002.Auk/B_2.jpg"],
            "image_class_labels": ["1 1", "2 2", "3 2"],
            "train_test_split": ["1 0", "2 1", "3 0"],
        } | changes
        for name, lines in content.items():
            write_table(tmp_path, *lines, header=None, name=f"{name}.txt")

    tables()
    paths = [
        touch(tmp_path, "images", *p)
        for p in (("001.Albatross", "A_1.jpg"), ("002.Auk", "B 1.jpg"), ("002.Auk", "B_2.jpg"))
    ]
    assert read_cub200(tmp_path, "train").videos == (one(paths[1], 1),)
    found = read_cub200(tmp_path, "test")
    assert found.videos == (one(paths[0], 0, "test"), one(paths[2], 1, "test"))
    assert found.classes == ("001.Albatross", "002.Auk")
    for changes in ({"image_class_labels": ["1 1", "2 2", "3 3"]}, {"train_test_split": ["1 0", "2 1"]}):
        tables(**changes)
        with pytest.raises(ValueError, match=r"image 3 of .*images\.txt.*Try"):
            read_cub200(tmp_path, "train")
    for lines in (["x A.jpg"], ["1 A.jpg", "1 B.jpg"], ["1"]):
        tables(images=lines)
        with pytest.raises(ValueError, match=rf"in line {len(lines)} of .*images\.txt.*Try"):
            read_cub200(tmp_path, "train")
    tables(classes=["1 001.Albatross", "3 002.Auk"])
    with pytest.raises(ValueError, match=r"in .*classes\.txt.*a gap. Try"):
        read_cub200(tmp_path, "train")


def test_a_folder_for_each_class(tmp_path):
    paths = [touch(tmp_path, "train", *p) for p in (("n01", "b.JPEG"), ("n01", "c.mp4"), ("n02", "a.webm"))]
    paths += [touch(tmp_path, "train", "n02", f"b{suffix}") for suffix in (".M2TS", ".mts", ".ogv", ".webp")]
    other = touch(tmp_path, "train", "n02", "notes.txt")
    touch(tmp_path, "train", "n02", ".DS_Store")
    touch(tmp_path, "train", "n02", "frames", "1.jpg")
    touch(tmp_path, "train", "n02", "more", "d.mp4")
    (tmp_path / "train" / "n02" / "lost.mp4").symlink_to("gone.mp4")
    touch(tmp_path, "train", "README")
    val = touch(tmp_path, "val", "n02", "a.jpg")
    found = read_folders(tmp_path, "train")
    assert found.videos[:3] == (one(paths[0], 0), one(paths[1], 0), one(paths[2], 1))
    frames = str(tmp_path / "train" / "n02" / "frames")
    assert [video.path for video in found.videos[3:]] == [*paths[3:], frames]
    assert found.classes == ("n01", "n02")
    folder = tmp_path / "train" / "n02"
    assert [(bad.path, bad.reason) for bad in found.unusable] == [
        (str(folder / "lost.mp4"), "a link that leads nowhere, or neither a file nor a folder"),
        (str(folder / "more"), "a folder without images; the files of a class lie directly in its folder"),
        (other, "neither a video nor an image by its name"),
    ]
    assert read_folders(tmp_path, "val", classes=found.classes).videos == (one(val, 1, "val"),)
    assert read_folders(tmp_path / "val").videos == (one(val, 0, ""),)
    with pytest.raises(ValueError, match=r"Received 'n01' in .*train. Try"):
        read_folders(tmp_path, "train", classes=("n02",))
    with pytest.raises(ValueError, match=r"named as splits, train, val\. Try: --split=train --split=val"):
        read_folders(tmp_path)
    (tmp_path / "empty" / "class").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"files at .*<class>/<file>. Received 1 folders without .*Try"):
        read_folders(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"a directory of videos at .*test"):
        read_folders(tmp_path, "test")


def test_lists_of_tsn_and_mmaction(tmp_path):
    paths = [
        touch(tmp_path, name)
        for name in ("clips/arm wrestling/a 1.mp4", "frames/take 2/00001.jpg", "frames/b/1.jpg")
    ]
    lines = ["clips/arm wrestling/a 1.mp4 2", "frames/take 2 120 0", "frames/b 7\t1", "gone.mp4 0"]
    table = write_table(tmp_path, *lines, header=None, name="sth_val_list_rawframes.txt")
    found = read_list(tmp_path, table)
    # A folder without a number of frames is one too.
    assert found.videos == (
        one(paths[0], 2, "val"),
        one(str(tmp_path / "frames/take 2"), 0, "val"),
        one(str(tmp_path / "frames/b"), 1, "val"),
    )
    assert found.classes == ("0", "1", "2")
    assert [bad.path for bad in found.unusable] == [f"{tmp_path}/gone.mp4"]
    names = write_table(tmp_path, "golf", "tai chi", "yoga", "archery", header=None, name="label_map.txt")
    assert read_list(tmp_path, table, names=names).classes == ("golf", "tai chi", "yoga", "archery")
    with pytest.raises(ValueError, match=r"labels below 2.* in line 1 of .*Try"):
        read_list(tmp_path, table, classes=("golf", "yoga"))
    for line in ("a.mp4", "a.mp4 x", "7", "a.mp4 -1", "a.mp4 ٣"):
        table = write_table(tmp_path, lines[0], line, header=None, name="train.txt")
        with pytest.raises(ValueError, match=r"`path label` in line 2 of .*train\.txt.*Try"):
            read_list(tmp_path, table)
    with pytest.raises(ValueError, match=r"annotated videos in .*Received none"):
        read_list(tmp_path, write_table(tmp_path, "", header=None, name="empty.txt"))


def test_all_labels_of_a_list_count(tmp_path):
    lines = ["clip.mp4 0 2 3", "clip 7.mp4 1 2", "v.avi 2 2", "frames 30 1"]
    for name in ("clip.mp4", "clip 7.mp4", "v.avi", "frames/1.jpg"):
        touch(tmp_path, *name.split("/"))
    found = read_list(tmp_path, write_table(tmp_path, *lines, header=None, name="train.txt"))
    shown = [(Path(video.path).name, [label.number for label in video.labels]) for video in found.videos]
    expected = [("clip.mp4", [0, 2, 3]), ("clip 7.mp4", [1, 2]), ("v.avi", [2]), ("frames", [1])]
    assert shown == expected
    assert found.multi_label
    with pytest.raises(ValueError, match=r"labels below 3.* in line 1 of .*Try"):
        read_list(tmp_path, "train.txt", classes=("a", "b", "c"))


def test_labels_from_1_are_no_silent_empty_class(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        touch(tmp_path, name)
    table = write_table(tmp_path, "a.mp4 1", "b.mp4 2", header=None, name="train.txt")
    with pytest.raises(ValueError, match=r"labels from 0 in .*Received labels from 1 to 2.*Try: --names"):
        read_list(tmp_path, table)
    assert len(read_list(tmp_path, table, classes=("nothing", "x", "y"))) == 2


@pytest.mark.parametrize(
    "read", [form.read for form in annotations.FORMATS.values()], ids=annotations.FORMATS
)
def test_every_format_says_where_it_expects_its_folder_and_files(tmp_path, read):
    choice = {"labels": "x"} if read is read_mini_kinetics else {}
    with pytest.raises(FileNotFoundError, match=r"nowhere.*Try: --data_dir"):
        read(tmp_path / "nowhere", "train", **choice)
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*Try: "):
        read(tmp_path, "train", **choice)


def test_many_rows_take_one_listing_for_each_folder(tmp_path, monkeypatch):
    labels = [f"label {number}" for number in range(20)]
    rows = []
    for number in range(10_000):
        label = labels[number % 20]
        touch(tmp_path, "train", label.replace(" ", "_"), f"v{number}_000000_000010.mp4")
        rows.append(f"{label},v{number},0,10,train")
    table = write_table(tmp_path, *rows)
    scanned, scandir = [], files.os.scandir
    monkeypatch.setattr(files.os, "scandir", lambda path: scanned.append(path) or scandir(path))
    start = time.process_time()
    assert len(read_kinetics(tmp_path, table)) == 10_000
    assert time.process_time() - start < 1
    # With spaces, with underscores and without a label; and once more to see which rows have a file.
    assert len(scanned) <= 2 * 20 + 1 + 20
