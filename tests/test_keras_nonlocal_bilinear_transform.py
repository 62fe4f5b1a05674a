"""BilinearAttentionTransform against the released code, its matrices, variants, dropout and errors."""

import math

import backends
import keras
import numpy as np
import oracles
import oracles_bilinear
import pytest
import released
from keras import ops

from keras_nonlocal import BilinearAttentionTransform
from keras_nonlocal.bilinear import apply_matrices, block_means, enlarge, normalise, place_windows, shrink

VIDEO = {"normalization": "softmax", "matrix_size": "fitted"}
BLOCKS = {
    "block_bat_image_k1_s7_14": {"spatial_groups": 1},
    "block_bat_image_k4_s7_14": {},
    "block_bat_image_k4_s7_28": {},
    "block_bat_image_k2_full_s8": {"spatial_groups": 2, "transform": "full_resolution"},
    "block_bat_video_k4_tk4_ts4_14": VIDEO,
    "block_bat_video_k4_tk0_14": VIDEO | {"temporal_groups": 0},
    "block_bat_video_k4_tk0_16x24": VIDEO | {"temporal_groups": 0},
}
CONVOLUTIONS = {
    "reduce": ("conv1", "reduce_norm"),
    "context": ("batransform.conv1", "context_norm"),
    "mix": ("batransform.conv2", "mix_norm"),
    "out": ("conv2", "norm"),
}


def released_parts(w):
    parts = {}
    for ours, (theirs, norm) in CONVOLUTIONS.items():
        parts[ours] = released.projection(w[f"{theirs}.0.weight"], w[f"{theirs}.0.bias"])
        parts[norm] = released.norm(w, f"{theirs}.1")
    for name in ("p", "q", "t"):
        if f"batransform.conv_{name}.weight" in w:
            weight = w[f"batransform.conv_{name}.weight"]  # [s*s*k, k, ..., s, ...], one axis longer than 1
            kernel = weight.reshape(*weight.shape[:2], -1).transpose(2, 1, 0)
            parts[name] = {"kernel": kernel, "bias": w[f"batransform.conv_{name}.bias"]}
    return parts


def with_released_weights(name, **arguments):
    activations, w = released.load_block(name)
    layer = BilinearAttentionTransform(dropout=0, **arguments)
    layer.build(activations["x"].shape)
    released.assign(layer, released_parts(w))
    return layer, activations, w


@pytest.mark.parametrize("name", BLOCKS)
def test_released_numbers(name):
    layer, activations, w = with_released_weights(name, **BLOCKS[name])
    released.check_block(layer, name, activations)
    positions = math.prod(activations["x"].shape[:-1])
    for theirs, norm in CONVOLUTIONS.values():
        released.check_running_statistics(layer, w, f"{theirs}.1", positions, getattr(layer, norm))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("block_bat_video_k4_tk0_16x24", {"temporal_groups": 0, "matrix_size": 8}),
        ("block_bat_image_k2_full_s8", {"spatial_groups": 2, "size": 8}),
    ],
)
def test_released_numbers_by_other_arguments(name, arguments):
    arguments = arguments | ({"normalization": "softmax"} if "video" in name else {})
    layer, activations, _ = with_released_weights(name, **arguments)
    released.check_block(layer, name, activations)


@pytest.mark.parametrize(
    ("channels", "parameters"), [(512, 344_244), (1024, 1_331_380)], ids=["res3", "res4"]
)
def test_parameters_of_one_block(channels, parameters):
    layer = BilinearAttentionTransform()
    layer.build((None, 8, 28, 28, channels))
    assert sum(math.prod(w.shape) for w in layer.trainable_weights) == parameters


def test_block_based_with_the_size_of_the_map_is_full_resolution():
    """So a network for any sides, whose blocks see no sides when they are built, has it too."""
    shape = (2, 4, 4, 6, 8)
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    full, _ = oracles.randomise(BilinearAttentionTransform("full_resolution", dropout=0), shape)
    inputs = keras.Input((4, None, None, 8))
    model = keras.Model(inputs, BilinearAttentionTransform(size=(4, 6), dropout=0)(inputs))
    model.set_weights(full.get_weights())
    np.testing.assert_allclose(model(x), full(x), atol=1e-6)


def test_parameters_by_context_channels_and_sides():
    for k, context, (rows, columns) in ((4, None, (7, 7)), (4, 2, (7, 7)), (2, 16, (4, 14))):
        size = {"size": (rows, columns), "context_channels": context, "spatial_groups": k}
        layer = BilinearAttentionTransform(temporal_groups=0, **size)
        layer.build((None, 28, 28, 512))
        width = context or k
        makers = sum(width * k * s**3 + k * s**2 for s in (rows, columns))  # Table 1: 2 C' k s^3
        makers += 256 * width + 3 * width  # 1/2 C C', with bias and BN
        rest = 256 * 512 * 2 + 256 * 256 + 3 * (2 * 256 + 512)
        assert sum(math.prod(w.shape) for w in layer.trainable_weights) == rest + makers


def test_parameters_added_to_resnet_50():
    expected = {1: 30_175_111, 4: 30_234_220}
    for groups, total in expected.items():
        assert _added(spatial_groups=groups) == total - 25_557_032
    assert _added(transform="downsampling") == 30_234_220 - 25_557_032
    assert _added(transform="full_resolution") == 31_862_980 - 25_557_032


def _added(**arguments):
    total = 0
    for side, channels, blocks in ((28, 512, 2), (14, 1024, 3)):
        layer = BilinearAttentionTransform(**arguments)
        layer.build((None, side, side, channels))
        total += blocks * sum(math.prod(w.shape) for w in layer.trainable_weights)
    return total


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((2, 4, 6, 8), {"transform": "full_resolution", "spatial_groups": 2}),
        ((2, 3, 4, 6, 8), {"transform": "full_resolution", "temporal_size": 3}),
        ((1, 15, 10, 8), {"size": 3, "matrix_size": 5}),
        ((1, 8, 12, 8), {"size": 3, "matrix_size": "fitted", "normalization": "softmax"}),
        ((1, 8, 10, 8), {"size": (3, 5), "matrix_size": "fitted", "context_channels": 3}),
        ((1, 8, 15, 8), {"size": (2, 3), "matrix_size": (4, 5), "transform": "downsampling"}),
        ((1, 4, 4, 2, 8), {"size": (4, 1), "spatial_groups": 0, "context_channels": 3}),
        ((2, 4, 4, 2, 8), {"size": 2, "spatial_groups": 0, "temporal_groups": 2}),
        ((2, 3, 5, 8), {"spatial_groups": 0}),
        ((2, 8, 2, 2, 24), {"spatial_groups": 6, "temporal_groups": 4, "size": 2}),
        ((2, 1, 1, 8), {"size": 1}),
        ((2, 1, 1, 1, 8), {"size": 1, "temporal_size": 1}),
    ],
)
def test_equation(shape, arguments):
    layer, w = oracles.randomise(BilinearAttentionTransform(**arguments), shape)
    x = np.random.default_rng(0).standard_normal(shape)
    expected = oracles_bilinear.bilinear_attention(x, w, **arguments)
    np.testing.assert_allclose(layer(x.astype("float32")), expected, atol=2e-5)


def test_one_layer_trained_at_224_and_tested_at_256_pixels():
    layer, w = oracles.randomise(BilinearAttentionTransform(temporal_groups=0, **VIDEO), (1, 1, 14, 14, 8))
    inputs = keras.Input((None, None, None, 8))
    model = keras.Model(inputs, layer(inputs))
    for sides in ((14, 14), (16, 16), (16, 24)):
        x = np.random.default_rng(0).standard_normal((1, 1, *sides, 8))
        expected = oracles_bilinear.bilinear_attention(x, w, temporal_groups=0, **VIDEO)
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=2e-5)


@pytest.mark.parametrize("normalization", ["sigmoid", "softmax"])
def test_matrices_are_those_of_the_equation(normalization):
    shape = (2, 4, 6, 4, 8)
    layer = BilinearAttentionTransform(size=2, temporal_groups=2, normalization=normalization)
    layer, w = oracles.randomise(layer, shape)
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    u = layer.narrow(x)
    p, q, t = (ops.convert_to_numpy(matrix) for matrix in layer.matrices(u))
    assert (p.shape, q.shape, t.shape) == ((2, 4, 4, 2, 2), (2, 4, 4, 2, 2), (2, 2, 4, 4))
    for matrix, axis in ((p, -1), (q, -2), (t, -1)):
        np.testing.assert_allclose(matrix.sum(axis=axis), 1, atol=1e-6)
    expected = oracles_bilinear.convolve(x.astype("float64"), w, "reduce", "reduce_norm")
    np.testing.assert_allclose(u, expected, atol=1e-5)
    for clip in range(2):
        found = oracles_bilinear.matrices(expected[clip], w, 2, 2, 4, 2, 4, normalization)
        for ours, theirs in zip((p, q, t), found, strict=True):
            np.testing.assert_allclose(ours[clip], theirs, atol=1e-5)


def test_small_matrices_move_blocks_as_their_kronecker_products_move_rows_and_columns():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1, 2, 6, 4, 4)).astype("float32")
    p, q = (generator.standard_normal((1, 2, 2, m, m)).astype("float32") for m in (3, 2))
    whole_p, whole_q = (np.kron(matrix, np.eye(2, dtype="float32")) for matrix in (p, q))
    expected = [oracles_bilinear.two_sided(x[0, f], p[0, f], q[0, f]) for f in range(2)]
    np.testing.assert_allclose(apply_matrices(x, p, q)[0], expected, atol=5e-6)
    np.testing.assert_allclose(apply_matrices(x, whole_p, whole_q)[0], expected, atol=5e-6)


@pytest.mark.parametrize("sides", [(4, 6), (2, 3), (14, 9)])
def test_enlarging_is_keras_bilinear_resizing(sides):
    x = np.random.default_rng(0).standard_normal((2, 1, 2, 3, 4)).astype("float32")
    expected = ops.image.resize(x[:, 0], sides, interpolation="bilinear", data_format="channels_last")
    np.testing.assert_allclose(enlarge(x, *sides)[:, 0], expected, atol=1e-6)


def test_windows_that_overlap_are_averaged_and_gaps_are_zero():
    windows = np.random.default_rng(0).standard_normal((2, 3, 1, 3, 3)).astype("float32")
    matrix = ops.convert_to_numpy(place_windows(windows, 5))[:, 0]
    assert (matrix[:, 0, 3:] == 0).all() and (matrix[:, 4, :2] == 0).all()
    middle = (windows[:, 0, 0, 2, 2] + windows[:, 1, 0, 1, 1] + windows[:, 2, 0, 0, 0]) / 3
    np.testing.assert_allclose(matrix[:, 2, 2], middle, atol=1e-6)
    np.testing.assert_allclose(matrix[:, 0, 2], windows[:, 0, 0, 0, 2])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("normalization", ["sigmoid", "softmax"])
def test_matrices_of_large_logits_are_finite(dtype, normalization):
    logits = ops.convert_to_tensor([[-1e3, -1004.0], [1e3, 1e3], [-6e4, 6e4]], dtype)
    weights = normalise(logits, -1, normalization)
    assert keras.backend.standardize_dtype(weights.dtype) == "float32"
    expected = [[1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))], [0.5, 0.5], [0, 1]]
    np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras's Dense is not float64 elsewhere")
def test_float64_stays_float64():
    arguments = {"size": 2, "matrix_size": 3, "transform": "downsampling", "temporal_size": 2}
    layer, w = oracles.randomise(BilinearAttentionTransform(dtype="float64", **arguments), (1, 2, 6, 3, 8))
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 3, 8))
    expected = oracles_bilinear.bilinear_attention(x, w, **arguments)
    found = layer(ops.convert_to_tensor(x, "float64"))
    assert keras.backend.standardize_dtype(found.dtype) == "float64"
    np.testing.assert_allclose(found, expected, atol=1e-12)


def shrink_to_one(x, side):
    return shrink(x, side, side)


@pytest.mark.parametrize(("average", "blocks"), [(block_means, 2), (shrink_to_one, 1)])
def test_averages_are_float32_under_mixed_precision(average, blocks):
    # The sum of 16 such values is beyond float16.
    y = average(ops.full((1, 2, 4, 4, 1), 60000.0, "float16"), blocks)
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    assert (ops.convert_to_numpy(y) == 60000).all()


@pytest.mark.parametrize("shape", [(4, 2, 4, 64), (4, 4, 2, 4, 64)])
def test_dropout_takes_whole_channels_in_training_only(shape):
    layer = BilinearAttentionTransform(size=2, dropout=0.5, temporal_groups=2)
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    layer.build(shape)
    layer.norm.beta.assign(np.full(64, 10.0))  # the branch is positive wherever it is not dropped
    branch = ops.convert_to_numpy(layer(x, training=True)) - x
    axes = tuple(range(1, len(shape) - 1))
    kept = (np.abs(branch) > 1e-3).reshape(4, -1, 64)
    assert (kept.all(axis=1) | ~kept.any(axis=1)).all()
    assert 0.3 < kept.mean() < 0.7
    assert branch.max(axis=axes).max() > 20  # what is kept is doubled
    assert (ops.convert_to_numpy(layer(x, training=False)) - x).min() > 1


def test_start_is_he_normal_over_the_fan_out_and_no_identity():
    layer = BilinearAttentionTransform(spatial_groups=8)
    layer.build((None, 8, 28, 28, 512))
    deviations = {"reduce": 2 / 256, "p": 2 / (7 * 7 * 7 * 8), "t": 2 / (4 * 4 * 4 * 4), "out": 2 / 512}
    for name, variance in deviations.items():
        kernel = ops.convert_to_numpy(getattr(layer, name).kernel)
        assert abs(kernel.std() / math.sqrt(variance) - 1) < 0.1, name
    assert (ops.convert_to_numpy(layer.norm.gamma) == 1).all()
    assert np.abs(ops.convert_to_numpy(layer.p.kernel) - ops.convert_to_numpy(layer.q.kernel)).max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"transform": "dense"}, "`transform`.*'block_based'.*Received 'dense'"),
        ({"normalization": "l2"}, "`normalization`.*'sigmoid', 'softmax'.*Received 'l2'"),
        ({"spatial_groups": -1}, "`spatial_groups`.*at least 0.*Received -1"),
        ({"temporal_groups": 1.5}, "`temporal_groups`.*at least 0.*Received 1.5"),
        ({"size": 0}, "`size`.*at least 1.*Received 0"),
        ({"size": (7, 0)}, "`size`.*at least 1.*Received 0"),
        ({"size": (7, 7, 7)}, r"`size`.*at least 1.*Received \(7, 7, 7\)"),
        ({"size": (3, 5), "matrix_size": (4, 4)}, "`matrix_size`.*at least 5.*Received 4"),
        ({"context_channels": 0}, "`context_channels`.*at least 1.*Received 0"),
        ({"temporal_size": 0}, "`temporal_size`.*at least 1.*Received 0"),
        ({"matrix_size": 6}, "`matrix_size`.*at least 7.*Received 6"),
        ({"matrix_size": "tight"}, "`matrix_size`.*at least 7.*Received 'tight'"),
        ({"matrix_size": 8, "transform": "full_resolution"}, "no `matrix_size`.*Received 8.*=None"),
        ({"channels": 0}, "`channels`.*Received 0.*Try: None"),
        ({"dropout": 1.0}, "`dropout`.*Received 1.0.*Try"),
        ({"dropout": None}, "`dropout`.*Received None.*Try"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected {words}"):
        BilinearAttentionTransform(name="odd_one", **arguments)


@pytest.mark.parametrize(
    ("arguments", "shape", "words"),
    [
        ({}, (None, 8, 28, 30, 16), r"multiples of \(4, 7, 7\).*28, 30, 16\).*Try: sides such as 14"),
        ({}, (None, 6, 28, 28, 16), r"multiples of \(4, 7, 7\).*\(None, 6,.*temporal_groups=0"),
        ({}, (None, None, 16, 16), r"multiples of \(7, 7\).*\(None, None, 16, 16\)"),
        ({}, (None, 16, None, 16), r"multiples of \(7, 7\).*\(None, 16, None, 16\)"),
        ({"matrix_size": "fitted"}, (None, 16, 14, 16), r"multiples of \(8, 8\).*\(None, 16, 14, 16\)"),
        ({"matrix_size": "fitted"}, (None, 5, 7, 16), r"multiples of \(7, 7\).*\(None, 5, 7, 16\)"),
        ({"transform": "downsampling", "spatial_groups": 0}, (None, 6, 7, 16), r"multiples of \(7, 7\)"),
        ({"size": (7, 4)}, (None, 14, 14, 16), r"multiples of \(7, 4\).*\(None, 14, 14, 16\)"),
        ({"size": (3, 5), "matrix_size": "fitted"}, (None, 7, 10, 16), r"multiples of \(3, 5\)"),
        ({"transform": "full_resolution"}, (None, None, 8, 16), "known height.*None, None, 8.*block_based"),
        ({"spatial_groups": 3}, (None, 7, 7, 16), "`spatial_groups`.*divide the 8 channels.*=3"),
        ({"temporal_groups": 3}, (None, 4, 7, 7, 16), "`temporal_groups`.*divide the 8 channels.*=3"),
        ({}, (None, 8, 16), "rank 3"),
        ({}, (None, 7, 7, 1), "at least 2 channels"),
    ],
)
def test_wrong_shapes_are_refused_when_built(arguments, shape, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected .*{words}"):
        BilinearAttentionTransform(name="odd_one", **arguments).build(shape)


@pytest.mark.parametrize(
    ("arguments", "built", "called", "words"),
    [
        ({}, (None, None, None, 8), (1, 7, 9, 8), r"multiples of \(7, 7\).*\(1, 7, 9, 8\)"),
        ({}, (None, None, 7, 7, 8), (1, 2, 7, 7, 8), r"multiples of \(4, 7, 7\)"),
        ({"transform": "full_resolution"}, (None, 4, 2, 8), (1, 8, 4, 8), r"of \(4, 2\).*\(1, 8, 4, 8\)"),
    ],
)
def test_wrong_shapes_are_refused_when_called(arguments, built, called, words):
    layer = BilinearAttentionTransform(name="odd_one", **arguments)
    layer.build(built)
    with pytest.raises(ValueError, match=f"odd_one: Expected .*{words}"):
        layer(np.zeros(called, "float32"))


def test_images_need_no_temporal_groups_that_divide():
    layer = BilinearAttentionTransform(temporal_groups=3)
    layer.build((None, 7, 7, 16))
    assert layer.t is None


def test_gradient_reaches_every_weight():
    layer, w = oracles.randomise(BilinearAttentionTransform(size=2), (2, 4, 4, 2, 8))
    names = [oracles.path_inside(weight) for weight in layer.trainable_weights]
    state = [weight.value for weight in layer.non_trainable_variables]
    x = ops.convert_to_tensor(np.random.default_rng(0).standard_normal((2, 4, 4, 2, 8)), "float32")

    def total(*values):
        return ops.sum(layer.stateless_call(values, state, x)[0] ** 2)

    for name, gradient in zip(names, backends.gradients(total, *(w[name] for name in names)), strict=True):
        assert np.abs(gradient).max() > 1e-4, name
