"""Blocks for any functional model: what is kept, what is refused."""

import functools

import backends
import keras
import numpy as np
import oracles
import pytest
from keras import layers, ops

from keras_nonlocal import (
    CompactGeneralizedNonLocal,
    NonLocal,
    RegionNonLocal,
    insert_blocks,
)


def randomise(model):
    """Gives every weight of a model a value that is not where it starts; sizes stay in range."""
    generator = np.random.default_rng(0)
    for variable in model.weights:
        value = np.asarray(ops.convert_to_numpy(variable.value))
        if variable.dtype == "float32":
            variable.assign(value + generator.uniform(0.05, 0.2, value.shape).astype("float32") * value.std())
        if variable.name in ("gamma", "beta", "moving_mean", "moving_variance", "mean", "variance"):
            variable.assign(value + generator.uniform(0.05, 0.2, value.shape))
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()


def weights(model):
    """Arrays by path."""
    return {w.path: ops.convert_to_numpy(w.value) for w in model.weights}


def kinds(model):
    return {layer.name: type(layer) for layer in model.layers}


def images(*shape):
    return np.random.default_rng(1).uniform(0, 255, shape).astype("float32")


@pytest.mark.parametrize(
    ("application", "after"),
    [
        ("ResNet50", {"conv4_block5_out": NonLocal, "conv3_block2_out": CompactGeneralizedNonLocal}),
        ("EfficientNetB0", {"block4a_expand_activation": RegionNonLocal, "block5c_add": NonLocal}),
    ],
)
@pytest.mark.skipif(keras.config.backend() == "jax", reason="compiles each layer by itself, for 20 s a model")
def test_keras_applications_keep_their_output(application, after):
    model = getattr(keras.applications, application)(weights=None, input_shape=(64, 64, 3), classes=4)
    randomise(model)
    before, x = weights(model), images(1, 64, 64, 3)
    new = insert_blocks(model, after=after)
    expected = ops.convert_to_numpy(model(x))
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(ops.convert_to_numpy(new(x)), expected, atol=1e-6)

    assert isinstance(new, keras.Model) and new.name == model.name
    names = {f"{name}_block": type_ for name, type_ in after.items()}
    assert kinds(new) == kinds(model) | names
    added = {w.path for name in names for w in new.get_layer(name).weights}
    kept = weights(new)
    assert kept.keys() == before.keys() | added and added
    for path, value in before.items():
        np.testing.assert_array_equal(kept[path], value, err_msg=path)
    for name in after:
        assert new.get_layer(f"{name}_block").input is new.get_layer(name).output


def small_model(name="small"):
    """Two inputs, two outputs, operations, a frozen norm, a nested model with layers of its own."""
    inner_in = keras.Input((None, None, 4))
    inner_norm = layers.BatchNormalization(name="inner_norm", trainable=False)
    inner_out = inner_norm(layers.Conv2D(6, 1, name="inner_conv")(inner_in))
    inner = keras.Model(inner_in, inner_out, name="inner")
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    scale = layers.Normalization(name="scale")
    scale.build((None, 8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", dtype="mixed_bfloat16", name="conv")(scale(left) - right / 2)
    norm = layers.BatchNormalization(name="norm")
    norm.trainable = False
    x = ops.leaky_relu(layers.Dropout(0.5, name="drop")(norm(x)))
    maps = inner(x)
    logits = layers.Dense(5, name="fc")(ops.mean(maps, axis=(1, 2)))
    model = keras.Model({"left": left, "right": right}, {"maps": maps, "logits": logits}, name=name)
    randomise(model)
    return model


def pair():
    return {"left": images(2, 8, 8, 3), "right": images(2, 8, 8, 3)[::-1].copy()}


def test_everything_else_of_a_model_is_kept():
    model = small_model()
    model.compile("sgd", {"maps": "mse", "logits": "mse"})
    new = insert_blocks(model, {"norm": NonLocal, "inner": RegionNonLocal(kernel_size=3, name="mine")})
    assert not new.compiled
    assert kinds(new.get_layer("inner")) == kinds(model.get_layer("inner"))
    expected, found = model(pair()), new(pair())
    assert expected.keys() == found.keys() == {"maps", "logits"}
    for key in expected:
        np.testing.assert_array_equal(
            ops.convert_to_numpy(found[key]), ops.convert_to_numpy(expected[key]), err_msg=key
        )
    assert {op.name for op in new.operations} == {op.name for op in model.operations} | {"norm_block", "mine"}
    assert new.get_layer("conv").dtype_policy.name == "mixed_bfloat16"
    assert not new.get_layer("norm").trainable and new.get_layer("conv").trainable
    assert new.get_layer("inner").get_layer("inner_conv").trainable
    assert not new.get_layer("inner").get_layer("inner_norm").trainable
    trained = {w.path for w in new.trainable_weights if not w.path.startswith(("norm_block", "mine"))}
    assert trained == {w.path for w in model.trainable_weights}


def test_original_and_copy_share_nothing():
    model = small_model()
    before = weights(model)
    new = insert_blocks(model, {"norm": NonLocal})
    assert not {id(w) for w in model.weights} & {id(w) for w in new.weights}
    for variable in new.weights:
        variable.assign(ops.ones_like(variable.value))
    for path, value in weights(model).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    assert model.get_layer("conv").output is not new.get_layer("conv").output


def test_a_layer_of_a_nested_model_that_stands_outside_too_stays_one_layer():
    shared, x = layers.Conv2D(3, 1, name="shared"), keras.Input((4, 4, 3))
    inner = keras.Model(x, shared(x), name="inner")
    model = keras.Model(x, layers.ReLU(name="relu")(shared(inner(x))), name="outer")
    new = insert_blocks(model, {"relu": NonLocal})
    assert new.get_layer("inner").get_layer("shared") is new.get_layer("shared")


def test_a_frozen_model_stays_frozen_and_its_block_learns(tmp_path):
    model = small_model()
    model.trainable = False
    model.get_layer("inner").get_layer("inner_conv").trainable = True
    compact = functools.partial(CompactGeneralizedNonLocal, groups=2)
    new = insert_blocks(model, {"conv": NonLocal, "drop": compact})
    assert not new.get_layer("inner").trainable
    learning = {"conv_block", "drop_block", "inner_conv"}
    assert {w.path.split("/")[0] for w in new.trainable_weights} == learning
    before = weights(new)
    new.compile("sgd", {"maps": "mse", "logits": "mse"}, run_eagerly=True)
    target = {"maps": np.ones((2, 8, 8, 6), "float32"), "logits": np.ones((2, 5), "float32")}
    with backends.recording():
        new.train_on_batch(pair(), target)
    after = weights(new)
    changed = {path.split("/")[0] for path in after if (after[path] != before[path]).any()}
    assert changed == learning

    new.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    for key, value in new(pair()).items():
        np.testing.assert_array_equal(
            ops.convert_to_numpy(reloaded(pair())[key]), ops.convert_to_numpy(value), err_msg=key
        )


def test_blocks_of_a_built_sequential_after_its_last_layer_and_after_a_block():
    x = images(1, 6, 6, 3)
    model = keras.Sequential([layers.Conv2D(4, 3, name="conv"), layers.ReLU(name="relu")], name="chain")
    expected = ops.convert_to_numpy(model(x))
    once = insert_blocks(model, {"relu": NonLocal})
    block = oracles.randomise(once.get_layer("relu_block"), None)[0]
    found = ops.convert_to_numpy(once(x))
    np.testing.assert_allclose(found, ops.convert_to_numpy(block(expected)), rtol=1e-5)
    assert np.abs(found - expected).max() > 0.1
    twice = insert_blocks(once, {"relu_block": NonLocal})
    np.testing.assert_array_equal(ops.convert_to_numpy(twice(x)), found)
    assert twice.layers[-1].name == "relu_block_block" and twice.name == "chain"


class Subclassed(keras.Model):
    def call(self, x):
        return x


class Halves(layers.Layer):
    def call(self, x):
        return x[..., :2], x[..., 2:]

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2), (*shape[:-1], 2)


def odd_model():
    x = keras.Input((8, 8, 4), name="images")
    twice = layers.Conv2D(4, 1, name="twice")
    y = layers.ReLU(name="relu_a")(layers.ReLU(name="relu_b")(twice(twice(x))))
    inner = keras.Sequential([layers.Conv2D(4, 1, name="deep")], name="inner")
    return keras.Model(x, Halves(name="halves")(inner(y)), name="odd")


SAME = NonLocal(name="same")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"relu_c": NonLocal}, "a layer of odd .*Received 'relu_c'. Try: 'relu_[ab]' or 'relu_[ab]'"),
        ({"conv": NonLocal}, "Received 'conv'. Try: a name that model.summary"),
        ({"images": NonLocal}, "that is not an input. Received 'images'. Try"),
        ({"deep": NonLocal}, r"Received 'deep'. Try: model.get_layer\('inner'\), which holds it"),
        ({"twice": NonLocal}, "called once.*Received 'twice', called again. Try"),
        ({"halves": NonLocal}, "one tensor. Received 'halves', which returns several. Try"),
        (
            {"relu_a": layers.Flatten},
            r"relu_a_block to keep the shape \(None, 8, 8, 4\). Received .*256.*Try",
        ),
        ({"relu_a": lambda name: layers.Dense(5, name=name)}, r"Received \(None, 8, 8, 5\). Try"),
        ({"relu_a": Halves}, "relu_a_block to keep the shape.*Try"),
        ({"relu_a": "NonLocal"}, "a layer class, a callable or a layer.*Received 'NonLocal'. Try"),
        ({"relu_a": lambda name: name}, "make a keras.layers.Layer. Received 'relu_a_block'. Try"),
        ({"relu_a": SAME, "relu_b": SAME}, "Received 'same' after 'relu_b', a name that is taken. Try"),
        ({"relu_a": NonLocal(name="twice")}, "Received 'twice' after 'relu_a', a name that is taken. Try"),
    ],
)
def test_wrong_places_and_blocks_name_what_came_and_the_remedy(after, words):
    with pytest.raises(ValueError, match=f"insert_blocks: Expected .*{words}"):
        insert_blocks(odd_model(), after)


@pytest.mark.parametrize(
    "model",
    [
        Subclassed(name="wrong"),
        keras.Sequential([layers.Dense(3)], name="wrong"),
        layers.Dense(3, name="wrong"),
    ],
)
def test_what_is_no_graph_is_refused(model):
    with pytest.raises(
        ValueError, match=r"Expected a functional .*Received <.*wrong.*Try: .*build\(input_shape\)"
    ):
        insert_blocks(model, {"dense": NonLocal})
