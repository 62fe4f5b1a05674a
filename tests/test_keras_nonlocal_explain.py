"""What blocks show of a clip, against the dense equations in NumPy and against the blocks' own outputs."""

import itertools
import json

import keras
import numpy as np
import oracles
import pytest
from keras import ops

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ConvBlockAttention,
    GlobalContext,
    NonLocal,
    RegionNonLocal,
    SqueezeExcite,
    VideoResNet,
    explain,
    insert_blocks,
)
from keras_nonlocal.frame_wise import FrameWise

SHAPE = (1, 4, 6, 5, 6)  # One column is left over by windows of 2.
NON_LOCAL = [
    *(
        {"pairwise": pairwise}
        for pairwise in ("embedded_gaussian", "gaussian", "dot_product", "concatenation")
    ),
    {"scaled": True},
    {"pairwise": "gaussian", "scaled": True, "subsample": None},
    {"subsample": None, "reach": "time"},
    {"subsample": None, "pairwise": "concatenation", "window_frames": 2},
    {"subsample": (2, 2, 1), "pairwise": "dot_product"},
    {"subsample": (2, 1, 2), "window_frames": 2, "pool_order": "before"},
    {"pairwise": "concatenation", "pool_order": "before", "reach": "space"},
    {"subsample": (2, 3, 1), "reach": "time", "pairwise": "dot_product"},
    {"subsample": (2, 3, 1), "reach": "time", "window_frames": 2},
    {"subsample": (2, 3, 1), "reach": "space", "window_frames": 2, "scaled": True},
]
REGION = [
    {},
    {"pairwise": "cosine", "subsample": (1, 2, 2)},
    {"pairwise": "dot_product", "region": "average"},
    {"pairwise": "dot_product", "normalize": True, "region": "maximum"},
    {"pairwise": "dot_product", "relu": True},
    {"subsample": (2, 2, 1), "normalize": True},
]


def random(shape, seed=7):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def model_of(layer, shape=SHAPE):
    """Returns a model of one layer with random weights, these weights, and a clip as a batch of one."""
    layer, weights = oracles.randomise(layer, shape)
    inputs = keras.Input(shape[1:])
    return keras.Model(inputs, layer(inputs)), weights, random(shape)


def all_positions(shape):
    return list(np.ndindex(*shape[1:-1]))


def dense_rows(queries, keys, values, weigh, **reach):
    """The whole matrix: what each query makes of values that are 1 at one key and 0 at the others."""
    sides = keys.shape[1:-1]
    one_hot = np.eye(np.prod(sides)).reshape(1, *sides, -1)
    return oracles.attend_in_reach(queries, keys, one_hot, weigh, **reach)[0].reshape(-1, *sides)


def check_rows(layer, maps, shape=SHAPE, **reach):
    """The rows are those of the dense matrix, and what they make of the values is the block's own output."""
    model, w, x = model_of(layer, shape)
    queries, keys, values, weigh = maps(x.astype("float64"), w)
    rows = explain.attention_rows(model, x[0], layer.name, all_positions(shape))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, dense_rows(queries, keys, values, weigh, **reach), atol=2e-6)
    flat = rows.reshape(len(rows), -1)
    if weigh is oracles.softmax:
        np.testing.assert_allclose(flat.sum(axis=1), 1, atol=1e-5)
    y = (flat @ values.reshape(flat.shape[1], -1)).reshape(*shape[:-1], -1)
    np.testing.assert_allclose(np.asarray(model(x)), x + oracles.close(y, w), atol=1e-4)


@pytest.mark.parametrize("arguments", NON_LOCAL, ids=str)
def test_rows_of_non_local(arguments):
    reach = {name: arguments[name] for name in ("reach", "window_frames") if name in arguments}
    check_rows(
        NonLocal(**arguments, name="nl"),
        lambda x, w: oracles.non_local_maps(x, w, **arguments),
        **reach,
    )


@pytest.mark.parametrize("arguments", REGION, ids=str)
def test_rows_of_region_non_local(arguments):
    arguments = {"kernel_size": (3, 1, 3)} | arguments
    check_rows(
        RegionNonLocal(**arguments, name="rnl"), lambda x, w: oracles.region_non_local_maps(x, w, **arguments)
    )


@pytest.mark.parametrize("shape", [(1, 6, 5, 4), (1, 7, 4)])
def test_rows_of_images_and_sequences(shape):
    check_rows(NonLocal(name="nl"), oracles.non_local_maps, shape)
    check_rows(
        RegionNonLocal(3, subsample=2, name="rnl"),
        lambda x, w: oracles.region_non_local_maps(x, w, kernel_size=(3, 3, 3), subsample=(2, 2, 2)),
        shape,
    )


def test_rows_come_in_the_order_of_their_positions():
    model, _, x = model_of(NonLocal(reach="space", name="nl"))
    positions = [(3, 5, 4), (0, 0, 0), (3, 0, 1), (0, 0, 0), (1, 2, 3)]
    rows = explain.attention_rows(model, x, "nl", positions)
    for row, position in zip(rows, positions, strict=True):
        np.testing.assert_allclose(explain.attention_rows(model, x, "nl", [position])[0], row, atol=1e-7)
        assert row[position[0]].sum() == pytest.approx(1) and row.sum() == pytest.approx(1)


def test_no_row_is_computed_that_nobody_asked_for(monkeypatch):
    layer = NonLocal(channels=1, subsample=None, name="nl")
    model, _, x = model_of(layer, (1, 8, 32, 32, 2))  # The whole matrix would take 268 MB.
    shapes, weigh = [], layer.weigh
    monkeypatch.setattr(layer, "call", lambda *_, **__: pytest.fail("the block itself was run"))
    monkeypatch.setattr(layer, "weigh", lambda q, k: shapes.append((q.shape[1], k.shape[1])) or weigh(q, k))
    assert explain.attention_rows(model, x, "nl", [(0, 0, 0), (7, 31, 31)]).shape == (2, 8, 32, 32)
    assert shapes == [(2, 8192)]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_rows_are_float32_under_every_policy(policy):
    for layer in (NonLocal(dtype=policy, name="block"), RegionNonLocal(3, dtype=policy, name="block")):
        model, _, x = model_of(layer)
        rows = explain.attention_rows(model, x, "block", [(0, 1, 2)])
        assert rows.dtype == np.float32 and rows.sum() == pytest.approx(1, abs=1e-5)


@pytest.fixture(scope="module")
def network():
    """A small network with blocks named as in a `VideoResNet`, all of whose weights are random."""
    inputs = keras.Input((4, 16, 16, 3))
    x = FrameWise(keras.layers.Conv2D(8, 3, strides=2, padding="same", name="conv"), name="stem_conv")(inputs)
    x = NonLocal(name="res2_0_block")(x)
    x = FrameWise(SqueezeExcite(ratio=2, mode="multiply", name="gate"), name="res2_1_se")(x)
    x = AttentionChain(
        SqueezeExcite(ratio=2, name="channel"), RegionNonLocal(3, name="region"), name="res2_1_block"
    )(x)
    bat = BilinearAttentionTransform(size=2, temporal_size=2, name="res3_0_block")
    x = keras.layers.ReLU(name="res3_0_relu")(bat(x))
    x = keras.layers.Dense(3, name="fc")(keras.layers.GlobalAveragePooling3D()(x))
    model = keras.Model(inputs, x)
    for seed, layer in enumerate(model.layers):
        oracles.randomise(layer, None, seed)
    return model


def test_blocks_of_a_video_resnet():
    blocks = {"res2": {0: NonLocal, 1: AttentionChain}}
    model = VideoResNet(18, blocks=blocks, num_classes=2, input_shape=(2, 32, 32, 3), squeeze_excite_ratio=16)
    names = list(explain.blocks_of(model))
    first = ["se/gate", "block"]
    assert names[:5] == [f"res2_0_{name}" for name in first] + [
        f"res2_1_{name}" for name in ("se/gate", "block/channel", "block/region")
    ]
    assert len(names) == 8 + 3


@pytest.mark.long
def test_rows_and_grad_cam_inside_a_video_resnet():
    model = VideoResNet(18, blocks={"res2": (0,)}, make_block=NonLocal, input_shape=(2, 32, 32, 3))
    clip = random((2, 32, 32, 3))
    oracles.randomise(model.get_layer("res2_0_block"), None)
    maps = keras.Model(model.inputs, model.get_layer("res2_0_block").output)
    found = output_by_rows(model, clip, "res2_0_block")
    np.testing.assert_allclose(found, maps([clip[None]]), atol=1e-4, rtol=1e-4)
    assert explain.grad_cam(model, clip, 0, "res2_0_conv1").shape == (2, 8, 8)
    assert explain.grad_cam(model, clip, 0).shape == (2, 1, 1)
    model.to_json()


def test_blocks_of_a_network_are_named_in_the_order_of_the_data(network):
    found = {name: type(layer) for name, layer in explain.blocks_of(network).items() if "_block" in name}
    assert list(found.items()) == [
        ("res2_0_block", NonLocal),
        ("res2_1_block/channel", SqueezeExcite),
        ("res2_1_block/region", RegionNonLocal),
        ("res3_0_block", BilinearAttentionTransform),
    ]


def output_by_rows(model, clip, block):
    """What the rows of all positions make of the block's values, through its W_z and norm, plus its input."""
    layer, x = explain.blocks_of(model)[block], explain.block_input(model, clip, block)
    rows = explain.attention_rows(model, clip, block, all_positions(x.shape))
    y = ops.matmul(rows.reshape(len(rows), -1), layer.embed(x)[2])
    return np.asarray(x + layer.norm(layer.out(ops.reshape(y, (*x.shape[:-1], -1)))))


@pytest.mark.parametrize(
    ("block", "output"), [("res2_0_block",) * 2, ("res2_1_block/region", "res2_1_block")]
)
def test_rows_inside_a_network_make_its_own_maps(network, block, output):
    clip = random((4, 16, 16, 3))
    maps = keras.Model(network.inputs, network.get_layer(output).output)
    np.testing.assert_allclose(output_by_rows(network, clip, block), maps([clip[None]]), atol=1e-4, rtol=1e-4)


def sequential(block):
    layers = [keras.Input((2, 4, 4, 3)), keras.layers.Conv3D(4, 1, name="conv"), *block]
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling3D(), keras.layers.Dense(2)])


@pytest.mark.parametrize("kind", ["sequential", "inserted", "inside", "called again"])
def test_blocks_are_found_however_the_model_was_made(kind):
    block, x = NonLocal(name="nl"), random((1, 2, 4, 4, 3))
    name = "inner/nl" if kind == "inside" else "nl"
    if kind == "inserted":
        model = insert_blocks(sequential([]), after={"conv": block})
    elif kind == "inside":
        inputs = keras.Input((2, 4, 4, 3))
        z = keras.layers.Conv3D(4, 1, name="conv")(inputs)
        inner_input = keras.Input((2, 4, 4, 4))
        inner = keras.Model(inner_input, block(keras.layers.ReLU()(inner_input)), name="inner")
        model = keras.Model(inputs, inner(z))
    else:
        model = sequential([block])
    if kind == "called again":  # in another model, whose map is not the one that is asked for
        other = keras.Input((2, 4, 4, 4))
        keras.Model(other, block(keras.layers.ReLU()(other)))
    oracles.randomise(block, (1, 2, 4, 4, 4))
    conv = model.get_layer("conv") if kind != "inserted" else model.layers[1]
    seen = ops.relu(conv(x)) if kind == "inside" else conv(x)
    np.testing.assert_allclose(explain.block_input(model, x, name), seen, atol=1e-6)
    np.testing.assert_allclose(output_by_rows(model, x, name), block(seen), atol=1e-4)


def test_a_layer_that_is_called_twice_is_refused():
    inputs, block = keras.Input((2, 4, 4, 3)), NonLocal(name="nl")
    model = keras.Model(inputs, block(block(inputs)))
    with pytest.raises(ValueError, match=r"called once.*Received 'nl', which .* calls 2 times.*Try:"):
        explain.attention_rows(model, random((2, 4, 4, 3)), "nl", [(0, 0, 0)])


def test_strongest_links_are_those_of_a_full_sort():
    rows = np.round(random((3, 2, 3, 4)), 1)
    keys, weights = explain.strongest_links(rows, 7)
    for row, found, values in zip(rows, keys, weights, strict=True):
        expected = sorted(np.ndindex(row.shape), key=lambda at: (-row[at], at))[:7]
        assert [tuple(at) for at in found] == expected
        np.testing.assert_array_equal(values, [row[at] for at in expected])


BILINEAR = [
    {},
    {"matrix_size": 3, "normalization": "softmax", "spatial_groups": 2},
    {"transform": "downsampling", "spatial_groups": 2, "temporal_groups": 0},
    {"transform": "full_resolution", "temporal_groups": 2},
    {"spatial_groups": 0},
    {"size": (2, 3)},
]


def bilinear_model(arguments):
    options = {"size": 2, "temporal_size": 2, "channels": 4, "name": "bat"} | arguments
    return model_of(BilinearAttentionTransform(**options), (1, 4, 6, 6, 6))


def products(x, p, q, t):
    """T (P X Q) channel by channel, with the Kronecker products written out."""
    y = np.empty_like(x)
    frames, height, width, channels = x.shape
    for frame, channel in itertools.product(range(frames), range(channels)):
        image = x[frame, ..., channel]
        if p is not None:
            group = channel // (channels // p.shape[1])
            rows = np.kron(p[frame, group], np.eye(height // p.shape[-1]))
            image = rows @ image @ np.kron(q[frame, group], np.eye(width // q.shape[-1]))
        y[frame, ..., channel] = image
    if t is not None:
        for channel in range(channels):
            of_group = np.kron(t[channel // (channels // len(t))], np.eye(frames // t.shape[-1]))
            y[..., channel] = np.einsum("st,thw->shw", of_group, y[..., channel])
    return y


@pytest.mark.parametrize("arguments", BILINEAR, ids=str)
def test_bilinear_matrices_make_the_blocks_output(arguments):
    model, _, x = bilinear_model(arguments)
    layer = model.get_layer("bat")
    matrices = explain.bilinear_matrices(model, x, "bat")
    if matrices.p is not None:
        check_equation_8(arguments, explain.bilinear_maps(model, x, "bat"), *matrices[:2])
    for matrix, axis in zip(matrices, (-1, -2, -1), strict=True):
        assert matrix is None or np.allclose(matrix.sum(axis=axis), 1, atol=1e-5)
    u = np.asarray(layer.narrow(x))
    if arguments.get("transform") == "downsampling":
        u = u.reshape(1, 4, 2, 3, 2, 3, 4).mean(axis=(3, 5))
    y = products(u[0], *matrices)
    y = ops.relu(layer.norm(layer.out(ops.relu(layer.mix_norm(layer.mix(y[None]))))))
    if arguments.get("transform") == "downsampling":
        return  # Its last convolution comes before the enlargement.
    np.testing.assert_allclose(x + np.asarray(y), model(x), atol=1e-4)


def check_equation_8(arguments, maps, p, q):
    frames, groups, height, width = maps.shape
    assert (height, width) == ((2, 2) if arguments.get("transform") == "downsampling" else (6, 6))
    frame_images = random((frames, height, width, 4), seed=3)
    for frame, group in np.ndindex(frames, groups):
        rows = np.kron(p[frame, group], np.eye(height // p.shape[-1]))
        columns = np.kron(q[frame, group], np.eye(width // q.shape[-1]))
        expected = rows.T @ np.ones((height, width)) @ columns.T
        np.testing.assert_allclose(maps[frame, group], expected, atol=1e-5)
    sums = products(frame_images, p, q, None).sum(axis=(1, 2))  # [T, d]
    share = 4 // groups
    weighted = np.repeat(maps, share, axis=1).transpose(0, 2, 3, 1) * frame_images
    np.testing.assert_allclose(weighted.sum(axis=(1, 2)), sums, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 2, 3, 4, 6), (1, 3, 4, 6)])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"scaled": True, "normalize": True},
        {"pairwise": "gaussian_rbf", "gamma": 0.3, "order": 2, "groups": 1},
        {"pairwise": "embedded_gaussian", "scaled": True, "use_bias": True},
    ],
    ids=str,
)
def test_element_rows_make_the_blocks_output(arguments, shape):
    arguments = {"groups": 2, "channels": 4, "norm": None, "name": "cgnl"} | arguments
    layer = CompactGeneralizedNonLocal(**arguments)
    model, _, x = model_of(layer, shape)
    elements = list(np.ndindex(*shape[1:-1], 4))
    rows = explain.element_rows(model, x, "cgnl", elements)
    width = 4 // layer.groups
    assert rows.dtype == np.float32 and rows.shape == (len(elements), *shape[1:-1], width)
    theta, phi, g = (np.asarray(a)[0] for a in layer.embed(x))
    scale = 1 / np.sqrt(width * np.prod(shape[1:-1])) if layer.scaled else 1.0
    y = np.empty(theta.shape)
    for row, at in zip(rows, elements, strict=True):
        group = slice(at[-1] // width * width, (at[-1] // width + 1) * width)
        s = theta[at] * phi[..., group].astype("float64")
        expected = {
            "dot_product": lambda s: s,
            "gaussian_rbf": lambda s: np.exp(-0.6) * (1 + 0.6 * s + 0.6**2 * s**2 / 2),
            "embedded_gaussian": lambda s: 1 + s + s**2 / 2 + s**3 / 6,
        }[layer.pairwise](s)
        np.testing.assert_allclose(row, scale * expected, rtol=1e-5, atol=1e-5)
        y[at] = (row * g[..., group]).sum()
    out = np.asarray(layer.out(ops.convert_to_tensor(y[None].astype("float32"))))
    np.testing.assert_allclose(x + out, model(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [SHAPE, SHAPE[1:]])
def test_gates_make_the_blocks_outputs(shape):
    shape = (1, *shape[-4:]) if len(shape) == 4 else shape
    ones = (1,) * (len(shape) - 2)
    for layer in (
        SqueezeExcite(ratio=2, name="gate"),
        SqueezeExcite(ratio=2, mode="multiply", name="gate"),
        GlobalContext(ratio=2, name="gate"),
        ConvBlockAttention(ratio=2, kernel_size=3, name="gate"),
    ):
        model, w, x = model_of(layer, shape)
        channels, positions = explain.gates(model, x[0], "gate")
        assert channels.shape == (shape[-1],)
        gate = channels.reshape(1, *ones, -1)
        if isinstance(layer, ConvBlockAttention):
            expected = x * gate * positions[None, ..., None]
        else:
            expected = x * gate if getattr(layer, "mode", "add") == "multiply" else x + gate
        np.testing.assert_allclose(expected, model(x), atol=1e-5)
        if isinstance(layer, GlobalContext):
            assert positions.shape == shape[1:-1] and positions.sum() == pytest.approx(1, abs=1e-5)
            logits = oracles.project(x[0], w, "mask")[..., 0]
            np.testing.assert_allclose(positions, oracles.softmax(logits), atol=1e-6)


def test_gates_of_single_frames():
    gate = SqueezeExcite(ratio=2, mode="multiply", name="gate")
    model, _, x = model_of(FrameWise(gate, name="se"))
    channels, positions = explain.gates(model, x, "se/gate")
    assert channels.shape == (4, 6) and positions is None
    np.testing.assert_allclose(x * channels[None, :, None, None], model(x), atol=1e-6)


def classifier(activation, frames=True, wrapped=False):
    """A network with a map whose Grad-CAM is known: the classifier's weights over the count of positions."""
    inputs = keras.Input((2, 5, 4, 3) if frames else (5, 4, 3))
    make = keras.layers.Conv3D if frames else keras.layers.Conv2D
    pool = keras.layers.GlobalAveragePooling3D if frames else keras.layers.GlobalAveragePooling2D
    x = make(6, 3, padding="same", activation="relu", name="map")(inputs)
    x = keras.layers.Dense(3, activation=None if wrapped else activation, name="fc")(pool()(x))
    return keras.Model(inputs, keras.layers.Activation(activation)(x) if wrapped else x)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("activation", ["linear", "softmax", "sigmoid"])
@pytest.mark.parametrize("frames", [True, False])
def test_grad_cam_of_a_pooled_map_is_its_class_activation_map(activation, frames, wrapped):
    model = classifier(activation, frames, wrapped)
    clip = random(model.input_shape[1:])
    a = np.asarray(keras.Model(model.inputs, model.get_layer("map").output)([clip[None]]))[0]
    weights = model.get_layer("fc").get_weights()[0]  # [6, 3]
    for class_index, layer in itertools.product(range(3), ("map", None)):
        found = explain.grad_cam(model, clip, class_index, layer)
        expected = np.maximum(a @ weights[:, class_index], 0) / (a.size / 6)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_grad_cam_of_a_map_that_others_go_around():
    """The map lies in a residual branch; its gradient is that of finite differences."""
    inputs, a = keras.Input((2, 4, 4, 3)), keras.Input((2, 4, 4, 5))
    first = keras.layers.Conv3D(5, 3, padding="same", name="map")
    rest = [keras.layers.Conv3D(3, 1, activation="tanh"), keras.layers.Add(), keras.layers.Dense(2)]

    def behind(x, a):
        z = rest[1]([x, NonLocal(name="nl")(rest[0](a))])
        return rest[2](keras.layers.GlobalMaxPooling3D()(z))

    model = keras.Model(inputs, behind(inputs, first(inputs)))
    clip = random((2, 4, 4, 3))
    at_map = np.asarray(first(clip[None]))
    tail = keras.Model([inputs, a], behind(inputs, a))
    tail.set_weights(model.get_weights()[2:])
    epsilon, alpha = 1e-2, []
    for channel in np.eye(5, dtype="float32"):
        low, high = (np.asarray(tail([clip[None], at_map + e * channel]))[0, 1] for e in (-epsilon, epsilon))
        alpha.append((high - low) / (2 * epsilon * 32))
    expected = np.maximum(at_map[0] @ np.array(alpha), 0)
    assert expected.max() > 1e-3
    np.testing.assert_allclose(explain.grad_cam(model, clip, 1, "map"), expected, atol=2e-4)


def test_a_model_is_the_same_afterwards(network):
    clip, before = random((4, 16, 16, 3)), network.to_json()
    weights = network.get_weights()
    explain.grad_cam(network, clip, 0)
    explain.attention_rows(network, clip, "res2_0_block", [(0, 0, 0)])
    explain.gates(network, clip, "res2_1_se/gate")
    assert json.loads(network.to_json()) == json.loads(before)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), weights, strict=True))


def test_pixels_of_positions_share_the_input_evenly():
    boxes = explain.to_pixels(list(np.ndindex(2, 3, 5)), (2, 3, 5), (8, 9, 12))
    covered = np.zeros((8, 9 * 5, 12 * 5))
    for (start, stop), (top, bottom), (left, right) in boxes * np.array([1, 5, 5])[:, None]:
        covered[round(start) : round(stop), round(top) : round(bottom), round(left) : round(right)] += 1
    assert (covered == 1).all()


def test_upsampling_is_linear_interpolation_with_half_pixel_centres():
    maps = random((2, 2, 3, 4))
    found = explain.upsample(maps, (4, 9, 10))
    for axis, (small, side) in enumerate(zip((2, 3, 4), (4, 9, 10), strict=True), start=1):
        at = (np.arange(side) + 0.5) * small / side - 0.5
        maps = np.apply_along_axis(lambda row, at=at: np.interp(at, np.arange(len(row)), row), axis, maps)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, maps, atol=1e-5)


def test_strong_places_are_those_above_a_part_of_the_range():
    maps = np.array([[[0.0, 0.69], [0.7, 1.0]], [[-3.0, -1.0], [1.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]])
    expected = [[[False, False], [True, True]], [[False, False], [False, True]], [[False, False]] * 2]
    assert explain.above_threshold(maps).tolist() == expected
    assert explain.above_threshold(maps, axes=(0, 1, 2)).sum() == 1


CLIP = random((4, 16, 16, 3))
ROWS = [(0, 0, 0)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: explain.attention_rows(m, CLIP, "res2_0_blok", ROWS),
            "'res2_0_blok'. Try: 'res2_0_block'",
        ),
        (lambda m: explain.attention_rows(m, CLIP, "region", ROWS), "Try: 'res2_1_block/region'"),
        (lambda m: explain.attention_rows(m, CLIP, "res2_1_block", ROWS), "Try: 'res2_1_block/region'"),
        (
            lambda m: explain.attention_rows(m, CLIP, "res3_0_block", ROWS),
            "BilinearAttentionTransform. Try: bilinear_matrices or bilinear_maps for this block",
        ),
        (lambda m: explain.gates(m, CLIP, "res2_0_block"), "NonLocal. Try: attention_rows for this block"),
        (lambda m: explain.element_rows(m, CLIP, "fc", ROWS), "Dense. Try: grad_cam, which shows any map"),
        (
            lambda m: explain.attention_rows(m, CLIP, "res2_0_block", [(0, 8, 0)]),
            r"\(0, 8, 0\). Try: \(0, 7, 0\)",
        ),
        (lambda m: explain.attention_rows(m, CLIP, "res2_0_block", [(-1, 0, 0)]), r"Try: \(0, 0, 0\)"),
        (lambda m: explain.attention_rows(m, CLIP, "res2_0_block", [(0, 1)]), r"Try: \[\(2, 4, 4\)\]"),
        (lambda m: explain.attention_rows(m, CLIP, "res2_0_block", []), r"Try: \[\(2, 4, 4\)\]"),
        (lambda m: explain.attention_rows(m, CLIP, "res2_0_block", [(0.5, 1, 1)]), "rows of 3 ints"),
        (
            lambda m: explain.attention_rows(m, CLIP[:3], "res2_0_block", ROWS),
            r"Received shape \(3, 16, 16, 3\)",
        ),
        (
            lambda m: explain.attention_rows(m, np.stack([CLIP, CLIP]), "res2_0_block", ROWS),
            "Expected one clip",
        ),
        (lambda m: explain.attention_rows(m, CLIP + np.nan, "res2_0_block", ROWS), "no finite numbers"),
        (lambda m: explain.attention_rows(keras.Sequential(), CLIP, "nl", ROWS), "built=False"),
        (lambda m: explain.grad_cam(m, CLIP, 3), "class from 0 to 2. Received 3"),
        (lambda m: explain.grad_cam(m, CLIP, True), "class from 0 to 2. Received True"),
        (lambda m: explain.grad_cam(m, CLIP, 0, "res3_0_rel"), "Try: 'res3_0_relu'"),
        (lambda m: explain.grad_cam(m, CLIP, 0, "fc"), "Received 'fc'. Try: layer=None"),
        (lambda m: explain.strongest_links(np.ones((1, 2, 2)), 5), "count of 1 to 4"),
        (lambda m: explain.to_pixels([(0, 2)], (2, 2), (4, 4)), "Expected positions in the map"),
        (lambda m: explain.upsample(np.ones((2, 2)), (2, 2, 2)), "Expected positive sides"),
    ],
)
def test_errors_name_a_remedy(network, call, message):
    with pytest.raises(ValueError, match=r"Expected[^\n]*Received[^\n]*Try: ") as caught:
        call(network)
    assert caught.match(message)


def test_equation_8_needs_spatial_groups():
    model, _, x = bilinear_model({"spatial_groups": 0})
    with pytest.raises(ValueError, match=r"Received spatial_groups=0. Try: bilinear_matrices"):
        explain.bilinear_maps(model, x, "bat")
