"""Batch norms that keep to their running statistics: the switch of every block, and the network's for all."""

import backends
import keras
import numpy as np
import pytest
from keras import ops
from layer_table import ROWS, make

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ConvBlockAttention,
    GlobalContext,
    NonLocal,
    PlainResidual,
    RegionNonLocal,
    SqueezeExcite,
    VideoResNet,
)

# Blocks with batch norms, with their arguments, and whether they start as an identity.
BLOCKS = {
    NonLocal: ({}, True),
    RegionNonLocal: ({}, True),
    CompactGeneralizedNonLocal: ({"groups": 2}, True),
    BilinearAttentionTransform: ({"size": 2, "temporal_size": 2, "dropout": 0.0}, False),
    SqueezeExcite: ({}, True),
    GlobalContext: ({"norm": "batch"}, True),
    ConvBlockAttention: ({}, False),
    PlainResidual: ({}, True),
}


def norms_of(layer):
    """Returns the batch norms within a layer."""
    return [part for part in layer._flatten_layers() if isinstance(part, keras.layers.BatchNormalization)]


@pytest.fixture(params=BLOCKS, ids=lambda layer: layer.__name__)
def block(request):
    return request.param


@pytest.fixture
def x():
    return np.random.default_rng(3).standard_normal((2, 4, 4, 4, 8)).astype("float32")


def test_the_switch_freezes_statistics_and_weights_and_lasts(block, x):
    arguments, _ = BLOCKS[block]
    layer = block(**arguments, frozen_batch_norm=True)
    layer.build(x.shape)
    norms = norms_of(layer)
    for norm in norms:
        norm.moving_mean.assign(norm.moving_mean + 0.3)
    y = layer(x, training=True)
    np.testing.assert_allclose(y, layer(x, training=False), atol=1e-6)
    assert norms and all(np.ptp(np.asarray(norm.moving_mean)) == 0 for norm in norms)
    assert not {"gamma", "beta"} & {weight.name for weight in layer.trainable_weights}
    again = block.from_config(layer.get_config())
    assert again.frozen_batch_norm is True
    config = layer.get_config()
    del config["frozen_batch_norm"]  # As in files that are older than the argument.
    assert block.from_config(config).frozen_batch_norm is None
    for said in (None, False):
        free = block(**arguments, frozen_batch_norm=said)
        free.build(x.shape)
        assert {"gamma", "beta"} <= {weight.name for weight in free.trainable_weights}
    with pytest.raises(ValueError, match=r"Expected `frozen_batch_norm` to be one of None, False, True.*Try"):
        block(frozen_batch_norm="yes")


def test_a_frozen_block_starts_as_the_free_one_does_and_can_be_trained(block, x):
    arguments, is_identity = BLOCKS[block]
    layer = block(**arguments, frozen_batch_norm=True)
    layer.build(x.shape)
    if is_identity:
        np.testing.assert_array_equal(layer(x, training=True), x)
    variables, state = layer.trainable_variables, [v.value for v in layer.non_trainable_variables]

    def total(*values):
        y, _ = layer.stateless_call(values, state, ops.convert_to_tensor(x), training=True)
        return ops.sum(ops.square(y))

    gradients = backends.gradients(total, *(np.asarray(v) for v in variables))
    assert max(np.abs(gradient).max() for gradient in gradients) > 1e-3


def test_a_network_freezes_the_norms_of_its_blocks_but_not_of_one_that_says_otherwise(tmp_path):
    def chain(name):
        channel = SqueezeExcite(name="channel", frozen_batch_norm=False)
        return AttentionChain(channel, RegionNonLocal((1, 3, 3), name="region"), name=name)

    def free(name):
        return NonLocal(name=name, frozen_batch_norm=False)

    blocks = {"res2": {0: NonLocal, 1: free}, "res3": {0: chain, 1: built_chain}}
    arguments = {"input_shape": (2, 32, 32, 3), "num_classes": 3, "blocks": blocks}
    model = VideoResNet(18, frozen_batch_norm=True, **arguments)
    assert trained_norms(model) == ["res2_1_block/norm", "res3_0_block/channel/norm"]
    model.save(tmp_path / "model.keras")
    assert trained_norms(keras.saving.load_model(tmp_path / "model.keras")) == trained_norms(model)
    assert len(trained_norms(VideoResNet(18, **arguments))) == 20 + 2 + 2 + 2
    # Weights go from one to the other.
    thawed = VideoResNet(18, **arguments, weights=tmp_path / "model.keras")
    clip = np.random.default_rng(0).standard_normal((1, 2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(thawed(clip), model(clip))


def built_chain(name):
    """A chain whose first layer comes with its weights."""
    channel = SqueezeExcite(name="channel")
    channel.build((None, 2, 4, 4, 128))
    return AttentionChain(channel, RegionNonLocal((1, 3, 3), name="region"), name=name)


def trained_norms(model):
    """Returns the paths of the batch norms that train."""
    paths = {weight.path.rpartition("/")[0] for weight in model.trainable_weights if weight.name == "gamma"}
    return sorted(paths)


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if row.layer in BLOCKS])
def test_a_frozen_layer_gives_what_the_free_one_gives(row):
    row = ROWS[row]
    layer, _, x = make(row)
    frozen = row.layer(**row.arguments, frozen_batch_norm=True)
    frozen.build(row.shape)
    for one, other in zip(
        sorted(frozen.weights, key=lambda w: w.path), sorted(layer.weights, key=lambda w: w.path), strict=True
    ):
        assert one.path.partition("/")[2] == other.path.partition("/")[2] and one.shape == other.shape
        one.assign(other)
    np.testing.assert_array_equal(frozen(x), layer(x))
