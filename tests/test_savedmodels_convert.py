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
from torch_file import write_torch

from keras_nonlocal import VideoResNet
from savedmodels import convert
from train import config

SMALL = ["--depth=18", "--blocks=res3_0", "--block=NonLocal", "--num_classes=3"]


def run(*arguments):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "savedmodels.convert", *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_a_torch_file_and_the_flag_file_of_a_run(tmp_path):
    _, _, weights, _ = released.load_model("model_tsm_r50_nl5")
    source, flags, output = (tmp_path / name for name in ("tsm.pth.tar", "run.flags", "out/tsm.weights.h5"))
    write_torch(source, {f"module.{key}": array for key, array in weights.items()})
    flags.write_text(config.Config(block=("NonLocal",), blocks=("tsm_nl5",), epochs=7).to_flags())
    process = run("--format=tsm", f"--source={source}", f"--flagfile={flags}", f"--output={output}")
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip().endswith("0 kept at their start, 0 tensors dropped")

    model = config.Config(block=("NonLocal",), blocks=("tsm_nl5",), weights=str(output)).build_network(400)
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
    assert json.loads((tmp_path / "i3d.weights.json").read_text())["dropped"] == ["lr", "pred_w_momentum"]
    flags = convert._parser().parse_args(["--format=fair", "--source=s", "--output=o", "--temporal=i3d_3x1x1",
                                          "--blocks=nl5", block])  # fmt: skip
    model = convert.build_network(vars(flags) | {"num_classes": 400})
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
    convert.main([*arguments, "--ignore_head", "--allow_missing_blocks"])
    assert "14 kept at their start, 2 tensors dropped" in capsys.readouterr().out
    described = json.loads((tmp_path / "trunk.weights.json").read_text())
    assert described["dropped"] == ["new_fc.bias", "new_fc.weight"] and len(described["kept"]) == 14
    again = convert.build_network(described["model_flags"])
    again.load_weights(output)
    np.testing.assert_array_equal(
        again.get_layer("res4_0_conv1").layer.kernel, model.get_layer("res4_0_conv1").layer.kernel
    )


FAILS = {
    "another ending": (
        ["--output=w.h5"],
        r"ends in .weights.h5.*Received 'w.h5'.*Try: --output=w.weights.h5",
    ),
    "no such source": (["--source=none.pth"], "No such file .*none.pth"),
    "what does not fit": ([], "Received no tensor for res3_0_block/.*Try allow_missing_blocks"),
    "no such block": (["--block=NonLocl"], "NonLocl"),
    "no such place": (["--blocks=res3_7"], "res3 from 0 to 1"),
    "no such flag file": (["--flagfile=none.flags"], "No such file .*none.flags"),
}


@pytest.mark.parametrize("case", FAILS)
def test_nothing_is_written_unless_all_fits(case, small, tmp_path, capsys, monkeypatch):
    added, words = FAILS[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"^error: [^\n]*{words}[^\n]*$"):
        convert.main(["--format=tsm", f"--source={small[0]}", "--output=w.weights.h5", *SMALL, *added])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("existing", ["w.weights.h5", "w.weights.json"])
def test_an_existing_output_stays(existing, small, tmp_path):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(
        SystemExit, match=f"error: Expected a new file.*{existing}.*exists.*Try: --output=OTHER"
    ):
        convert.main(
            ["--format=tsm", f"--source={small[0]}", f"--output={tmp_path / 'w.weights.h5'}", *SMALL]
        )
    assert os.listdir(tmp_path) == [existing] and (tmp_path / existing).read_text() == "mine"


def test_a_full_disk_leaves_nothing(small, tmp_path, monkeypatch):
    def fail(model, path):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(keras.Model, "save_weights", fail)
    with pytest.raises(SystemExit, match=r"^error: No space left on device$"):
        convert.main(
            ["--format=tsm", f"--source={small[0]}", f"--output={tmp_path / 'w.weights.h5'}", *SMALL[:-1],
             "--blocks=", "--num_classes=3"]
        )  # fmt: skip
    assert os.listdir(tmp_path) == []


def test_errors_are_one_line_and_unknown_flags_are_errors(small, tmp_path):
    arguments = ["--format=tsm", f"--source={small[0]}", f"--output={tmp_path / 'w.weights.h5'}", *SMALL]
    process = run(*arguments)
    assert process.returncode == 1 and process.stdout == ""
    assert "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1].startswith("error: Expected a tensor for each variable")
    with pytest.raises(SystemExit) as stopped:
        convert.main([*arguments, "--epochs=3"])
    assert stopped.value.code == 2
    assert os.listdir(tmp_path) == []


def test_model_flags_of_a_flag_file(tmp_path):
    path = tmp_path / "run.flags"
    path.write_text(
        "# a run\n--depth=101\n\n// another\n-temporal=c2d\n--noflip\n--nofrozen_batch_norm\n--epochs=5\n"
        "--block=NonLocal(scaled=True)\n--block=res4=RegionNonLocal(kernel_size=(3, 3, 3))\n--blocks=nl5\n"
    )
    found = convert.model_flags_of(path)
    options = convert._parser().parse_args(
        [*found, "--format=tsm", "--source=s", "--output=o", "--depth=152"]
    )
    assert (options.depth, options.temporal, options.frozen_batch_norm) == (152, "c2d", False)
    assert options.block == ["NonLocal(scaled=True)", "res4=RegionNonLocal(kernel_size=(3, 3, 3))"]
    assert options.blocks == ["nl5"] and len(found) == 6


@pytest.mark.parametrize("line", ["--depth 18", "depth=18", "--flagfile=other.flags"])
def test_other_lines_of_a_flag_file_are_refused(line, tmp_path):
    (tmp_path / "run.flags").write_text(f"--epochs=3\n{line}\n")
    with pytest.raises(ValueError, match=f"Expected a line .*Received '{line}' in line 2. Try"):
        convert.model_flags_of(tmp_path / "run.flags")


def test_flags_and_defaults_are_those_of_a_run():
    options = vars(convert._parser().parse_args(["--format=tsm", "--source=s", "--output=o"]))
    run_defaults = config._defaults()
    for name in convert.MODEL_FLAGS.keys() - {"block"}:
        default = run_defaults[name]
        assert options[name] == (list(default) if isinstance(default, tuple) else default), name
    assert run_defaults["block"] == ("RegionNonLocal",) and options["block"] == []
