"""Where blocks go: the papers' places, blocks described in text, and blocks for any functional model."""

import functools

import backends
import keras
import numpy as np
import oracles
import pytest
from keras import layers, ops

from keras_nonlocal import (
    AttentionChain,
    CompactGeneralizedNonLocal,
    GlobalContext,
    NonLocal,
    RegionNonLocal,
    insert_blocks,
)
from keras_nonlocal.insertion import BLOCKS, PLACEMENTS, blocks_from_text, placement


def test_placements_have_the_papers_number_of_blocks():
    counts = {"nl5": 5, "tsm_nl5": 5, "nl10": 10, "bat_resnet18": 2}
    for name, depths in PLACEMENTS.items():
        for depth in depths:
            places = placement(name, depth)
            assert sum(map(len, places.values())) == counts.get(name, 1), (name, depth)


@pytest.mark.parametrize(("name", "depths"), [("nl1", {50: 6, 101: 23, 152: 36}), ("nl1_res4", {50: 6})])
def test_one_block_stands_before_the_last_residual_block(name, depths):
    assert {depth: placement(name, depth) for depth in depths} == {
        depth: {"res4": (count - 2,)} for depth, count in depths.items()
    }


def test_a_placement_is_the_callers_own():
    placement("tsm_nl5", 50).clear()
    assert placement("tsm_nl5", 50) == {"res3": (0, 2), "res4": (0, 2, 4)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nl55", 50), "Expected a placement among nl5, tsm_nl5.*Received 'nl55'. Try 'nl5'"),
        (("nl5", 34), "'nl5' is published, 50 or 101 or 152. Received 34. Try depth=50"),
    ],
)
def test_unpublished_placements_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        placement(*arguments)


def made(places, blocks, depth=50):
    makers = blocks_from_text(places, blocks, depth)
    return {f"{s}_{i}": make(name=f"{s}_{i}_block") for s, row in makers.items() for i, make in row.items()}


def test_the_most_specific_description_wins():
    found = made(
        ("res3_0", "res3_2", "res4_0", "res5_1"),
        (
            "res3_0=AttentionChain(channel=GlobalContext(ratio=2, norm='batch', name='gate'))",
            "NonLocal(pool_order='before', scaled=True)",
            "res4 = RegionNonLocal(kernel_size=(3, 3, 3))",
            "res3=RegionNonLocal",
        ),
    )
    kinds = {place: type(block) for place, block in found.items()}
    assert kinds == {
        "res3_0": AttentionChain,
        "res3_2": RegionNonLocal,
        "res4_0": RegionNonLocal,
        "res5_1": NonLocal,
    }
    assert [block.name for block in found.values()] == [f"{place}_block" for place in found]
    gate = found["res3_0"].channel
    assert isinstance(gate, GlobalContext) and (gate.ratio, gate.norm_kind, gate.name) == (2, "batch", "gate")
    assert found["res3_2"].kernel_size == (3, 7, 7) and found["res4_0"].kernel_size == (3, 3, 3)
    assert found["res5_1"].pool_order == "before" and found["res5_1"].scaled is True


def test_a_placement_name_stands_for_its_places():
    assert list(made(("nl5",), ("NonLocal",), 101)) == ["res3_1", "res3_3", "res4_6", "res4_13", "res4_20"]
    assert blocks_from_text((), ("NonLocal",), 50) == blocks_from_text((), (), 50) == {}


def test_nested_blocks_are_new_each_time_and_named_as_their_argument():
    make = blocks_from_text(("res3_0",), ("AttentionChain(region=NonLocal, channel=GlobalContext())",), 50)
    first, second = (make["res3"][0](name=name) for name in "ab")
    assert first.channel is not second.channel and first.region is not second.region
    assert [layer.name for layer in (first.channel, second.channel, first.region)] == [
        "channel",
        "channel",
        "region",
    ]


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_can_be_described(name):
    assert made(("res3_0",), (name,))["res3_0"].name == "res3_0_block"


def test_the_bilinear_block_is_that_of_the_released_video_code():
    released, images = (
        made(("res3_0",), (f"BilinearAttentionTransform{arguments}",))["res3_0"]
        for arguments in ("", "(normalization='sigmoid')")
    )
    assert (released.normalization, released.matrix_size) == ("softmax", "fitted")
    assert (images.normalization, images.matrix_size) == ("sigmoid", "fitted")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Nonlocal", "Nonlocal is no block"),
        ("NonLocal(pairwize='x')", "pairwize"),
        ("NonLocal(pairwise='x')", "`pairwise` to be one of.*Try 'embedded_gaussian'"),
        ("NonLocal('gaussian')", "arguments that are not keywords"),
        ("NonLocal(scaled=True, scaled=False)", "not keywords, each once"),
        ("NonLocal(**{'scaled': True})", "not keywords"),
        ("NonLocal(name='mine')", "the name comes from the place"),
        ("NonLocal(channels=width)", "width is no block"),
        ("NonLocal(channels=2 ** 3)", r"channels=2 \*\* 3 is neither a literal nor a block"),
        ("NonLocal(channels=open('x'))", "open is no block"),
        ("__import__('os').system('x')", "system is no block"),
        ("AttentionChain(channel=[GlobalContext()])", "neither a literal nor a block"),
        ("res6=NonLocal", "res6 is no stage"),
        ("res3_01=NonLocal", "res3_01 is no stage.*no place"),
        ("NonLocal(", "never closed"),
        ("NonLocal; NonLocal", "invalid syntax"),
        ("", "invalid syntax"),
    ],
)
def test_wrong_descriptions_are_refused_at_once(text, words):
    with pytest.raises(ValueError, match=r"Expected a block such as .* Received .* Try ") as caught:
        blocks_from_text((), (text,), 50)
    assert repr(text) in str(caught.value)
    assert caught.match(words)


@pytest.mark.parametrize(
    ("places", "blocks", "words"),
    [
        (("res3_0",), ("NonLocal", "GlobalContext"), "one block for all places.*'GlobalContext' as a second"),
        (("res3_0",), ("res3=NonLocal", "res3=NonLocal"), "one block for res3 .*'res3=NonLocal' as a second"),
        (("res3_0",), ("res4=NonLocal",), r"a block for res3_0.*Received \('res4=NonLocal',\).*Try"),
        (("res3_0",), (), r"a block for res3_0.*Received \(\).*Try"),
        (("res3_0",), ("NonLocal", "res4=NonLocal"), r"Received one for res4, .*\('res3_0',\).*Try leaving"),
        (("res3_0",), ("res3=NonLocal", "NonLocal"), "Received one for all others.*Try leaving"),
        (("res3_0", "res4_0", "res3_0"), ("NonLocal",), "each once.*Received 'res3_0' in.*Try"),
        (("res3_0", "nl5"), ("NonLocal",), "residual blocks.*Received 'nl5' in.*Try"),
        (("res3_0", "res4_00"), ("NonLocal",), "residual blocks.*Received 'res4_00' in.*Try"),
        (("layer3_0",), ("NonLocal",), "a placement among.*Received 'layer3_0'.*Try"),
    ],
)
def test_descriptions_and_places_that_do_not_match_are_refused(places, blocks, words):
    with pytest.raises(ValueError, match=f"Expected .*{words}"):
        blocks_from_text(places, blocks, 50)


def randomise(model):
    """Give every weight of a model a value that is not where it starts; sizes stay in range."""
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
        ({"relu_c": NonLocal}, "a layer of odd .*Received 'relu_c'. Try 'relu_[ab]' or 'relu_[ab]'"),
        ({"conv": NonLocal}, "Received 'conv'. Try a name that model.summary"),
        ({"images": NonLocal}, "that is not an input. Received 'images'. Try"),
        ({"deep": NonLocal}, r"Received 'deep'. Try model.get_layer\('inner'\), which holds it"),
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
        ValueError, match=r"Expected a functional .*Received <.*wrong.*Try .*build\(input_shape\)"
    ):
        insert_blocks(model, {"dense": NonLocal})
