"""The frozen SavedModel against the one that it was made from."""

import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import savedmodels.export
from keras_nonlocal import NonLocal, RegionNonLocal, TemporalShift
from keras_nonlocal.frame_wise import FrameWise
from savedmodels.freeze import freeze, main
from savedmodels.signatures import classify

CLIP = (4, 32, 32, 3)


def randomised(model):
    generator = np.random.default_rng(0)
    for variable in model.variables:
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(generator.uniform(0.5, 2, variable.shape))
        elif variable.path.endswith(("beta", "moving_mean")):
            variable.assign(generator.normal(0, 0.2, variable.shape))
    return model


def small_network():
    """A residual network of four convolutions, one with a stride, as VideoResNet has them."""
    clips = keras.Input(CLIP)
    x = layers.ReLU()(convolution(layers.ZeroPadding3D((0, 1, 1))(clips), 16, 3, strides=2))
    y = layers.ReLU()(convolution(TemporalShift()(x), 8, 1))
    y = convolution(layers.ReLU()(convolution(y, 8, 3, padding="same")), 16, 1)
    x = layers.ReLU()(layers.Add()([y, x]))
    x = layers.GlobalAveragePooling3D(dtype="float32")(x)
    return randomised(keras.Model(clips, layers.Dense(5, dtype="float32")(x)))


def convolution(x, *arguments, **options):
    x = FrameWise(layers.Conv2D(*arguments, **options, use_bias=False, name="conv"))(x)
    return layers.BatchNormalization()(x)


def frozen(model, tmp_path):
    """Returns both SavedModels and the count of rewritten convolutions."""
    paths = [str(tmp_path / name) for name in ("exported", "frozen")]
    model.export(paths[0], verbose=False)
    count = freeze(*paths)
    return *map(tf.saved_model.load, paths), count


def answers(saved_model, x):
    signature = saved_model.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    return next(iter(signature(**{name: tf.constant(x)}).values())).numpy()


def assert_same_answers(exported, made, shape, tolerance=1e-5):
    for batch in (1, 3):
        x = np.random.default_rng(batch).standard_normal((batch, *shape)).astype("float32")
        expected = answers(exported, x)
        np.testing.assert_allclose(answers(made, x), expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 2e-2)])
def test_a_frozen_network_fuses_and_gives_the_same_logits(policy, tolerance, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = small_network()
    finally:
        keras.config.set_dtype_policy("float32")
    exported, made, count = frozen(model, tmp_path)
    assert count == 4
    assert_same_answers(exported, made, CLIP, tolerance)
    assert made.signatures["serving_default"].captured_inputs == []  # no variables
    # What fuses: the offset of the norm right behind the convolution, in its dtype.
    readers = [convolution.outputs[0].consumers() for convolution in operations(made, "Conv3D")]
    assert [(reader.type, reader.outputs[0].dtype) for (reader,) in readers] == [
        ("AddV2", model.compute_dtype)
    ] * 4
    assert operations(made, "Conv2D") == []


def operations(saved_model, kind):
    graph = convert_variables_to_constants_v2(saved_model.signatures["serving_default"]).graph
    return [operation for operation in graph.get_operations() if operation.type == kind]


class InGroups(layers.Layer):
    """TensorFlow's grouped convolution, which Keras's goes round."""

    def call(self, x):
        kernel = tf.random.stateless_normal((3, 3, x.shape[-1] // 3, x.shape[-1]), seed=(0, 0))
        return tf.nn.conv2d(x, kernel, 1, "SAME")

    def compute_output_shape(self, input_shape):
        return input_shape


def left_alone(name):
    """Returns a convolution of frames that must stay one of images."""
    clips = keras.Input({"unknown sides": (4, None, None, 6)}.get(name, (4, 8, 8, 6)))
    conv = InGroups() if name == "groups" else layers.Conv2D(6, 3, strides=2, use_bias=False)
    return keras.Model(clips, FrameWise(conv)(clips))


@pytest.mark.parametrize("name", ["groups", "unknown sides"])
def test_what_cannot_be_rewritten_is_left_alone(name, tmp_path):
    exported, made, count = frozen(left_alone(name), tmp_path)
    assert (count, len(operations(made, "Conv2D"))) == (0, 1)
    assert_same_answers(exported, made, (4, 8, 8, 6))


def test_a_result_that_is_read_twice_keeps_its_scale_outside(tmp_path):
    clips = keras.Input((4, 8, 8, 6))
    y = FrameWise(layers.Conv2D(6, 3, use_bias=False, name="conv"), name="frames")(clips)
    model = keras.Model(clips, layers.BatchNormalization()(y) + y)
    exported, made, count = frozen(randomised(model), tmp_path)
    assert (count, len(operations(made, "Conv3D")), len(operations(made, "Conv2D"))) == (1, 1, 0)
    assert_same_answers(exported, made, (4, 8, 8, 6))


def test_images_take_the_scale_into_their_kernels(tmp_path):
    images = keras.Input((9, 9, 6))
    y = layers.Conv2D(7, 3, use_bias=False)(images)
    model = keras.Model(images, layers.ReLU()(layers.BatchNormalization()(y)))
    exported, made, count = frozen(randomised(model), tmp_path)
    assert count == 1
    assert [op.outputs[0].consumers()[0].type for op in operations(made, "Conv2D")] == ["AddV2"]
    assert_same_answers(exported, made, (9, 9, 6))


def test_the_signature_stays(tmp_path):
    serving = {"classes": list("abcde"), "frames": 4, "size": 32, "mean": (120,) * 3, "std": (60,) * 3}
    archive = keras.export.ExportArchive()
    model = small_network()
    archive.track(model)
    archive.add_endpoint("serving_default", classify(model, serving))
    archive.write_out(str(tmp_path / "exported"), verbose=False)
    assert freeze(str(tmp_path / "exported"), str(tmp_path / "frozen")) == 4
    signatures = [
        tf.saved_model.load(str(tmp_path / name)).signatures["serving_default"]
        for name in ("exported", "frozen")
    ]
    assert len({str(signature.structured_input_signature) for signature in signatures}) == 1
    clip = np.random.default_rng(0).integers(256, size=(2, 4, 40, 50, 3)).astype(np.uint8)
    expected, made = (signature(clip=tf.constant(clip)) for signature in signatures)
    np.testing.assert_allclose(made["probabilities"], expected["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(made["classes"], expected["classes"])


def test_errors_name_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected the directory of a SavedModel.*Received .*Try: "):
        freeze(str(tmp_path), str(tmp_path / "frozen"))
    model = tf.Module()
    model.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec((), tf.float32)])
    tf.saved_model.save(model, str(tmp_path / "unsigned"), signatures={"double": model.double})
    with pytest.raises(
        ValueError, match=r"Expected a signature 'serving_default'.*Received \['double'\].*Try: "
    ):
        freeze(str(tmp_path / "unsigned"), str(tmp_path / "frozen"))
    with pytest.raises(FileExistsError, match=r"Expected a new directory.*Received .*Try: --output"):
        freeze(str(tmp_path / "unsigned"), str(tmp_path))
    with pytest.raises(SystemExit, match="error: Expected a new directory"):
        main([f"--savedmodel={tmp_path / 'unsigned'}", f"--output={tmp_path}"])
    assert not (tmp_path / "frozen").exists()


@pytest.fixture(scope="module")
def small_export(tmp_path_factory):
    directory = tmp_path_factory.mktemp("small") / "exported"
    clips = keras.Input((2, 8, 8, 3))
    y = layers.BatchNormalization()(layers.Conv3D(4, 3)(layers.ZeroPadding3D(1)(clips)))
    keras.Model(clips, layers.Dense(3)(layers.GlobalAveragePooling3D()(y))).export(directory, verbose=False)
    return directory


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    data = bytearray(path.read_bytes())
    for position in range(7, len(data), 50):
        data[position] ^= 0x15
    path.write_bytes(data)


def emptied(path):
    path.write_bytes(b"")


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def zeros_without_end(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def removed(path):
    path.unlink()


FILES = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "fingerprint.pb",
)
HARMS = [
    (name, harm)
    for name in FILES
    for harm in (cut_off, flipped, emptied, a_pipe, zeros_without_end, removed)
    # Without a fingerprint the model counts as an old one, and its numbers may be any numbers.
    if (name, harm) not in ((FILES[3], emptied), (FILES[3], removed), (FILES[3], flipped))
]


def refusal(arguments, program, capfd):
    """Returns the one line in which a program ends."""
    with pytest.raises(SystemExit) as caught:
        program(arguments)
    text = caught.value.code
    assert text.startswith("error: Expected ") and "Received " in text and "Try: " in text
    assert text.isprintable() and len(text) < 1200
    assert "Traceback" not in capfd.readouterr().err
    return text


@pytest.mark.parametrize(("name", "harm"), HARMS, ids=lambda value: getattr(value, "__name__", value))
def test_a_damaged_savedmodel_ends_in_one_line(name, harm, small_export, tmp_path, capfd):
    shutil.copytree(small_export, tmp_path / "damaged")
    harm(tmp_path / "damaged" / name)
    arguments = [f"--savedmodel={tmp_path / 'damaged'}", f"--output={tmp_path / 'frozen'}"]
    refusal(arguments, main, capfd)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


class Foreign(tf.Module):
    def __init__(self):
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a"], [1]), default_value=0
        )
        self.state = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def look_up(self, words):
        return {"found": self.table.lookup(words)}

    @tf.function(input_signature=[tf.TensorSpec((), tf.float32)])
    def count(self, x):
        return {"count": self.state.assign_add(x)}


@pytest.mark.parametrize("name", ["look_up", "count"])
def test_a_savedmodel_with_a_state_ends_in_one_line(name, tmp_path, capfd):
    module = Foreign()
    signature = getattr(module, name)
    tf.saved_model.save(module, str(tmp_path / "foreign"), signatures={"serving_default": signature})
    arguments = [f"--savedmodel={tmp_path / 'foreign'}", f"--output={tmp_path / 'frozen'}"]
    assert "variables can become constants" in refusal(arguments, main, capfd)
    assert not (tmp_path / "frozen").exists()


def test_help_says_that_loading_runs_what_is_in_it(capsys):
    for program in (main, savedmodels.export.main):
        with pytest.raises(SystemExit):
            program(["--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert "is a program: loading" in text and "runs what is in it" in text and "trust" in text
    assert all(
        "runs what is in" in " ".join(function.__doc__.split())
        for function in (freeze, savedmodels.export.export)
    )


def test_the_program_writes_all_or_nothing(tmp_path, monkeypatch, capsys):
    left_alone("groups").export(tmp_path / "exported", verbose=False)
    arguments = [f"--savedmodel={tmp_path / 'exported'}", f"--output={tmp_path / 'new' / '1'}"]

    def fail(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(tf.saved_model, "save", fail)
        with pytest.raises(SystemExit, match="error: disk full"):
            main(arguments)
    assert list((tmp_path / "new").iterdir()) == []
    main(arguments)
    assert "convolutions rewritten: 0" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["1"]


def test_blocks_with_gradients_of_their_own(tmp_path):
    clips = keras.Input((2, 8, 8, 6))
    x = RegionNonLocal((3, 3, 3), subsample=None)(NonLocal()(convolution(clips, 8, 3, padding="same")))
    model = randomised(keras.Model(clips, layers.GlobalAveragePooling3D()(x)))
    exported, made, count = frozen(model, tmp_path)
    assert count > 0
    assert_same_answers(exported, made, (2, 8, 8, 6))
