"""The convert command: real files become weights that give the released numbers, or nothing is written."""

import dataclasses
import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import released
from absl import flags
from torch_file import write_torch

from keras_nonlocal import ImageResNet, VideoResNet
from train import convert
from train.command_line import define_flags
from train.config import Config
from train.config.fields import parse
from train.loop.checkpoints import Checkpoints
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


def of_a_run(folder, config, model=None, **changes):
    """Writes what a run leaves; without a model, what it leaves before its end."""
    folder.mkdir(parents=True)
    if model is not None:
        model.save(folder / "model.keras")
    run = dataclasses.replace(config, data_dir="data", workdir=str(folder), **changes)
    (folder / "run.flags").write_text(run.to_flags())
    return str(folder)


def own(source, output, *flags):
    main("--format=keras_nonlocal", f"--source={source}", f"--output={output}", *flags)
    return described_network(Path(str(output).replace(".weights.h5", ".weights.json")))


def test_weights_of_a_run_are_moved_with_an_account_of_every_tensor(tmp_path, capsys):
    fields = {"depth": 18, "blocks": ("res3_0",), "block": ("NonLocal",)}
    config = Config(**fields, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    model = build_network(config, 3)
    model.get_layer("res3_0_block").norm.gamma.assign(np.full(128, 0.5))
    source, output = of_a_run(tmp_path / "run", config, model), tmp_path / "moved.weights.h5"
    flags = ["--depth=18", "--blocks=res3_0,res4_1", "--block=NonLocal", "--num_classes=5"]
    colours = ["--mean=1,2,3", "--std=4,5,6"]
    for given, words in (
        ([], r"run.flags says of --source=.*Try: --mean=1.0,2.0,3.0 --std=4.0,5.0,6.0$"),
        (colours, r"run.flags says of --source=.*Try: --adapt=blocks$"),
        ([*colours, "--adapt=blocks"], r"Expected --source that were .*Try: --adapt=\"classes,blocks\", or"),
    ):
        with pytest.raises(SystemExit, match=words):
            own(source, output, *flags, *given)
    assert os.listdir(tmp_path) == ["run"]

    again, described = own(source, output, *flags, *colours, "--adapt=classes,blocks")
    line = f"wrote {output} from {source}: 112 variables loaded, 14 kept at their start, 2 tensors dropped"
    assert capsys.readouterr().out.splitlines()[-1] == line
    again.load_weights(output)
    np.testing.assert_array_equal(again.get_layer("res3_0_block").norm.gamma, 0.5)
    assert described["format"] == "keras_nonlocal" and described["source"] == "run"
    assert described["sha256"] == hashlib.sha256((tmp_path / "run/model.keras").read_bytes()).hexdigest()
    assert sorted(described["dropped"]) == ["fc/bias", "fc/kernel"] and len(described["kept"]) == 14
    assert (described["mean"], described["std"]) == ([1, 2, 3], [4, 5, 6])
    assert "adapt" not in described["model_flags"]
    fields |= {"blocks": ("res3_0", "res4_1"), "weights": str(output)}
    with pytest.raises(NetworkError, match=r"moved.weights.json says .*Try: --mean=1.0,2.0,3.0 --std"):
        build_network(Config(**fields), 5)


@pytest.mark.parametrize("ema", [pytest.param(0.0, marks=pytest.mark.long), 0.9])
def test_a_run_that_has_not_ended_gives_its_averages(ema, tmp_path):
    config = Config(depth=18, blocks=(), dropout=0.5)
    source = of_a_run(tmp_path / "run", config, ema=ema)
    model = build_network(config, 3)
    for variable in model.weights:
        variable.assign(np.ones(variable.shape))
    optimizer = keras.optimizers.SGD(momentum=0.9)
    optimizer.build(model.trainable_variables)
    averages = [keras.Variable(np.full(v.shape, 2.0), trainable=False) for v in model.trainable_weights]
    variables = [*model.variables, *optimizer.variables, *(averages if ema else ())]
    Checkpoints(os.path.join(source, "checkpoints"), variables, 2).save({"step": 7})

    with pytest.raises(NetworkError, match=r"Try: python -m train.convert --format=keras_nonlocal --source="):
        build_network(dataclasses.replace(config, weights=source), 3)
    output = tmp_path / "x.weights.h5"
    again, described = own(source, output, "--depth=18", "--blocks=", "--num_classes=3")
    again.load_weights(output)
    expected = 2 if ema else 1
    np.testing.assert_array_equal(again.get_layer("fc").kernel, expected)
    np.testing.assert_array_equal(again.get_layer("stem_conv").layer.kernel, expected)
    np.testing.assert_array_equal(again.get_layer("stem_norm").moving_mean, 1)
    assert described["sha256"] is None
    with pytest.raises(SystemExit, match=rf"run.flags says of --source={source}\. .*Try: --depth=18"):
        own(source, tmp_path / "y.weights.h5", "--depth=34", "--blocks=", "--num_classes=3")
    for path in (tmp_path / "run/checkpoints").glob("*.index"):
        path.write_bytes(b"damaged")
    with pytest.raises(SystemExit, match=r"^error: [^\n]*Expected a whole checkpoint in [^\n]*Try: [^\n]*$"):
        own(source, tmp_path / "y.weights.h5", "--depth=18", "--blocks=", "--num_classes=3")
    assert sorted(os.listdir(tmp_path)) == ["run", "x.weights.h5", "x.weights.json"]


def test_own_weights_that_are_damaged_or_hostile(small, tmp_path, monkeypatch):
    model = small[1]
    model.save(tmp_path / "whole.keras")
    whole = (tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "packed.keras", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", bytes(10**7))
    model.save_weights(tmp_path / "outside.weights.h5")
    (tmp_path / "secret").write_bytes(bytes(12))
    with h5py.File(tmp_path / "outside.weights.h5", "r+") as file:
        group = file["layers/dense/vars"]
        del group["1"]
        group.create_dataset("1", (3,), "float32", external=[(str(tmp_path / "secret"), 0, 12)])
    with h5py.File(tmp_path / "text.weights.h5", "w") as file:
        file["layers/conv/vars/0"] = "text"
        file["layers/conv/vars"].attrs["name"] = 7
    cases = {
        "cut.keras": "cannot be read", "packed.keras": "it is compressed", "none.keras": "no such file",
        "outside.weights.h5": "cannot be read", "text.weights.h5": "the name .*7.* of a layer",
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir())
    for name, words in cases.items():
        with pytest.raises(SystemExit, match=rf"^error: [^\n]*{words}[^\n]*Try: [^\n]*$"):
            own(name, "new.weights.h5", "--depth=18", "--blocks=", "--num_classes=3")
    assert sorted(os.listdir()) == before


def test_flags_of_one_format_are_none_of_another(small, tmp_path):
    for given, words in (
        (["--format=keras_nonlocal", "--ignore_head"], "--adapt alone .*--ignore_head. Try: --adapt="),
        (["--format=tsm", "--adapt=classes"], "--adapt with --format=keras_nonlocal.*Try: --ignore_head"),
    ):
        with pytest.raises(SystemExit, match=f"error: Expected {words}"):
            main(*given, f"--source={small[0]}", f"--output={tmp_path / 'w.weights.h5'}", *SMALL)
    assert os.listdir(tmp_path) == []


def test_a_resnet_of_torchvision_starts_any_network_by_two_commands(tmp_path):
    """The first makes weights of an image network, and the second is a run with --weights and --adapt."""
    image = ImageResNet(18, num_classes=10, input_shape=(32, 32, 3))
    tensors = released_names(image)
    names = {name: name.removeprefix("base_model.").replace("new_fc", "fc") for name in tensors}
    write_torch(tmp_path / "resnet18.pth", {names[name]: array for name, array in tensors.items()})
    output = tmp_path / "start.weights.h5"
    flags_of_network = ["--depth=18", "--blocks=", "--num_classes=10", "--images"]
    source = tmp_path / "resnet18.pth"
    main("--format=torchvision", f"--source={source}", f"--output={output}", *flags_of_network)

    run = {"depth": 18, "temporal": "i3d_3x3x3", "blocks": ("res3_1",), "block": ("NonLocal",)}
    run |= {"weights": str(output), "adapt": ("classes", "blocks", "images")}
    model = build_network(Config(**run), 3)
    kernel = np.asarray(image.get_layer("res3_0_conv1").layer.kernel)
    np.testing.assert_array_equal(
        model.get_layer("res3_0_conv1").kernel, np.broadcast_to(kernel / 3, (3, *kernel.shape))
    )
    np.testing.assert_array_equal(
        model.get_layer("res3_1_conv1").layer.kernel, image.get_layer("res3_1_conv1").layer.kernel
    )
    np.testing.assert_array_equal(model.get_layer("res3_1_block").norm.gamma, 0)
