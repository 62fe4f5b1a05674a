"""What a run refuses, and that what the refusal then says to try is taken."""

import re
import shlex

import pytest
from absl import flags

from pipelines import synthetic
from pipelines.manifest import command, read_manifest
from train import __main__ as program
from train import convert, profile
from train.command_line import define_flags, read_config
from train.config.fields import nearest, parse

RUN = ["--data_dir=nowhere", "--workdir=run", "--train_annotations=t.jsonl", "--val_annotations=v.jsonl"]
FITTED = "BilinearAttentionTransform(matrix_size='fitted')"
ACCEPTED = "Expected a directory of videos at 'nowhere'"  # All flags are right when the data is looked for.


def said(*arguments):
    """Returns what a run says at its end; it ends before it trains."""
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    with pytest.raises((SystemExit, ValueError)) as caught:
        program.main(parse(["train", *arguments], flag_values), flag_values)
    return str(caught.value).removeprefix("error: ")


def followed(arguments, wrong, message):
    """Returns the arguments after what stands behind "Try: ", the flags there in the place of their like."""
    remedy = message.rpartition("Try: ")[2]
    given = re.findall(r"--\w+(?:=(?:'[^']*'|[^\s,;]*(?:,[^\s,;]+)*))?|\"--[^\"]*\"|'--[^']*'", remedy)
    if "leaving out" in remedy:
        return [argument for argument in arguments if argument != shlex.split(given[0])[0]]
    mended = shlex.split(given[0].rstrip("."))
    assert mended, message
    name = mended[0].partition("=")[0]
    kept = [a for a in arguments if a != wrong and (a.partition("=")[0] != name or name == "--block")]
    return [*kept, *mended]


# The first flag of each is the wrong one; what it says to try has these words in it.
WRONG = [
    ("--lr=0.1", "--learning_rate=0.1"),
    ("--bs=16", "--batch_size=16"),
    ("--wd=0.1", "--weight_decay=0.1"),
    ("--epoch=3", "--epochs=3"),
    ("--num_epochs=3", "--epochs=3"),
    ("--learning-rate=0.1", "--learning_rate=0.1"),
    ("--noflp", "--noflip"),
    ("--noepochs", "--epochs=50"),
    ("--epochs=three", "--epochs=50"),
    ("--epochs=1.5", "--epochs=50"),
    ("--flip=maybe", "--flip=True"),
    ("--crop_scales=1,small", "--crop_scales=1.0,0.875,0.75,0.66"),
    ("epochs=3", "--epochs=3"),
    ("--depth=19", "--depth=18"),
    ("--temporal=i3d_3x3", "--temporal=i3d_3x3x3"),
    ("--topology=fair8", "--topology=fair_8"),
    ("--sampling=segment", "--sampling=segments"),
    ("--crop_method=multiscale", "--crop_method=multi_scale"),
    ("--dtype_policy=bfloat16", "--dtype_policy=mixed_bfloat16"),
    ("--dropout=1", "--dropout=0.5"),
    ("--warmup_epochs=60", "--warmup_epochs=5.0"),
    ("--warmup_epochs=5 --epochs=3", "--warmup_epochs=0.3"),
    ("--warmup_epochs=3 --warmup_steps=9", "--warmup_epochs=0"),
    ("--warmup_steps=9 --steps=9", "--warmup_steps=0"),
    ("--optimizer=adam", "--optimizer=adamw"),
    ("--decay_steps=100 --schedule=cosine", "--decay_steps="),
    ("--decay_steps=9,3 --schedule=steps --steps=40", "--decay_steps=20"),
    ("--decay_epochs=9 --schedule=steps --decay_steps=20", "--decay_epochs="),
    ("--steps=40 --schedule=steps", "--decay_steps=20"),
    ("--rates=regoins=2", "--rates=regions=2"),
    ("--decayed=kernel,norm", "--decayed=kernels,norms"),
    ("--precise_batch_norm=9 --frozen_batch_norm", "--precise_batch_norm=0"),
    ("--clip_frames=128", "--window_frames=128"),
    ("--crop=300", "--short_side=300"),
    ("--batch_size=7 --repeats=2", "--batch_size=8"),
    ("--std=1,1", "--std=58.395,57.12,57.375"),
    ("--block=NonLocl", "--block=NonLocal"),
    ("--block=nonlocal", "--block=NonLocal"),
    ("--block=CGNL", "--block=CompactGeneralizedNonLocal"),
    ("--block=BAT", "--block=BilinearAttentionTransform"),
    ("--block=NonLocal(pairwize='gaussian')", "\"--block=NonLocal(pairwise='gaussian')\""),
    ("--block=AttentionChain(chanel=GlobalContxt())", "'--block=AttentionChain(channel=GlobalContext())'"),
    ("--block=rez3=NonLocal --block=NonLocal", "--block=res3=NonLocal"),
    ("--block=res5=NonLocal --block=NonLocal", "leaving out --block=res5=NonLocal"),
    ("--block=res4=NonLocal", "--block=RegionNonLocal"),
    (f"--block={FITTED} --crop=200", "--crop=192"),
    ("--block=BilinearAttentionTransform --test_size=224 --crop=200", "--crop=224"),
    ("--block=BilinearAttentionTransform", "--test_size=224"),
    ("--depth=18", "--blocks=res3_0,res3_1,res4_0,res4_1"),
    ("--blocks=res3_9,res4_0", "--blocks=res3_3,res4_0"),
    ("--blocks=res3_0,res3_0", "--blocks=res3_0"),
    ("--blocks=layer3_0", "--blocks=res3_0,res4_0"),
    ("--blocks=nl6", "--blocks=nl5"),
    ("--blocks=nl6 --depth=18", "--blocks=res3_0,res4_0"),
    ("--blocks=nl5 --depth=34", "--depth=50"),
    ("--blocks=tsm_nl", "--blocks=tsm_nl5"),
]


@pytest.mark.parametrize(("wrong", "remedy"), WRONG)
def test_what_a_refusal_says_to_try_is_taken(wrong, remedy):
    arguments = [*RUN, *wrong.split()]
    message = said(*arguments)
    assert re.search(r"Expected .*Received .*Try: ", message, re.DOTALL), message
    assert remedy in message.rpartition("Try: ")[2]
    arguments = followed(arguments, wrong.split()[0], message)
    if wrong == "--block=BAT":  # Its matrices of 7 do not fit the maps of test clips of 256 pixels.
        arguments = followed(arguments, None, said(*arguments))
    if wrong == "--depth=19":  # The default blocks are those of depth 50, so there is another refusal.
        arguments = followed(arguments, None, said(*arguments))
    assert said(*arguments).startswith(ACCEPTED)


def test_flags_that_are_right_are_not_refused():
    for right in (
        "--epochs=3",
        "--epochs=1",
        "--noflip",
        "--blocks=",
        "--blocks=nl5",
        "--depth=34 --blocks=",
    ):
        assert said(*RUN, *right.split()).startswith(ACCEPTED)


@pytest.mark.parametrize(("epochs", "warmup"), [(3, 0.3), (10, 1.0), (50, 5.0), (200, 5.0)])
def test_a_short_run_has_a_short_warm_up(epochs, warmup, tmp_path):
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    parse(["train", "--data_dir=x", f"--workdir={tmp_path}", f"--epochs={epochs}"], flag_values)
    config = program.config_from_flags(flag_values)
    assert config.warmup_epochs == warmup
    (tmp_path / "run.flags").write_text(config.to_flags())
    assert read_config(tmp_path).warmup_epochs == warmup


def test_a_run_by_steps_has_the_warm_up_that_it_is_given(tmp_path):
    def config(*arguments):
        flag_values = flags.FlagValues()
        define_flags(flag_values)
        parse(["train", "--data_dir=x", f"--workdir={tmp_path}", *arguments], flag_values)
        return program.config_from_flags(flag_values)

    def warmup(*arguments):
        found = config(*arguments)
        return found.warmup_epochs, found.warmup_steps

    assert warmup("--steps=100") == (0.0, 0) and warmup("--steps=100", "--warmup_epochs=60") == (60.0, 0)
    assert warmup("--warmup_steps=7") == (0.0, 7) and warmup("--steps=9", "--warmup_steps=8") == (0.0, 8)
    (tmp_path / "run.flags").write_text(config("--steps=100", "--warmup_epochs=2").to_flags())
    assert warmup("--steps=100") == (2.0, 0) and read_config(tmp_path).warmup_epochs == 2.0


def test_flag_files_and_words():
    (remedy,) = re.findall(r"Try: (--flagfile=\S+)", said(*RUN, "--flagfile=nothing.flags"))
    assert said(remedy, *RUN).startswith(ACCEPTED)
    path = remedy.removeprefix("--flagfile=")
    assert said(*RUN, path).endswith(f"Try: {remedy}")
    assert said(*RUN, "--epochs").endswith(
        "Expected --epochs to be an integer. Received no value. Try: --epochs=50"
    )
    assert said(*RUN, "--xyz=1").endswith("Try: --help, which lists all of them")


def test_needed_flags_of_other_programs():
    for arguments, words in (
        ([], "--format to be one of .*Received none. Try: --format="),
        (["--format=tms", "--source=x", "--output=y"], "Received 'tms'. Try: --format=tsm"),
        (["--format=tsm", "--output=y"], "a value of --source. Received none. Try: --source=SOURCE"),
        (
            ["--format=tsm", "--source=x", "--output=y", "--num_classes=0"],
            "Received '0'. Try: --num_classes=1",
        ),
        (["--format=tsm", "--source=x", "--output=y", "--ignore_heads"], "Try: --ignore_head"),
    ):
        flag_values = flags.FlagValues()
        convert.define_own_flags(flag_values)
        define_flags(flag_values)
        with pytest.raises(ValueError, match=f"Expected .*{words}"):
            parse(["convert", *arguments], flag_values)


def test_run_flags_that_were_changed_by_hand(tmp_path):
    (tmp_path / "run.flags").write_text("--data_dir=x\n--workdir=y\n--lr=3\n")
    with pytest.raises(
        ValueError, match=r"Expected a flag of this program\. Received --lr\. Try: --learning_rate=3"
    ):
        read_config(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of videos for each of two classes and splits, twelve to train on, and a manifest of it."""
    directory = tmp_path_factory.mktemp("refusals")
    clip = directory / "clip.mp4"
    synthetic.write_video(str(clip), *synthetic.scene("growing", (9, 9)))
    for split, count in (("train", 6), ("val", 2)):
        for label in ("left", "right"):
            (directory / "videos" / split / label).mkdir(parents=True)
            for number in range(count):
                (directory / "videos" / split / label / f"{number}.mp4").hardlink_to(clip)
    splits = [f"--split={split}" for split in ("train", "val")]
    data_dir, output = f"--data_dir={directory / 'videos'}", f"--output={directory / 'all.jsonl'}"
    assert command.main(["import", "--format=folders", data_dir, *splits, output]) == 0
    return directory


def opened(directory, monkeypatch, **changes):
    """Returns what a run says that opens the data; it says "accepted" instead of training."""

    def accept(run, data, strategy):
        data.close()
        raise SystemExit("accepted")

    monkeypatch.setattr(program, "train_and_evaluate", accept)
    monkeypatch.chdir(directory)
    values = {"data_dir": ".", "workdir": "run", "batch_size": 4} | changes
    values = {"train_annotations": "all.jsonl#train", "val_annotations": "all.jsonl#val"} | values
    return said(*(f"--{name}={value}" for name, value in values.items()))


def test_a_batch_that_is_too_large_for_the_videos(folder, monkeypatch):
    message = opened(folder, monkeypatch, batch_size=64)
    assert message.startswith("Expected at least 64 training videos for --batch_size=64. Received 12.")
    remedy = int(message.partition("Try: --batch_size=")[2])
    assert 12 // remedy >= 8  # So an epoch has steps enough to learn something.
    assert opened(folder, monkeypatch, batch_size=remedy) == "accepted"


@pytest.mark.parametrize(
    "name", ["videos", "videos/train", "videos/train/", "videos/train/left", "videos/train/left/0.mp4"]
)
def test_a_folder_in_the_place_of_a_manifest(folder, monkeypatch, name):
    message = opened(folder, monkeypatch, train_annotations=name)
    words = re.search(r"where videos are\. Try: python -m pipelines.manifest (.*), and (\S+) in its", message)
    assert command.main(shlex.split(words[1])) == 0
    assert words[2] == "videos.jsonl#train"
    assert {video.split for video in read_manifest(folder / "videos.jsonl").videos} == {"train", "val"}
    changes = {"train_annotations": words[2], "val_annotations": words[2].replace("train", "val")}
    assert opened(folder, monkeypatch, **changes) == "accepted"
    (folder / "videos.jsonl").unlink()


def test_a_split_that_the_manifest_lacks(folder, monkeypatch):
    message = opened(folder, monkeypatch, val_annotations="all.jsonl#validation")
    assert "Received 'train', 'val'. Try: split 'train' or 'val'" in message


def test_a_manifest_that_is_not_there(folder, monkeypatch):
    message = opened(folder, monkeypatch, train_annotations="al.jsonl#train")
    assert "no such file. Try: all.jsonl#train" in message
    assert opened(folder, monkeypatch, train_annotations="all.jsonl#train") == "accepted"
    message = opened(folder, monkeypatch, train_annotations="nothing.csv")
    assert "Try: python -m pipelines.manifest import" in message


def test_training_and_validation_on_the_same_rows(folder, monkeypatch):
    message = opened(folder, monkeypatch, train_annotations="all.jsonl#val", batch_size=1)
    assert "that training does not show" in message
    assert "Try: a split for each" in message


def test_the_network_is_named_by_its_flags():
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    parse(["profile", "--depth=18", "--blocks=", "--temporal=i3d_3x1x1"], flag_values)
    run = program.config_from_flags(flag_values, needed=())
    with pytest.raises(ValueError, match=r"Try: --temporal='i3d_3x3x3', or --depth=50"):
        profile.build_network(run, 10)


def test_the_nearest_name():
    names = ["learning_rate", "epochs", "warmup_epochs", "NonLocal", "RegionNonLocal"]
    for name, found in (
        ("lr", "learning_rate"),
        ("NL", "NonLocal"),
        ("EPOCHS", "epochs"),
        ("zz", None),
        ("", None),
    ):
        assert nearest(name, names) == found


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ("--depth=18 --blocks= --groups=32", "--depth=50"),
        ("--depth=18 --blocks= --temporal=i3d_3x1x1", "--temporal='i3d_3x3x3'"),
        ("--temporal=c2d --blocks= --clip_frames=1", "--topology='torchvision'"),
        ("--temporal=c2d --clip_frames=1", "--topology='torchvision'"),
    ],
)
def test_a_backbone_that_does_not_exist_is_refused_before_the_data_is_opened(wrong, remedy):
    arguments = [*RUN, *wrong.split()]
    message = said(*arguments)
    assert message.startswith("VideoResNet: Expected ") and f"Try: {remedy}" in message
    assert said(*followed(arguments, None, message)).startswith(ACCEPTED)
