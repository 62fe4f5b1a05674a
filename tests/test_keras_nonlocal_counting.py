"""Counting: against multiplications that are really done, and pairs that are really looked at."""

import functools
import itertools
import math
from functools import partial

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ConvBlockAttention,
    DepthwiseConv3D,
    GlobalContext,
    NonLocal,
    PlainResidual,
    RegionNonLocal,
    SqueezeExcite,
    TemporalShift,
    VideoResNet,
)
from keras_nonlocal.counting import calls_of, count, format_count
from keras_nonlocal.frame_wise import FrameWise
from keras_nonlocal.grouped_conv2d import GroupedConv2D

CLIP = (4, 4, 6, 8)  # T, H, W, C


def model_of(*chain, shape=CLIP):
    x = inputs = keras.Input(shape)
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, x)


def total(*chain, shape=CLIP):
    return count(model_of(*chain, shape=shape)).total


class Number:
    """Stands for any number, and counts the products that it takes part in."""

    products = 0

    def __mul__(self, other):
        Number.products += 1
        return self

    def __add__(self, other):
        return self


def numbers(*shape):
    return np.full(shape, Number(), object)


def products_of(function):
    before = Number.products
    function()
    return Number.products - before


@pytest.fixture
def executed(monkeypatch):
    """The multiply-adds of each product and convolution that was computed, in a list."""
    macs, matmul, depthwise = [], ops.matmul, ops.depthwise_conv

    def counted_matmul(a, b):
        y = matmul(a, b)
        macs.append(math.prod(y.shape) * a.shape[-1])
        return y

    def counted_depthwise(x, kernel, **options):
        y = depthwise(x, kernel, **options)
        macs.append(math.prod(y.shape) * math.prod(kernel.shape[:2]))
        return y

    def counting(method, kernel_of):
        @functools.wraps(method)
        def counted(layer, x, *args, **options):
            y = method(layer, x, *args, **options)
            macs.append(math.prod(y.shape[:-1]) * math.prod(kernel_of(layer, *args).shape))
            return y

        return counted

    monkeypatch.setattr(ops, "matmul", counted_matmul)
    monkeypatch.setattr(ops, "depthwise_conv", counted_depthwise)
    for kind in (layers.Dense, layers.Conv1D):
        monkeypatch.setattr(kind, "call", counting(kind.call, lambda layer: layer.kernel))
    for kind in (layers.Conv2D, layers.Conv3D):
        convolve = counting(kind.convolution_op, lambda layer, kernel: kernel)
        monkeypatch.setattr(kind, "convolution_op", convolve)
    return macs


BAT = partial(BilinearAttentionTransform, size=2, temporal_size=2, spatial_groups=2, temporal_groups=2)
EXECUTED = {
    **{
        f"nl {pairwise} {order} {reach} {window}": (
            NonLocal(
                pairwise=pairwise, pool_order=order, reach=reach, window_frames=window, subsample=(1, 2, 2)
            ),
            CLIP,
        )
        for pairwise in ("embedded_gaussian", "gaussian", "dot_product", "concatenation")
        for order, reach, window in (
            ("after", "spacetime", None),
            ("before", "spacetime", 2),
            ("before", "space", None),
            ("after", "time", 2),
        )
    },
    "nl dot product, matrix larger": (NonLocal(pairwise="dot_product", subsample=None, channels=1), CLIP),
    "nl on an image": (NonLocal(reach="space"), (4, 6, 8)),
    "nl on a sequence, keys in blocks": (NonLocal(pairwise="concatenation", subsample=None), (130, 8)),
    "rnl": (RegionNonLocal((3, 1, 5)), CLIP),
    "rnl average": (RegionNonLocal(region="average", subsample=(1, 2, 2)), CLIP),
    "rnl dot product": (RegionNonLocal(pairwise="dot_product"), CLIP),
    "rnl dot product, relu": (RegionNonLocal(pairwise="dot_product", relu=True), CLIP),
    "rnl cosine on an image": (RegionNonLocal(pairwise="cosine"), (4, 6, 8)),
    "bat": (BAT(), CLIP),
    "bat on an image": (BAT(), (4, 6, 8)),
    "bat fitted": (BAT(matrix_size=3, temporal_groups=0), (4, 6, 6, 8)),
    "bat oblong": (BAT(size=(1, 2), matrix_size=(2, 3), context_channels=3), CLIP),
    "bat oblong, down": (BAT(size=(2, 3), transform="downsampling", temporal_groups=0), (4, 6, 8)),
    "bat full": (BAT(transform="full_resolution"), CLIP),
    "bat down": (BAT(transform="downsampling"), CLIP),
    "bat time alone": (BAT(spatial_groups=0), CLIP),
    "bat identity": (BAT(spatial_groups=0, temporal_groups=0), CLIP),
    "se": (SqueezeExcite(ratio=2), CLIP),
    "gc": (GlobalContext(ratio=2), CLIP),
    "cbam": (ConvBlockAttention(ratio=2, kernel_size=3), CLIP),
    "cbam as in its paper": (ConvBlockAttention(2, 3, use_bias=False, batch_norm=False), CLIP),
    "plain": (PlainResidual(5), CLIP),
    "plain on an image": (PlainResidual(), (4, 6, 8)),
    "depthwise": (DepthwiseConv3D((3, 5, 1), use_bias=True), CLIP),
    "shift": (TemporalShift(4), CLIP),
    "chain": (AttentionChain(), (4, 4, 6, 64)),
    "frames": (FrameWise(layers.Conv2D(3, 3, strides=2, groups=1)), CLIP),
    "frames of an image": (FrameWise(layers.Conv2D(3, 3)), (4, 6, 8)),
    "frames, gate": (FrameWise(SqueezeExcite(2, mode="multiply")), CLIP),
    "time distributed": (layers.TimeDistributed(layers.Dense(3)), (4, 8)),
    "dense on a map": (layers.Dense(3), CLIP),
    "conv 1d": (layers.Conv1D(4, 3, groups=2), (9, 8)),
    "conv 3d": (layers.Conv3D(4, (2, 3, 1), padding="same", strides=2), CLIP),
}


@pytest.mark.parametrize("name", EXECUTED)
def test_executed_is_what_a_forward_pass_multiplies(name, executed):
    layer, shape = EXECUTED[name]
    layer(np.zeros((1, *shape), "float32"))  # builds
    executed.clear()
    layer(np.zeros((1, *shape), "float32"))
    assert total(layer, shape=shape).executed == sum(executed)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="the others have grouped kernels")
def test_grouped_convolution_counts_its_groups_and_executes_more(executed):
    layer = GroupedConv2D(64, 3, groups=16)
    x = np.zeros((1, 5, 5, 64), "float32")
    layer(x)
    cost = total(layer, shape=(5, 5, 64))
    assert cost.macs == 3 * 3 * 64 * 3 * 3 * 64 // 16
    assert cost.executed == executed[-1] + executed[-2] == 8 * cost.macs


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_multiplies_every_number_under_its_kernel(groups):
    x, kernel = numbers(7, 6, 4), numbers(3, 3, 4 // groups, 6)

    def convolve():
        for i, j, o in itertools.product(range(3), range(2), range(6)):
            group = o // (6 // groups)
            channels = slice(group * 4 // groups, (group + 1) * 4 // groups)
            (x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3, channels] * kernel[..., o]).sum()

    cost = total(layers.Conv2D(6, 3, strides=2, groups=groups), shape=(7, 6, 4))
    assert cost.macs == cost.executed == products_of(convolve)
    assert cost.parameters == 3 * 3 * 4 // groups * 6 + 6


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize(
    ("reach", "frames"),
    [("spacetime", None), ("spacetime", 2), ("space", None), ("space", 2), ("time", None), ("time", 2)],
)
def test_papers_order_of_a_non_local_block_looks_at_every_pair_in_reach(pairwise, reach, frames):
    pool = {"spacetime": (2, 2, 1), "space": (1, 2, 1), "time": (2, 1, 1)}[reach]
    sides = CLIP[:3]
    keys = itertools.product(
        *(range(0, side - size + 1, size) for side, size in zip(sides, pool, strict=True))
    )
    keys = list(keys)
    pairs = 0
    for query in itertools.product(*map(range, sides)):
        for key in keys:
            same_window = frames is None or query[0] // frames == key[0] // frames
            seen = {"spacetime": True, "space": query[0] == key[0], "time": query[1:] == key[1:]}[reach]
            pairs += seen and same_window
    d = CLIP[-1] // 2
    query, key, value, w_f = (numbers(n) for n in (CLIP[-1] if pairwise == "gaussian" else d, d, d, 2 * d))

    def one_pair():
        logit = w_f @ w_f if pairwise == "concatenation" else query @ query
        return value * logit

    layer = NonLocal(pairwise=pairwise, reach=reach, window_frames=frames, subsample=(2, 2, 1))
    assert total(layer).products == pairs * products_of(one_pair)


def test_papers_order_of_a_region_block_is_two_products_of_the_matrix():
    p, keys, u = numbers(96, 4), numbers(24, 4), numbers(24, 4)
    cost = total(RegionNonLocal((3, 1, 3), subsample=(1, 2, 2)))
    assert cost.products == products_of(lambda: (p @ keys.T) @ u)
    assert cost.macs == 96 * (8 * 4 + 4 * 9 + 4 * 8)  # W_g, F_theta, W_z


@pytest.mark.parametrize("transform", ["block_based", "full_resolution", "downsampling"])
def test_papers_order_of_bilinear_transform_is_with_kronecker_products(transform):
    frames, height, width, d = 4, (2 if transform == "downsampling" else 4), 6, 4
    width = 2 if transform == "downsampling" else width
    x, p, q, t = (
        numbers(*shape)
        for shape in ((frames, d, height, width), (height, height), (width, width), (frames, frames))
    )

    def apply():
        for frame, channel in itertools.product(range(frames), range(d)):
            p @ x[frame, channel] @ q
        t @ x.reshape(frames, -1)

    assert total(BAT(transform=transform)).products == products_of(apply)


@pytest.mark.parametrize("pairwise", ["dot_product", "gaussian_rbf"])
def test_compact_block_multiplies_once_for_each_power(pairwise, executed):
    layer = CompactGeneralizedNonLocal(groups=2, pairwise=pairwise, order=3, norm="group")
    x = np.zeros((1, *CLIP), "float32")
    layer(x)
    executed.clear()
    layer(x)
    cost, values = total(layer), numbers(96, 4)
    assert cost.macs == sum(executed)
    powers = [1] if pairwise == "dot_product" else [0, 1, 2, 3]
    assert cost.products == sum(products_of(lambda: (values * values, values * values)) for _ in powers)
    products = len([power for power in powers if power]) * 2 * 96 * 4  # the next power; Horner's rule
    assert cost.executed - cost.macs == products


@pytest.mark.parametrize(
    ("layer", "shape", "parameters", "macs"),
    [
        (layers.Conv2D(5, 3), (4, 4, 2), 90 + 5, 4 * 5 * 18),
        (layers.Dense(7), (5,), 5 * 7 + 7, 5 * 7),
        (layers.BatchNormalization(), (2, 2, 5), 10, 0),
        (layers.GlobalAveragePooling2D(), (2, 2, 5), 0, 0),
        (RegionNonLocal(), (8, 28, 28, 512), 301_568, 6272 * (2 * 512 * 256 + 3 * 7 * 7 * 256)),
        (RegionNonLocal(region="average"), (8, 28, 28, 512), 263_936, 6272 * 2 * 512 * 256),
        (NonLocal(), (8, 28, 28, 512), 526_592, 6272 * 4 * 512 * 256),
    ],
)
def test_known_costs(layer, shape, parameters, macs):
    cost = total(layer, shape=shape)
    assert (cost.parameters, cost.macs) == (parameters, macs)


def test_calls_are_the_layers_that_run_with_the_shapes_that_they_see():
    inner = FrameWise(layers.Conv2D(4, 3, strides=2, padding="same"), name="stem")
    chain = AttentionChain(
        channel=SqueezeExcite(2, name="gate"), region=NonLocal(name="region"), name="chain"
    )
    model = model_of(inner, chain, shape=(None, None, None, 8))
    before = [state(layer) for layer in model.layers]
    assert calls_of(model, CLIP) == (
        (f"stem/{inner.layer.name}", inner.layer, (4, 4, 6, 8), (4, 2, 3, 4)),
        ("chain/gate", chain.channel, (1, 4, 2, 3, 4), (1, 4, 2, 3, 4)),
        ("chain/region", chain.region, (1, 4, 2, 3, 4), (1, 4, 2, 3, 4)),
    )
    assert before == [state(layer) for layer in model.layers]


def state(layer):
    nodes = len(layer._inbound_nodes), len(layer._outbound_nodes)
    return layer.name, id(layer.output), nodes, [id(weight) for weight in layer.weights]


def test_network_is_counted_where_its_sides_are_given_and_stays_as_it_is():
    make_block = partial(AttentionChain, channel=None)
    model = VideoResNet(
        18, blocks={"res3": (0,)}, make_block=make_block, num_classes=3, input_shape=(None, None, None, 3)
    )
    model.compile("sgd", "mse")
    known = VideoResNet(
        18, blocks={"res3": (0,)}, make_block=make_block, num_classes=3, input_shape=(2, 32, 32, 3)
    )
    before = [state(layer) for layer in model.layers]
    counted = count(model, (2, 32, 32, 3))
    assert count(model, (2, 32, 32, 3)) == counted == count(known)
    assert before == [state(layer) for layer in model.layers]
    assert counted.total.parameters == sum(math.prod(w.shape) for w in model.trainable_weights)
    assert counted.uncounted == ()
    names = [row.name for row in counted.rows]
    assert {"stem_conv/conv", "res3_0_block/channel", "res3_0_block/region", "fc"} <= set(names)


def test_models_inside_shared_layers_and_structures_of_inputs():
    inner = keras.Sequential(
        [keras.Input((None, None, 4)), layers.Conv2D(4, 3, padding="same")], name="inner"
    )
    left, right = keras.Input((None, None, 4), name="left"), keras.Input((6, 4), name="right")
    gate = ops.expand_dims(layers.Dense(4, name="gate")(right), 2)
    model = keras.Model({"left": left, "right": right}, {"y": 2 * inner(inner(left)) + gate, "z": gate})
    counted = count(model, {"left": (6, 6, 4), "right": (6, 4)})
    first, second = (row for row in counted.rows if row.name.startswith("inner/"))
    assert (first.cost.macs, first.cost.parameters) == (36 * 16 * 9, 148)
    assert second.cost == first.cost._replace(parameters=0)
    assert counted.total.macs == 2 * first.cost.macs + 6 * 16
    assert counted.total.parameters == 148 + 20
    assert counted.uncounted == ()
    assert count(inner, (6, 6, 4)).total == first.cost


class Mystery(layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 3), name="w")

    def call(self, x):
        return ops.matmul(x, self.w)


def test_what_is_unknown_is_named():
    x = keras.Input((5, 4))
    y = Mystery(name="mystery")(layers.Dense(4)(x))
    y = ops.einsum("bij,bkj->bik", y, y) + 1
    y = layers.Lambda(lambda v: v * 2, name="anything")(y)
    y = layers.GRU(2, name="recurrent", return_sequences=True)(y)
    counted = count(keras.Model(x, layers.LayerNormalization()(y)))
    mystery, _, *rest = counted.uncounted
    assert (mystery, rest) == ("mystery", ["anything", "recurrent"])
    assert counted.total.macs == 80
    assert {row.name: row.cost.parameters for row in counted.rows}["mystery"] == 12
    text = format_count(counted)
    assert f"not in the sums, as unknown: {', '.join(counted.uncounted)}" in text
    (line,) = [line for line in text.splitlines() if line.startswith("mystery")]
    assert line.split() == ["mystery", "Mystery", "5x3", "12", "?", "?", "?"]


def test_table():
    conv, region = FrameWise(layers.Conv2D(4, 3, name="conv"), name="stem"), RegionNonLocal(name="region")
    text = format_count(count(model_of(conv, layers.ReLU(), region)))
    assert text == "\n".join(
        [
            "layer      kind            output   parameters  MAC M  products M  executed M",
            "stem/conv  Conv2D          4x2x4x4         292  0.009       0.000       0.009",
            "region     RegionNonLocal  4x2x4x4         324  0.010       0.004       0.014",
            "",
            "parameters             616    that train",
            "MAC                 0.0000 G  convolutions and fully connected layers",
            "products            0.0000 G  of attention, in the paper's order",
            "executed            0.0000 G  all together, as this library does it",
        ]
    )


@pytest.mark.parametrize(
    ("shape", "given", "words"),
    [
        ((None, 4), None, r"unknown sides .*\[\(None, 4\)\]\. Received input_shape=None\. Try: "),
        ((None, 4), (None, 4), r"unknown sides .*Received input_shape=\(None, 4\)\. Try: "),
        ((None, 4), [(3, 4), (3, 4)], r"each input of .*Received input_shape=\[\(3, 4\), \(3, 4\)\]\. Try: "),
    ],
)
def test_unknown_sides_are_refused(shape, given, words):
    with pytest.raises(ValueError, match=f"count: Expected .*{words}"):
        count(model_of(layers.Dense(3), shape=shape), given)


def test_models_without_a_graph_are_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    for model in (Subclassed(), keras.Sequential([layers.Dense(3)]), layers.Dense(3)):
        with pytest.raises(ValueError, match=r"count: Expected a functional .* Received .*Try: keras\.Model"):
            count(model, (4,))
