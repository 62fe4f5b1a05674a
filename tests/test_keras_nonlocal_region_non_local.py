"""RegionNonLocal against the released code, its start and its parameter count."""

import math

import backends
import numpy as np
import pytest
import released
from keras import ops

from keras_nonlocal import RegionNonLocal

BLOCKS = {
    "block_rnl_softmax_377_nosub": {"kernel_size": (3, 7, 7)},
    "block_rnl_softmax_333_sub122": {"kernel_size": 3, "subsample": (1, 2, 2)},
    "block_rnl_softmax_133_groups2": {"kernel_size": (1, 3, 3)},
    "block_rnl_relu_133_nosub": {"kernel_size": (1, 3, 3), "pairwise": "dot_product", "relu": True},
    "block_rnl_cosine_333_nosub": {"kernel_size": 3, "pairwise": "cosine"},
    "block_rnl_avgpool_377_nosub": {"region": "average"},
    "block_rnl_maxpool_333_nosub": {"kernel_size": 3, "region": "maximum"},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_released_numbers(name):
    activations, w = released.load_block(name)
    layer = RegionNonLocal(**BLOCKS[name])
    layer.build(activations["x"].shape)
    parts = {
        "g": released.projection(w["theta.weight"], w["theta.bias"]),
        "out": released.projection(w["W.0.weight"], w["W.0.bias"]),
        "norm": released.norm(w, "W.1"),
    }
    if layer.region == "convolution":
        parts["region"] = {"kernel": w["depthwise_kernel"].transpose(2, 3, 4, 0, 1)}
    released.assign(layer, parts)
    released.check_block(layer, name, activations)
    positions = math.prod(activations["x"].shape[:-1])
    released.check_running_statistics(layer, w, "W.1", positions)


@pytest.mark.parametrize(
    ("kernel_size", "parameters"),
    [((3, 1, 1), 264_704), ((1, 3, 3), 266_240), (3, 270_848), ((3, 7, 7), 301_568)],
)
def test_parameters_added_in_res3(kernel_size, parameters):
    layer = RegionNonLocal(kernel_size=kernel_size)
    layer.build((None, 8, 28, 28, 512))
    assert sum(math.prod(w.shape) for w in layer.trainable_weights) == parameters


@pytest.mark.parametrize(
    ("channels", "width_of_group"), [(512, 32), (64, 32), (32, 16)], ids=["d256", "d32", "d16"]
)
def test_region_starts_with_the_released_bound(channels, width_of_group):
    layer = RegionNonLocal(kernel_size=(3, 7, 7))
    layer.build((None, 8, 28, 28, channels))
    bound = math.sqrt(6 / ((width_of_group + channels // 2) * 147))
    largest = np.abs(layer.f_theta.kernel.numpy()).max()
    assert 0.97 * bound < largest <= bound


def test_images_use_the_last_two_entries_and_sequences_the_last():
    for shape, expected in (((None, 9, 9, 8), (3, 5, 4, 1)), ((None, 9, 8), (5, 4, 1))):
        layer = RegionNonLocal(kernel_size=(7, 3, 5))
        layer.build(shape)
        assert tuple(layer.f_theta.kernel.shape) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pairwise": "embedded_gaussian"}, "`pairwise`.*'gaussian'.*Received 'embedded_gaussian'"),
        ({"kernel_size": (3, 6, 7)}, r"odd kernel sides.*Received kernel_size=\(3, 6, 7\).*Try"),
        ({"kernel_size": (3, 7)}, r"`kernel_size`.*Received \(3, 7\).*Try"),
        ({"channels": -1}, "`channels`.*Received -1.*Try: None"),
        ({"region": "median"}, "`region`.*'convolution', 'average', 'maximum'.*Received 'median'"),
        ({"relu": True}, "`relu` only with 'dot_product'.*Received relu=True with 'gaussian'.*Try"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected .*{words}"):
        RegionNonLocal(name="odd_one", **arguments)


def test_a_window_larger_than_the_map_is_refused_when_known():
    layer = RegionNonLocal(subsample=(1, 4, 4), name="small_map")
    layer.build((None, 8, None, None, 16))
    with pytest.raises(ValueError, match=r"small_map: Expected .* Received window \(1, 4, 4\).* Try"):
        layer(np.zeros((1, 8, 4, 3, 16), "float32"))


def test_cosine_of_a_zero_vector_is_zero():
    layer = RegionNonLocal(pairwise="cosine")
    x = np.zeros((1, 2, 3, 3, 4), "float32")
    (gradient,) = backends.gradients(lambda x: ops.sum(layer(x)), x)
    np.testing.assert_array_equal(gradient, np.ones_like(x))  # that of the residual connection alone


def test_normalize_beside_the_cosine_is_refused():
    with pytest.raises(ValueError, match=r"no `normalize` with 'cosine'.*Received .*Try: normalize=False"):
        RegionNonLocal(pairwise="cosine", normalize=True)
