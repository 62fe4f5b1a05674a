"""RegionNonLocal against the released code, its start and its parameter count."""

import math

import numpy as np
import pytest
import released

from keras_nonlocal import RegionNonLocal

BLOCKS = {
    "block_rnl_softmax_377_nosub": {"kernel_size": (3, 7, 7)},
    "block_rnl_softmax_333_sub122": {"kernel_size": 3, "subsample": (1, 2, 2)},
    "block_rnl_softmax_133_groups2": {"kernel_size": (1, 3, 3)},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_released_numbers(name):
    activations, w = released.load_block(name)
    layer = RegionNonLocal(**BLOCKS[name])
    layer.build(activations["x"].shape)
    parts = {
        "g": released.projection(w["theta.weight"], w["theta.bias"]),
        "region": {"kernel": w["depthwise_kernel"].transpose(2, 3, 4, 0, 1)},
        "out": released.projection(w["W.0.weight"], w["W.0.bias"]),
        "norm": released.norm(w, "W.1"),
    }
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
    largest = np.abs(layer.region.kernel.numpy()).max()
    assert 0.97 * bound < largest <= bound


def test_images_use_the_last_two_entries_and_sequences_the_last():
    for shape, expected in (((None, 9, 9, 8), (3, 5, 4, 1)), ((None, 9, 8), (5, 4, 1))):
        layer = RegionNonLocal(kernel_size=(7, 3, 5))
        layer.build(shape)
        assert tuple(layer.region.kernel.shape) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pairwise": "embedded_gaussian"}, "`pairwise`.*'gaussian'.*Received 'embedded_gaussian'"),
        ({"kernel_size": (3, 6, 7)}, r"odd kernel sides.*Received kernel_size=\(3, 6, 7\).*Try"),
        ({"kernel_size": (3, 7)}, r"`kernel_size`.*Received \(3, 7\).*Try"),
        ({"channels": -1}, "`channels`.*Received -1.*Try None"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected .*{words}"):
        RegionNonLocal(name="odd_one", **arguments)
