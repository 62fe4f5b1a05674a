"""The convert command: real files become weights that give the released numbers, or nothing is written."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import released
from absl import flags
from torch_file import write_torch

from keras_nonlocal import VideoResNet
from train import convert
from train.command_line import define_flags
from train.config import Config
from train.fields import parse
from train.network import NetworkError, build_network

SMALL = ["--depth=18", "--blocks=res3_0", "--block=NonLocal", "--num_classes=3"]


def run(*arguments):
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "train.convert", *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )


def main(*arguments):
    """Runs the command in this process."""
    flag_values = flags.FlagValues()
    convert.define_own_flags(flag_values)
    define_flags(flag_values)
    convert.main(parse(["convert", *map(str, arguments)], flag_values), flag_values)


def described_network(path):
    """Builds the network that the file beside some weights describes, and returns what the file says."""
    described = json.loads(path.read_text())
    values = dict(described["model_flags"])
    classes, images = values.pop("num_classes"), values.pop("images")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return build_network(Config(**values), classes, images), described


@pytest.mark.long
def test_a_torch_file_and_the_flag_file_of_a_run(tmp_path):
    _, _, weights, _ = released.load_model("model_tsm_r50_nl5")
    source, flagfile, output = (
        tmp_path / name for name in ("tsm.pth.tar", "run.flags", "out/tsm.weights.h5")
    )
    write_torch(source, {f"module.{key}": array for key, array in weights.items()})
    flagfile.write_text(Config(block=("NonLocal",), blocks=("tsm_nl5",), epochs=7, weights="none").to_flags())
    process = run("--format=tsm", f"--source={source}", f"--flagfile={flagfile}", f"--output={output}")
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip().endswith("0 kept at their start, 0 tensors dropped")

    model = build_network(Config(block=("NonLocal",), blocks=("tsm_nl5",), weights=str(output)), 400)
    released.check_outputs(model, "model_tsm_r50_nl5")
    described = json.loads((tmp_path / "out/tsm.weights.json").read_text())
    assert described["source"] == "tsm.pth.tar" and described["format"] == "tsm"
    assert described["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert described["model_flags"]["block"] == ["NonLocal"] and described["model_flags"]["depth"] == 50
    assert sorted(os.listdir(tmp_path / "out")) == ["tsm.weights.h5", "tsm.weights.json"]


@pytest.mark.long
def test_a_caffe2_file(tmp_path):
    _, _, weights, _ = released.load_model("model_i3d_r50_nl5_pool1pad0")
    rows = json.loads((released.FIXTURES / "caffe2_blobs_i3d_r50_nl5.json").read_text())["blobs"]
    blobs = {row["blob"]: weights[row["pyslowfast"]] for row in rows} | {
        "pred_w_momentum": np.zeros(3),
        "lr": 0.1,
    }
    source, output = tmp_path / "i3d.pkl", tmp_path / "i3d.weights.h5"
    source.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    block = "--block=NonLocal(pool_order='before', scaled=True)"
    process = run(
        "--format=fair",
        f"--source={source}",
        f"--output={output}",
        "--temporal=i3d_3x1x1",
        "--blocks=nl5",
        block,
    )
    assert process.returncode == 0, process.stderr
    model, described = described_network(tmp_path / "i3d.weights.json")
    assert described["dropped"] == ["lr", "pred_w_momentum"]
    model.load_weights(output)
    released.check_outputs(model, "model_i3d_r50_nl5_pool1pad0")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file of a TSM network of depth 18 with three classes, and the network."""
    model = VideoResNet(18, num_classes=3, input_shape=(4, 32, 32, 3))
    path = tmp_path_factory.mktemp("tsm") / "tsm.pth.tar"
    write_torch(path, released_names(model))
    return path, model


def released_names(model):
    """The weights of a model by the names that TSM's code has for them."""
    leaves = {ours: theirs for theirs, ours in released.BATCH_NORM.items()} | {
        "kernel": "weight",
        "bias": "bias",
    }
    tensors = {}
    for variable in model.weights:
        layer, *_, leaf = variable.path.split("/")
        array = np.asarray(variable)
        array = np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array
        stage, number, part = layer.split("_", 2) if layer.startswith("res") else ("", "", layer)
        part = (
            part.replace("stem_conv", "conv1")
            .replace("stem_norm", "bn1")
            .replace("shortcut_conv", "downsample.0")
        )
        part = part.replace("shortcut_norm", "downsample.1").replace("norm", "bn").replace("fc", "new_fc")
        place = f"layer{int(stage[3]) - 1}.{number}." if stage else ""
        tensors["base_model." * (part != "new_fc") + f"{place}{part}.{leaves[leaf]}"] = np.ascontiguousarray(
            array
        )
    return tensors


def test_a_trunk_into_a_network_with_blocks_and_other_classes(small, tmp_path, capsys):
    source, model = small
    output = str(tmp_path / "trunk.weights.h5")
    arguments = ["--format=tsm", f"--source={source}", f"--output={output}", *SMALL[:-1], "--num_classes=9"]
    main(*arguments, "--ignore_head", "--allow_missing_blocks")
    assert "14 kept at their start, 2 tensors dropped" in capsys.readouterr().out
    again, described = described_network(tmp_path / "trunk.weights.json")
    assert described["dropped"] == ["new_fc.bias", "new_fc.weight"] and len(described["kept"]) == 14
    again.load_weights(output)
    np.testing.assert_array_equal(
        again.get_layer("res4_0_conv1").layer.kernel, model.get_layer("res4_0_conv1").layer.kernel
    )


def test_a_run_of_other_flags_than_the_conversions_is_refused(small, tmp_path):
    output = str(tmp_path / "w.weights.h5")
    main("--format=tsm", f"--source={small[0]}", f"--output={output}", *SMALL, "--allow_missing_blocks")
    same = {"depth": 18, "blocks": ("res3_0",), "block": ("NonLocal",), "weights": output}
    build_network(Config(**same), 3)
    for values, remedy in (
        ({"topology": "keras"}, "--topology=torchvision"),
        ({"block": ("NonLocal(scaled=True)",)}, "--blocks=res3_0 --block=NonLocal"),
    ):
        with pytest.raises(NetworkError, match=rf"w.weights.json says of --weights=.*Try: {remedy}$"):
            build_network(Config(**same | values), 3)


FAILS = {
    "another ending": (
        ["--output=w.h5"],
        r"Expected --output to end in .weights.h5.*Received 'w.h5'.*Try: --output=w.weights.h5",
    ),
    "no such source": (["--source=none.pth"], "Expected a checkpoint at .*none.pth.*Try: --source="),
    "what does not fit": ([], "Received no tensor for res3_0_block/.*Try: --allow_missing_blocks=True"),
    "no such block": (["--block=NonLocl"], "NonLocl.*Try: --block=NonLocal"),
    "no such place": (["--blocks=res3_7"], "residual blocks of --depth=18.*'res3_7'.*Try: --blocks=res3_1"),
    "a word": (["tsm.flags"], "Expected nothing but flags. Received 'tsm.flags'"),
    "a value out of its range": (["--groups=0"], "Expected --groups to be at least 1"),
}


@pytest.mark.parametrize("case", FAILS)
def test_nothing_is_written_unless_all_fits(case, small, tmp_path, capsys, monkeypatch):
    added, words = FAILS[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"^error: [^\n]*{words}[^\n]*$"):
        main("--format=tsm", f"--source={small[0]}", "--output=w.weights.h5", *SMALL, *added)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("existing", ["w.weights.h5", "w.weights.json"])
def test_an_existing_output_stays(existing, small, tmp_path):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(
        SystemExit, match=f"error: Expected a new file.*{existing}.*exists.*Try: --output=OTHER"
    ):
        main("--format=tsm", f"--source={small[0]}", f"--output={tmp_path / 'w.weights.h5'}", *SMALL)
    assert os.listdir(tmp_path) == [existing] and (tmp_path / existing).read_text() == "mine"


def test_a_full_disk_leaves_nothing(small, tmp_path, monkeypatch):
    def fail(model, path):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(keras.Model, "save_weights", fail)
    with pytest.raises(SystemExit, match=r"^error: No space left on device$"):
        main(
            "--format=tsm", f"--source={small[0]}", f"--output={tmp_path / 'w.weights.h5'}", *SMALL[:-1],
            "--blocks=", "--num_classes=3",
        )  # fmt: skip
    assert os.listdir(tmp_path) == []


def test_errors_are_one_line_without_a_traceback(small, tmp_path):
    process = run("--format=tsm", f"--source={small[0]}", f"--output={tmp_path / 'w.weights.h5'}", *SMALL)
    assert process.returncode == 1 and process.stdout == ""
    assert "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1].startswith("error: Expected a tensor for each variable")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ("--epoch=3", "a flag of this program. Received --epoch. Try: --epochs=3"),
        ("--depth 18", "a flag of this program. Received --depth. Try: --depth=18"),
        ("--flagfile=none.flags", "a flag file .*none.flags.*Try: --flagfile=.*demo.flags"),
        ("--format=tsn", "--format to be one of .*Received 'tsn'. Try: --format=tsm"),
        ("--num_classes=0", "--num_classes to be a positive integer. Received '0'. Try: --num_classes=1"),
    ],
)
def test_what_no_flag_allows_is_refused(added, words):
    with pytest.raises(ValueError, match=f"^Expected {words}"):
        main("--format=tsm", "--source=s", "--output=w.weights.h5", *SMALL, added)


def test_an_error_of_the_flags_is_one_line(tmp_path):
    process = run("--format=tsm", "--source=s", f"--output={tmp_path / 'w.weights.h5'}", "--epoch=3")
    assert process.returncode == 1 and process.stdout == "" and "Traceback" not in process.stderr
    assert process.stderr.endswith("Received --epoch. Try: --epochs=3\n")
    assert os.listdir(tmp_path) == []


def test_a_flag_file_of_a_run_or_of_ones_own(small, tmp_path):
    """The command line wins over the file, and flags of the run that are not the network's are ignored."""
    own = tmp_path / "own.flags"
    own.write_text(
        "# a run\n--depth=34\n\n// another\n--noflip\n--nofrozen_batch_norm\n--epochs=7\n--blocks=\n"
        "--block=NonLocal(scaled=True)\n--block=res4=RegionNonLocal(kernel_size=(3, 3, 3))\n"
    )
    output = tmp_path / "w.weights.h5"
    common = ["--format=tsm", f"--source={small[0]}", f"--output={output}", "--num_classes=3"]
    main(*common, f"--flagfile={own}", "--depth=18")
    described = json.loads((tmp_path / "w.weights.json").read_text())["model_flags"]
    assert (described["depth"], described["blocks"], described["num_classes"]) == (18, [], 3)
    assert described["block"] == ["NonLocal(scaled=True)", "res4=RegionNonLocal(kernel_size=(3, 3, 3))"]
    assert "epochs" not in described and "weights" not in described


def test_a_flag_file_with_a_word_in_it_is_refused(small, tmp_path):
    (tmp_path / "own.flags").write_text("--depth=18\nepochs=3\n")
    with pytest.raises(SystemExit, match=r"^error: Expected nothing but flags. Received 'epochs=3"):
        main("--format=tsm", f"--source={small[0]}", "--output=w", f"--flagfile={tmp_path / 'own.flags'}")


def test_the_flag_file_of_the_demo(small, tmp_path):
    demo = Path(__file__).parents[1] / "train/flagfiles/demo.flags"
    output = tmp_path / "w.weights.h5"
    arguments = ["--format=tsm", f"--source={small[0]}", f"--output={output}", f"--flagfile={demo}"]
    main(*arguments, "--num_classes=3", "--allow_missing_blocks")
    assert sorted(os.listdir(tmp_path)) == ["w.weights.h5", "w.weights.json"]


def test_images_have_a_thousand_classes_unless_told(tmp_path):
    classes = {}
    for images in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convert, "convert", lambda *a, **o: classes.update({a[5]: a[4]}) or sys.exit(0))
            with pytest.raises(SystemExit):
                main("--format=torchvision", "--source=s", "--output=o", f"--images={images}")
    assert classes == {True: 1000, False: 400}
