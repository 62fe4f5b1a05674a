"""AttentionChain against the RNL paper's form, with other layers than its own, and in a network."""

import math

import keras
import numpy as np
import oracles
import oracles_channels
import pytest
import released
from keras import ops

from keras_nonlocal import AttentionChain, GlobalContext, RegionNonLocal, SqueezeExcite, VideoResNet


def test_as_in_the_rnl_paper():
    name = "block_chain_se_rnl_r16_333"
    activations, w = released.load_block(name)
    shape = activations["x"].shape
    layer = AttentionChain(region=RegionNonLocal(kernel_size=3, name="region"))
    layer.build(shape)
    parts = {"channel/reduce": "se.fc1", "channel/expand": "se.fc2", "region/g": "rnl.theta"}
    parts |= {"region/out": "rnl.W.0"}
    parts = {k: released.projection(w[f"{v}.weight"], w[f"{v}.bias"]) for k, v in parts.items()}
    parts["region/region"] = {"kernel": w["rnl.dw.weight"].transpose((2, 3, 4, 0, 1))}
    parts |= {"channel/norm": released.norm(w, "se.bn"), "region/norm": released.norm(w, "rnl.W.1")}
    released.assign(layer, parts)
    released.check_block(layer, name, activations)
    released.check_running_statistics(layer.channel, w, "se.bn", positions=shape[0])
    released.check_running_statistics(layer.region, w, "rnl.W.1", positions=np.prod(shape[:-1]))


def test_parameters():
    def parameters(channels):
        layer = AttentionChain()
        layer.build((None, 8, 14, 14, channels))
        return sum(math.prod(w.shape) for w in layer.trainable_weights)

    # Five in TSM ResNet-50, with a true depthwise F_theta: what SE and what RNL add on their own.
    added = (24_791_248 - 24_327_632) + (28_313_040 - 24_327_632)
    assert 2 * parameters(512) + 3 * parameters(1024) == added


def test_default_layers_take_the_policy_of_the_chain():
    chain = AttentionChain(dtype="mixed_bfloat16")
    assert isinstance(chain.channel, SqueezeExcite) and isinstance(chain.region, RegionNonLocal)
    assert {child.dtype_policy.name for child in (chain.channel, chain.region)} == {"mixed_bfloat16"}
    assert (chain.channel.name, chain.region.name) == ("channel", "region")


def test_config_holds_the_layers_given():
    gate = GlobalContext(ratio=2, norm="batch", name="gate", dtype="mixed_float16")
    chain = AttentionChain(channel=gate, region=RegionNonLocal(kernel_size=3, channels=5))
    chain.build((None, 4, 6, 8))
    config = chain.get_config()
    assert "build_config" not in config["channel"] | config["region"]
    again = AttentionChain.from_config(config)
    assert not again.built and not again.channel.built
    assert again.get_config() == config
    assert again.channel.get_config() == gate.get_config()
    assert again.region.get_config() == chain.region.get_config()


def test_the_second_layer_is_built_for_what_the_first_returns():
    chain = AttentionChain(channel=keras.layers.Dense(6), region=keras.layers.Dense(3))
    assert chain(np.ones((1, 2, 5, 4), "float32")).shape == (1, 2, 5, 3)
    assert chain.compute_output_shape((None, None, 5, 4)) == (None, None, 5, 3)


def test_layers_without_weights_or_a_training_argument(tmp_path):
    dropout = keras.layers.Dropout(0.5, seed=1, name="channel")
    chain = AttentionChain(channel=dropout, region=keras.layers.Dense(3, name="region"), name="chain")
    inputs = keras.Input((None, None, 4))
    model = keras.Model(inputs, chain(inputs))
    assert model.output_shape == chain.compute_output_shape((None, None, None, 4)) == (None, None, None, 3)
    assert [w.path for w in chain.weights] == ["chain/region/kernel", "chain/region/bias"]
    x = np.ones((1, 50, 2, 4), "float32")
    chain.region.kernel.assign(np.eye(4, 3))
    model.save(tmp_path / "model.keras")
    for loaded in (model, keras.saving.load_model(tmp_path / "model.keras")):
        assert [w.path for w in loaded.layers[-1].weights] == [w.path for w in chain.weights]
        np.testing.assert_array_equal(ops.convert_to_numpy(loaded(x)), x[..., :3])
        assert set(np.unique(ops.convert_to_numpy(loaded(x, training=True)))) == {0.0, 2.0}


def test_a_trained_layer_keeps_its_weights():
    gate, w = oracles.randomise(GlobalContext(ratio=2, norm="batch"), (2, 3, 4, 6))
    chain = AttentionChain(channel=gate)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 6))
    y = ops.convert_to_numpy(chain(x.astype("float32")))  # RegionNonLocal starts as an identity
    np.testing.assert_allclose(y, oracles_channels.global_context(x, w, norm="batch"), atol=1e-5)


def released_block(name):
    """What the released Kinetics weights hold: the gate in res3_0 only."""
    if name != "res3_0_block":
        return RegionNonLocal(name=name)
    return AttentionChain(channel=GlobalContext(ratio=2, norm="batch", name="channel"), name=name)


@pytest.mark.parametrize("make_block", [AttentionChain, released_block])
def test_in_a_network(make_block):
    model = VideoResNet(
        18, blocks={"res3": (0, 1)}, make_block=make_block, input_shape=(None, None, None, 3), num_classes=4
    )
    block, other = (model.get_layer(f"res3_{index}_block") for index in (0, 1))
    assert isinstance(block, AttentionChain) and type(other) is type(make_block(name="res3_1_block"))
    heads = {w.path.rsplit("/", 1)[0].rsplit("/", 1)[0] for w in block.weights}
    assert heads == {"res3_0_block/channel", "res3_0_block/region"}
    ends = keras.Model(model.input, [block.input, block.output, model.output])
    clips = np.random.default_rng(1).standard_normal((1, 2, 32, 48, 3)).astype("float32")
    x, z, before = map(ops.convert_to_numpy, ends(clips))
    np.testing.assert_array_equal(x, z)  # an identity at the start
    oracles.randomise(block, None)
    x, z, after = map(ops.convert_to_numpy, ends(clips))
    assert np.abs(x - z).max() > 0.1 and (before != after).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"channel": SqueezeExcite},
            "`channel` to be a keras.layers.Layer.*Received <class.*Try: an instance",
        ),
        ({"region": "rnl"}, "`region` to be a keras.layers.Layer.*Received 'rnl'.*Try: an instance"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected {words}"):
        AttentionChain(name="odd_one", **arguments)


def test_one_layer_twice_is_refused():
    layer = SqueezeExcite(name="both")
    with pytest.raises(ValueError, match=r"odd_one: Expected two layers.*Received both as.*Try: a second"):
        AttentionChain(layer, layer, name="odd_one")
