"""Foreign weights: the released networks to the digit, every format's names, inflation, what is refused."""

import functools
import json
import re

import keras
import numpy as np
import pytest
import released

import keras_nonlocal.checkpoints
from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    GlobalContext,
    ImageResNet,
    NonLocal,
    RegionNonLocal,
    VideoResNet,
    feature_pyramid,
)
from keras_nonlocal.checkpoints import FORMATS, CheckpointError, load
from keras_nonlocal.checkpoints.layout import lay_out
from keras_nonlocal.checkpoints.names import rename

ONCE = pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="whole networks, on one backend")
PLACES = {"res3": (1, 3), "res4": (1, 3, 5)}
TSM_PLACES = {"res3": (0, 2), "res4": (0, 2, 4)}
VIDEO = {"input_shape": (None, None, None, 3)}
IMAGE = {"input_shape": (None, None, 3)}
FAIR_NL = functools.partial(NonLocal, pool_order="before", scaled=True)
WIDE, NARROW = functools.partial(RegionNonLocal, (3, 7, 7)), functools.partial(RegionNonLocal, (3, 3, 3))
VIDEO_BAT = functools.partial(BilinearAttentionTransform, normalization="softmax", matrix_size="fitted")
CGNL = functools.partial(CompactGeneralizedNonLocal, norm="group", use_bias=False)


def gated(name):
    return AttentionChain(channel=GlobalContext(ratio=2, norm="batch", name="channel"), name=name)


def rnl(first):
    return {"res3": {0: first, 2: WIDE}, "res4": dict.fromkeys((0, 2, 4), NARROW)}


MODELS = {  # fixture: format, network, arguments, stages whose layer their name does not say
    "model_tsm_r50": ("tsm", VideoResNet, VIDEO, {}),
    "model_tsm_r50_nl5": ("tsm", VideoResNet, VIDEO | {"blocks": TSM_PLACES, "make_block": NonLocal}, {}),
    "model_tsm_r50_rnl5_cgoff": ("rnl", VideoResNet, VIDEO | {"blocks": rnl(WIDE)}, {}),
    "model_tsm_r50_rnl5_cgon": ("rnl", VideoResNet, VIDEO | {"blocks": rnl(gated)}, {"layer2.0.cg": None}),
    "model_c2d_r50_nl5_pool1pad1": (
        "slowfast",
        VideoResNet,
        VIDEO | {"temporal": "c2d", "topology": "slowfast", "blocks": PLACES, "make_block": FAIR_NL},
        {},
    ),
    "model_i3d_r50_nl5_pool1pad0": (
        "slowfast",
        VideoResNet,
        VIDEO | {"temporal": "i3d_3x1x1", "blocks": PLACES, "make_block": FAIR_NL},
        {},
    ),
    "model_bat_video_c2d_r50_k4_tk4": (
        "bat",
        VideoResNet,
        VIDEO | {"temporal": "c2d", "blocks": PLACES, "make_block": VIDEO_BAT},
        {},
    ),
    "model_bat_image_r50_k4": (
        "bat",
        ImageResNet,
        IMAGE | {"blocks": PLACES, "make_block": BilinearAttentionTransform},
        {},
    ),
    "model_cgnl_r50_dot": (
        "cgnl",
        ImageResNet,
        IMAGE | {"blocks": {"res4": (4,)}, "make_block": CGNL, "num_classes": 200},
        {"layer3.5 (attention)": "res4_4_block", "layer3.6": "res4_5_relu"},
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "model_tsm_r50" else ONCE) for name in MODELS]
)
def test_released_networks(name):
    format, network, arguments, ends = MODELS[name]
    released.check_model(network(50, **arguments), name, format, ends)


def caffe2(name):
    """Returns random blobs of a FAIR file, and the same arrays by PySlowFast's keys."""
    rows = json.loads((released.FIXTURES / f"caffe2_blobs_{name}.json").read_text())["blobs"]
    generator = np.random.default_rng(0)
    blobs = {row["blob"]: generator.standard_normal(row["shape"]).astype("float32") for row in rows}
    blobs |= {name: np.abs(blob) for name, blob in blobs.items() if name.endswith("_riv")}  # Variances.
    return blobs, {row["pyslowfast"]: blobs[row["blob"]] for row in rows}


def values(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.weights]


@pytest.mark.parametrize(("name", "temporal"), [("c2d_r50_nl5", "c2d"), ("i3d_r50_nl5", "i3d_3x1x1")])
def test_blobs_of_fair_are_the_tensors_of_pyslowfast(name, temporal):
    blobs, tensors = caffe2(name)
    momentum = {
        f"{blob}_momentum": array for blob, array in blobs.items() if not blob.endswith(("_rm", "_riv"))
    }
    extra = momentum | {"lr": np.float32(0.01), "model_iter": 400000}
    model = VideoResNet(50, temporal, blocks=PLACES, make_block=FAIR_NL)
    report = load(model, blobs | extra, "fair")
    assert set(report.dropped) == extra.keys() and len(report.loaded) == len(blobs) == len(model.weights)
    by_blob = values(model)
    load(model, {f"module.{key}": 2 * array for key, array in tensors.items()}, "slowfast")
    assert all(np.array_equal(2 * a, b) for a, b in zip(by_blob, values(model), strict=True))


def test_affine_blobs_are_a_scale_and_a_shift():
    blobs, _ = caffe2("i3d_r50_nl5_affine")
    block = functools.partial(FAIR_NL, batch_norm=False)
    model = VideoResNet(50, "i3d_3x1x1", topology="fair_32", blocks=PLACES, make_block=block)
    load(model, blobs, "fair")
    x = np.random.default_rng(1).standard_normal((1, 2, 3, 3, 64)).astype("float32")
    expected = x * blobs["res2_0_branch2a_bn_s"] + blobs["res2_0_branch2a_bn_b"]
    np.testing.assert_allclose(model.get_layer("res2_0_norm1")(x), expected, rtol=1e-6, atol=1e-6)


def test_image_blobs_of_fair_start_a_video_network():
    blobs, _ = caffe2("i3d_r50_nl5")
    trunk = {k: v for k, v in blobs.items() if not k.startswith(("nonlocal", "pred"))}
    images = {k: v.mean(axis=2) if v.ndim == 5 else v for k, v in trunk.items()}
    model = VideoResNet(50, "i3d_3x1x1", blocks=PLACES, make_block=FAIR_NL)
    before = dict(zip((v.path for v in model.weights), values(model), strict=True))
    report = load(model, images, "fair", ignore_head=True, allow_missing_blocks=True)
    assert {path.split("/")[0] for path in report.kept} == {
        *(f"res{s}_{i}_block" for s, i in ((3, 1), (3, 3), (4, 1), (4, 3), (4, 5))),
        "fc",
    }
    after = dict(zip(before, values(model), strict=True))
    assert all(np.array_equal(before[path], after[path]) for path in report.kept)
    kernel, image = after["stem_conv/kernel"], images["conv1_w"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, np.stack([image / 5] * 5), rtol=1e-6)


def torchvision(blocks=(2, 2, 2, 2), classes=7, widths=(64, 128, 256, 512)):
    """Returns random tensors of torchvision's ResNet-18, whose stages are `blocks` long, by their keys."""
    generator = np.random.default_rng(0)

    def norm(key, width):
        tensors[f"{key}.num_batches_tracked"] = np.array(9)
        for leaf in ("weight", "bias", "running_mean"):
            tensors[f"{key}.{leaf}"] = generator.normal(leaf == "weight", 0.1, width).astype("float32")
        tensors[f"{key}.running_var"] = generator.uniform(0.5, 1.5, width).astype("float32")

    def kernel(key, *shape):
        tensors[f"{key}.weight"] = generator.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype("float32")

    tensors, width_in = {}, 64
    kernel("conv1", 64, 3, 7, 7)
    norm("bn1", 64)
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        for index in range(count):
            key = f"layer{stage}.{index}"
            kernel(f"{key}.conv1", width, width_in, 3, 3)
            norm(f"{key}.bn1", width)
            kernel(f"{key}.conv2", width, width, 3, 3)
            norm(f"{key}.bn2", width)
            if width != width_in:
                kernel(f"{key}.downsample.0", width, width_in, 1, 1)
                norm(f"{key}.downsample.1", width)
            width_in = width
    kernel("fc", classes, width_in)
    tensors["fc.bias"] = generator.standard_normal(classes).astype("float32")
    return tensors


@pytest.fixture(scope="module")
def tensors():
    return torchvision()


@pytest.fixture(scope="module")
def image_network(tensors):
    model = ImageResNet(18, num_classes=7, input_shape=(32, 32, 3))
    load(model, tensors, "torchvision")
    return model


def test_report_and_values(image_network, tensors):
    report = load(image_network, tensors, "torchvision")
    assert report.sha256 is None and report.kept == ()
    assert len(report.loaded) == len(image_network.weights) and "res3_0_shortcut_conv/kernel" in report.loaded
    assert report.dropped == tuple(sorted(key for key in tensors if key.endswith("num_batches_tracked")))
    by_path = dict(zip((v.path for v in image_network.weights), values(image_network), strict=True))
    kernel = tensors["layer2.0.conv1.weight"]
    np.testing.assert_array_equal(by_path["res3_0_conv1/conv/kernel"], kernel.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(
        by_path["res5_1_norm2/moving_variance"], tensors["layer4.1.bn2.running_var"]
    )
    np.testing.assert_array_equal(by_path["fc/kernel"], tensors["fc.weight"].T)


@pytest.mark.parametrize(("temporal", "frames"), [("c2d", 2), ("i3d_3x3x3", 17)])
def test_image_weights_in_a_video_network(image_network, tensors, temporal, frames):
    video = VideoResNet(18, temporal, num_classes=7, topology="torchvision", input_shape=(frames, 32, 32, 3))
    load(video, tensors, "torchvision")
    check_static_clip(image_network, video, frames)


@ONCE
@pytest.mark.parametrize("temporal", ["i3d_3x1x1", pytest.param("i3d_3x3x3", marks=pytest.mark.long)])
def test_image_weights_in_an_inflated_network_with_bottlenecks(temporal):
    _, _, weights, _ = released.load_model("model_tsm_r50")
    frames = 23  # a first kernel of 5 and nine of 3 see 11 to each side
    image = ImageResNet(50, num_classes=400, input_shape=(32, 32, 3))
    video = VideoResNet(50, temporal, topology="torchvision", input_shape=(frames, 32, 32, 3))
    for network in (image, video):
        load(network, weights, "tsm")
    check_static_clip(image, video, frames)


def check_static_clip(image_network, video_network, frames):
    """A static clip gives what the image gives, in an inflated network away from the zeros at its ends."""
    image = np.random.default_rng(2).standard_normal((1, 32, 32, 3)).astype("float32")
    last = feature_pyramid(image_network), feature_pyramid(video_network)
    expected = np.asarray(last[0](image)["res5"])
    found = np.asarray(last[1](np.stack([image] * frames, axis=1))["res5"])
    np.testing.assert_allclose(found[:, frames // 2], expected, atol=2e-5 * expected.max())


def small_network(make_block=NonLocal, **arguments):
    return VideoResNet(
        18,
        blocks={"res3": (0,)},
        make_block=make_block,
        num_classes=7,
        input_shape=(4, 32, 32, 3),
        **arguments,
    )


def non_local(prefix, names, channels=128):
    """Returns random tensors of a non-local block; `names` are those of theta, phi, g, out and norm."""
    generator = np.random.default_rng(3)
    theta, phi, g, out, norm = (f"{prefix}.{name}" for name in names)
    tensors = {}
    for key in (theta, phi, g, out):
        shape = (channels, channels // 2) if key == out else (channels // 2, channels)
        tensors[f"{key}.weight"] = generator.standard_normal((*shape, 1, 1, 1)).astype("float32")
        tensors[f"{key}.bias"] = generator.standard_normal(shape[0]).astype("float32")
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        tensors[f"{norm}.{leaf}"] = generator.uniform(0.5, 1.5, channels).astype("float32")
    return tensors


def renamed(tensors, *rules):
    """Apply regular expressions to all keys."""
    for pattern, replacement in rules:
        tensors = {re.sub(pattern, replacement, key): array for key, array in tensors.items()}
    return tensors


TO_TSM = ((r"^", "base_model."), (r"^base_model\.fc", "new_fc"))
TO_MMACTION2 = (
    (r"^bn1\.", "conv1.bn."),
    (r"^conv1\.weight", "conv1.conv.weight"),
    (r"\.conv([123])\.weight", r".conv\1.conv.weight"),
    (r"\.bn([123])\.", r".conv\1.bn."),
    (r"downsample\.0", "downsample.conv"),
    (r"downsample\.1", "downsample.bn"),
    (r"^(conv1|layer)", r"backbone.\1"),
    (r"^fc", "cls_head.fc_cls"),
)
TSM_NL = ("nl.theta", "nl.phi.0", "nl.g.0", "nl.W.0", "nl.W.1")
MMACTION2_NL = tuple(
    f"non_local_block.{name}"
    for name in ("theta.conv", "phi.0.conv", "g.0.conv", "conv_out.conv", "conv_out.bn")
)
SPELLINGS = {  # format, what its files add to torchvision's, and how they spell it
    "tsm": ("tsm", non_local("layer2.0", TSM_NL), TO_TSM),
    "tsm, shifted": (
        "tsm",
        non_local("layer2.0", TSM_NL),
        (*TO_TSM, (r"(layer.*conv1)\.weight", r"\1.net.weight")),
    ),
    "tsm, wrapped": (
        "tsm",
        non_local("layer2.0", TSM_NL),
        (*TO_TSM, (r"2\.0\.(conv|bn|down)", r"2.0.block.\1")),
    ),
    "tsm, whole keys": ("tsm", non_local("layer2.0", TSM_NL), (*TO_TSM, (r"(phi|g)\.0", r"\1"))),
    "tsm, no dropout": ("tsm", non_local("layer2.0", TSM_NL), (*TO_TSM, ("new_fc", "base_model.fc"))),
    "tsm, several devices": ("tsm", non_local("layer2.0", TSM_NL), (*TO_TSM, (r"^", "module."))),
    "mmaction2": ("mmaction2", non_local("layer2.0", MMACTION2_NL), TO_MMACTION2),
    "mmaction2, tsm": (
        "mmaction2",
        non_local("layer2.0", MMACTION2_NL),
        (
            *TO_MMACTION2,
            (r"2\.0\.conv1\.conv", "2.0.block.conv1.conv.net"),
            (r"2\.0\.(conv2|down)", r"2.0.block.\1"),
        ),
    ),
    "bat": ("bat", non_local("layer2.nl0", ("theta", "phi.1", "g.1", "W.0", "W.1")), ()),
    "bat, images": ("bat", non_local("layer2.nl0", ("t", "p", "g", "z", "bn")), ()),
}


@pytest.fixture(scope="module")
def video_network():
    return small_network()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_gives_the_same_network(spelling, video_network, tensors):
    format, block, rules = SPELLINGS[spelling]
    load(video_network, renamed(tensors | block, *rules), format)
    by_path = dict(zip((v.path for v in video_network.weights), values(video_network), strict=True))
    np.testing.assert_array_equal(
        by_path["res3_0_conv2/conv/kernel"], tensors["layer2.0.conv2.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(by_path["res5_0_shortcut_norm/beta"], tensors["layer4.0.downsample.1.bias"])
    np.testing.assert_array_equal(by_path["fc/bias"], tensors["fc.bias"])
    expected = list(non_local("", "abcde").values())
    kernels = [array.reshape(array.shape[:2]).T if array.ndim > 1 else array for array in expected]
    leaves = [f"{part}/{leaf}" for part in ("theta", "phi", "g", "out") for leaf in ("kernel", "bias")]
    leaves += [f"norm/{leaf}" for leaf in ("gamma", "beta", "moving_mean", "moving_variance")]
    for leaf, kernel in zip(leaves, kernels, strict=True):
        np.testing.assert_array_equal(by_path[f"res3_0_block/{leaf}"], kernel, err_msg=leaf)


def test_inflated_kernels_of_mmaction2(tensors):
    model = small_network(temporal="i3d_3x3x3")
    shapes = {v.path: v.shape for v in model.weights}
    inflated = {}
    for key, array in tensors.items():
        path = rename(FORMATS["torchvision"], [key])[key]
        frames = shapes[path][0] if array.ndim == 4 and path in shapes else 1
        inflated[key] = np.stack([array] * frames, 2) if array.ndim == 4 else array
    assert inflated["conv1.weight"].shape == (64, 3, 5, 7, 7)
    block = non_local("layer2.0", MMACTION2_NL)
    load(model, renamed(inflated | block, *TO_MMACTION2), "mmaction2")
    kernel = keras.ops.convert_to_numpy(model.get_layer("res2_0_conv1").kernel)
    np.testing.assert_array_equal(kernel, inflated["layer1.0.conv1.weight"].transpose(2, 3, 4, 1, 0))


def test_members_of_a_stage_of_cgnl_are_blocks_and_residual_blocks(tensors):
    names = [f"layer3.{i}.conv1.weight" for i in (*range(22), 23)] + [f"layer3.22.{k}.weight" for k in "tpgz"]
    found = rename(FORMATS["cgnl"], names)
    assert found["layer3.22.t.weight"] == "res4_21_block/theta/kernel"
    assert found["layer3.21.conv1.weight"] == "res4_21_conv1/kernel"
    assert found["layer3.23.conv1.weight"] == "res4_22_conv1/kernel"

    model = ImageResNet(
        18, blocks={"res3": (0,)}, make_block=NonLocal, num_classes=7, input_shape=(32, 32, 3)
    )
    block = non_local("layer2.1", ("t", "p", "g", "z", "bn"))
    block = {k: v for k, v in block.items() if not re.search(r"\.[tpgz]\.bias", k)}
    load(model, renamed(tensors, (r"layer2\.1", "layer2.2")) | block, "cgnl")
    assert not keras.ops.convert_to_numpy(model.get_layer("res3_0_block").theta.bias).any()
    kernel = keras.ops.convert_to_numpy(model.get_layer("res3_1_conv1").layer.kernel)
    np.testing.assert_array_equal(kernel, tensors["layer2.1.conv1.weight"].transpose(2, 3, 1, 0))


def rnl_tensors():
    block = non_local("layer2.0", TSM_NL)
    block = {key: array for key, array in block.items() if ".phi." not in key and ".g." not in key}
    weight = np.random.default_rng(4).standard_normal((64, 32, 3, 3, 3)).astype("float32")
    mask = np.zeros_like(weight)
    mask[np.arange(64), np.arange(64) % 32] = 1
    return block | {"layer2.0.nl.penta.weight": weight, "layer2.0.nl.penta.mask": mask}


def test_masked_kernels_of_rnl_are_depthwise(tensors):
    model = small_network(functools.partial(RegionNonLocal, (3, 3, 3)))
    block = rnl_tensors()
    report = load(model, renamed(tensors | block, *TO_TSM), "rnl")
    assert "base_model.layer2.0.nl.penta.mask" in report.dropped
    kernel = keras.ops.convert_to_numpy(model.get_layer("res3_0_block").f_theta.kernel)
    for channel in (0, 31, 32, 63):
        expected = block["layer2.0.nl.penta.weight"][channel, channel % 32]
        np.testing.assert_array_equal(kernel[..., channel, 0], expected)
    block["layer2.0.nl.penta.mask"][5, 6] = 1
    with pytest.raises(
        CheckpointError, match=r"Expected the mask of .*o % 32 for o.*Received another mask.*Try"
    ):
        load(model, renamed(tensors | block, *TO_TSM), "rnl")


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ((196, 4, 7, 1), (7, 4, 196)),  # BAT's rows, columns and frames
        ((196, 4, 1, 1, 7), (7, 4, 196)),
        ((64, 4, 4, 1, 1), (4, 4, 64)),
        ((9, 4, 1, 1), (1, 4, 9)),
        ((1024, 64, 1, 1), (64, 1024)),  # CGNL's grouped z
        ((400, 2048, 1, 1, 1), (2048, 400)),
        ((8, 4, 1, 3, 5), (3, 5, 4, 8)),
        ((8, 4, 3, 5), (1, 3, 5, 4, 8)),
    ],
)
def test_axes_of_length_one_come_and_go(there, here):
    value = np.random.default_rng(0).standard_normal(there)
    found = lay_out(value, here)
    assert found.shape == here
    np.testing.assert_array_equal(found.reshape(-1, *here[-2:])[-1], value.reshape(*there[:2], -1)[..., -1].T)


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ((8, 4, 3, 3), (5, 5, 4, 8)),
        ((8, 4, 1, 3, 3), (5, 3, 3, 4, 8)),  # frames of a video kernel are not repeated
        ((8, 4, 3, 3, 3), (3, 3, 4, 8)),
        ((4, 8, 3, 3), (3, 3, 4, 8)),
        ((8,), (1, 8)),
        ((8, 1), (8,)),
        ((), (1,)),
    ],
)
def test_other_shapes_do_not_fit(there, here):
    assert lay_out(np.ones(there), here) is None


def without(*keys):
    return lambda tensors: {key: array for key, array in tensors.items() if key not in keys}


def with_value(key, value):
    return lambda tensors: tensors | {key: value}


REFUSED = {
    "missing": (
        without("layer1.0.bn1.bias", "layer4.1.bn2.running_var"),
        "Received no tensor for res2_0_norm1/beta, res5_1_norm2/moving_variance. Try: the depth",
    ),
    "left over": (
        lambda tensors: tensors | {f"aux.{i}.weight": np.ones(3) for i in range(5)},
        r"Received no variable for aux.0.weight, aux.1.weight, aux.2.weight and 2 more. Try: the depth",
    ),
    "no such block": (with_value("layer3.9.bn1.bias", np.ones(3)), "no variable for layer3.9.bn1.bias. Try"),
    "no such leaf": (with_value("conv1.scale", np.ones(3)), "no variable for conv1.scale. Try"),
    "another shape": (
        with_value("layer2.0.conv1.weight", np.ones((128, 64, 1, 1))),
        r"layer2.0.conv1.weight \[128, 64, 1, 1\] for res3_0_conv1/kernel \[3, 3, 64, 128\]. Try: the depth",
    ),
    "other classes": (
        with_value("fc.weight", np.ones((9, 512))),
        r"fc.weight \[9, 512\].*Try.* ignore_head=True",
    ),
    "no head": (without("fc.weight", "fc.bias"), "no tensor for fc/bias, fc/kernel. Try: ignore_head=True"),
    "twice": (
        with_value("module.bn1.bias", np.ones(64)),
        r"two for one: bn1.bias and module.bn1.bias. Try",
    ),
    "nan": (
        with_value("layer4.0.bn1.weight", np.full(512, np.nan)),
        r"NaN or infinity in layer4.0.bn1.weight. Try",
    ),
    "infinity": (with_value("bn1.bias", np.full(64, 1e300)), "NaN or infinity in bn1.bias. Try"),
    "text": (with_value("bn1.bias", ["a"] * 64), r"bn1.bias list for stem_norm/beta \[64\]. Try"),
    "another format": (
        lambda tensors: renamed(tensors, *TO_TSM),
        "Try: format='rnl' or 'tsm', which knows 102 of the 102 names",
    ),
}


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_set_unless_all_fits(case, image_network, tensors):
    change, words = REFUSED[case]
    before = values(image_network)
    changed = {key: array + 1 if key.endswith("bias") else array for key, array in tensors.items()}
    with pytest.raises(CheckpointError, match=f"^Expected [^\n]*{words}[^\n]*$"):
        load(image_network, change(changed), "torchvision")
    assert all(np.array_equal(a, b) for a, b in zip(before, values(image_network), strict=True))


NORMS = {  # format: names of the tensors of torchvision there, and of a variance
    "torchvision": ((), "layer2.0.bn1.running_var"),
    "bat": ((), "layer2.0.bn1.running_var"),
    "cgnl": ((), "layer2.0.bn1.running_var"),
    "tsm": (TO_TSM, "base_model.layer2.0.bn1.running_var"),
    "rnl": (TO_TSM, "base_model.layer2.0.bn1.running_var"),
    "mmaction2": (TO_MMACTION2, "backbone.layer2.0.conv1.bn.running_var"),
}


@pytest.mark.parametrize("value", [-1.0, -1e-30, -1e-300, -np.inf, np.nan])
@pytest.mark.parametrize("format", NORMS)
def test_variances_below_0_are_refused(format, value, image_network, tensors):
    rules, name = NORMS[format]
    changed = renamed(tensors, *rules)
    changed[name] = changed[name].astype("float64")
    changed[name][3] = value
    before = values(image_network)
    words = "running variances of 0 or more. Received less in" if np.isfinite(value) else "NaN or infinity in"
    with pytest.raises(CheckpointError, match=f"^Expected [^\n]*{words} {re.escape(name)}. Try: "):
        load(image_network, changed, format)
    assert all(np.array_equal(a, b) for a, b in zip(before, values(image_network), strict=True))
    changed[name][3] = -0.0
    load(image_network, changed, format)


@ONCE
@pytest.mark.parametrize("value", [-1.0, -1e-30, np.nan])
@pytest.mark.parametrize("format", ["fair", "slowfast"])
def test_variances_below_0_of_caffe2_are_refused(format, value):
    blobs, tensors = caffe2("c2d_r50_nl5")
    source = blobs if format == "fair" else tensors
    endings = ("_riv", "running_var")
    source = {key: abs(array) if key.endswith(endings) else array for key, array in source.items()}
    name = next(key for key in source if key.endswith(endings))
    source[name][3] = value
    model = VideoResNet(50, "c2d", blocks=PLACES, make_block=FAIR_NL)
    with pytest.raises(
        CheckpointError, match=f"^Expected [^\n]*(less|NaN or infinity) in {re.escape(name)}. Try"
    ):
        load(model, source, format)


@pytest.mark.parametrize("value", [-1.0, -1e-9, np.nan])
def test_variances_below_0_of_keras_are_refused(value, application):
    # Those of -1e-9 are above 0 once the larger epsilon is added.
    source = {variable.path: keras.ops.convert_to_numpy(variable) for variable in application.weights}
    name = "conv2_block1_1_bn/moving_variance"
    source[name] = np.where(np.arange(64) == 3, value, source[name])
    model = ImageResNet(50, topology="keras", num_classes=7)
    with pytest.raises(CheckpointError, match=f"^Expected [^\n]*(less|NaN or infinity) in {name}. Try"):
        load(model, source, "keras_applications")


NAMES = {  # a name, how it is shown
    "\x1b[31mred\x1b[0m": r"'\x1b[31mred\x1b[0m'",
    "\x1b]0;title\x07": r"'\x1b]0;title\x07'",
    "two\nlines\rand\ttabs": r"'two\nlines\rand\ttabs'",
    "\u202egnp.live": r"'\u202egnp.live'",
    "\u2066isolated\u2069": r"'\u2066isolated\u2069'",
    "\u05d0\u05d1": r"'\u05d0\u05d1'",  # letters of Hebrew turn what is beside them
    "\x9b31m": r"'\x9b31m'",
    "\ud800": r"'\ud800'",
    "\u2028": r"'\u2028'",
    "e\u0301" * 50: "'" + r"e\u0301" * 14 + "e",
    "x. Try: nothing": "'x. Try: nothing'",
    "": "''",
    "x" * 300: "'" + "x" * 99,
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("fault", ["left over", "infinite", "shape", "twice"])
def test_names_reach_no_terminal_as_they_are(name, fault, image_network, tensors, monkeypatch):
    paths = {"left over": None, "twice": "fc/bias"}
    rules = {"infinite": ("fc.bias", np.nan), "shape": ("fc.bias", 0.0)}
    source = dict(tensors) | {name: np.ones(7)}
    if fault in rules:  # under a name that the format knows
        source.pop("fc.bias")
        source[name] = np.full(7 if fault == "infinite" else 8, rules[fault][1])
    path = paths.get(fault, "fc/bias")
    monkeypatch.setattr(
        keras_nonlocal.checkpoints,
        "rename",
        lambda form, names: rename(form, names) | ({name: path} if name in names else {}),
    )
    with pytest.raises(CheckpointError) as caught:
        load(image_network, source, "torchvision")
    text = str(caught.value)
    assert NAMES[name] in text
    assert re.fullmatch("[ -~]{1,900}", text)


@pytest.mark.parametrize("count", [1, 10_001])
def test_more_and_longer_names_than_a_network_has(count, image_network, tensors):
    source = tensors | {"a" * (301 if count == 1 else 1) + str(n): 0 for n in range(count)}
    with pytest.raises(CheckpointError, match=r"^Expected at most 10000 tensors.* 300 characters. Received"):
        load(image_network, source, "torchvision")


def test_weights_for_bgr_take_rgb(tensors):
    model = ImageResNet(18, num_classes=7, input_shape=(32, 32, 3))
    load(model, tensors, "torchvision")
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype("float32")
    expected = np.asarray(model(images))
    load(model, tensors, "torchvision", reverse_channels=True)
    np.testing.assert_allclose(model(images[..., ::-1]), expected, rtol=1e-4, atol=1e-3)
    assert np.abs(np.asarray(model(images)) - expected).max() > 0.1


def test_unknown_formats_are_named(image_network):
    with pytest.raises(ValueError, match=r"`format`.*bat, cgnl, .*torchvision, tsm. Received 'caffe'. Try"):
        load(image_network, {}, "caffe")


def test_a_head_of_other_classes_is_left_out(tensors):
    model = ImageResNet(18, num_classes=3, input_shape=(32, 32, 3))
    before = keras.ops.convert_to_numpy(model.get_layer("fc").kernel)
    report = load(model, tensors, "torchvision", ignore_head=True)
    assert report.kept == ("fc/bias", "fc/kernel") and {"fc.bias", "fc.weight"} < set(report.dropped)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.get_layer("fc").kernel), before)
    headless = ImageResNet(18, include_top=False, input_shape=(32, 32, 3))
    with pytest.raises(CheckpointError, match=r"no variable for fc.weight, fc.bias. Try: ignore_head=True"):
        load(headless, tensors, "torchvision")
    assert load(headless, tensors, "torchvision", ignore_head=True).kept == ()


def test_missing_blocks_are_left_out_whole_or_not_at_all(video_network, tensors):
    with pytest.raises(
        CheckpointError, match=r"no tensor for res3_0_block/.* and 9 more. Try: allow_missing_blocks"
    ):
        load(video_network, tensors, "torchvision")
    report = load(video_network, tensors, "torchvision", allow_missing_blocks=True)
    assert len(report.kept) == 12 and {path.split("/")[0] for path in report.kept} == {"res3_0_block"}
    part = without("layer2.0.nl.W.1.weight")(non_local("layer2.0", TSM_NL))
    with pytest.raises(CheckpointError, match=r"no tensor for res3_0_block/norm/gamma. Try"):
        load(video_network, renamed(tensors | part, *TO_TSM), "tsm", allow_missing_blocks=True)
    trunk = {key: array for key, array in tensors.items() if not key.startswith("layer1.0.bn1")}
    with pytest.raises(CheckpointError, match=r"no tensor for res2_0_norm1/.* and 1 more. Try"):
        load(video_network, trunk, "torchvision", allow_missing_blocks=True)


@pytest.fixture(scope="module")
def application():
    """A ResNet50 of keras.applications whose biases and running statistics are not at their start."""
    generator = np.random.default_rng(0)
    model = keras.applications.ResNet50(weights=None, classes=7)
    for variable in model.weights:
        leaf = variable.path.rsplit("/", 1)[-1]
        deviation = np.prod(variable.shape[:-1]) ** -0.5 if leaf == "kernel" else 0.1
        variable.assign(generator.normal(leaf in ("gamma", "moving_variance"), deviation, variable.shape))
    kernel = model.get_layer("predictions").kernel
    kernel.assign(kernel * 0.03)  # or one class would have it all
    model.get_layer("conv1_bn").moving_variance.assign(np.full(64, 1e-3))  # so small that epsilon counts
    return model


@pytest.fixture(scope="module")
def keras_network(application):
    model = ImageResNet(50, topology="keras", num_classes=7, classifier_activation="softmax")
    load(model, application, "keras_applications")
    return model


def test_keras_applications(application, keras_network):
    images = np.random.default_rng(1).standard_normal((1, 224, 224, 3)).astype("float32")
    expected = np.asarray(application(images))
    assert 0.2 < expected.max() < 0.9
    np.testing.assert_allclose(keras_network(images), expected, rtol=2e-5)
    variance = keras.ops.convert_to_numpy(keras_network.get_layer("stem_norm").moving_variance)
    np.testing.assert_allclose(variance, 1e-3 + 1e-8, rtol=1e-6)


@ONCE
@pytest.mark.parametrize(
    "ending", ["weights.h5", *(pytest.param(name, marks=pytest.mark.long) for name in ("keras", "h5"))]
)
def test_files_of_keras_applications(ending, application, keras_network, tmp_path):
    path = tmp_path / f"resnet.{ending}"
    (application.save_weights if ending == "weights.h5" else application.save)(path)
    expected = values(keras_network)
    for variable in keras_network.weights:
        variable.assign(np.zeros(variable.shape))
    report = load(keras_network, path, "keras_applications")
    assert len(report.sha256) == 64 and len(report.loaded) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(values(keras_network), expected, strict=True))
    if ending == "keras":
        return
    other = ImageResNet(50, topology="keras", num_classes=3)
    with pytest.raises(CheckpointError, match=r"Keras refuses: [^\n]*Try: ignore_head=True"):
        load(other, path, "keras_applications")
    report = load(other, path, "keras_applications", ignore_head=True)
    assert report.kept == ("fc/bias", "fc/kernel")
    assert all(np.array_equal(a, b) for a, b in zip(values(other)[:-2], expected[:-2], strict=True))


def test_networks_that_keras_applications_has_not(application, tmp_path):
    with pytest.raises(
        CheckpointError, match=r"stride on convolution 1 .*on convolution 2. Try: topology='keras'"
    ):
        load(ImageResNet(50, num_classes=7), application, "keras_applications")
    path = tmp_path / "resnet.h5"
    path.write_bytes(b"no such file")
    with pytest.raises(CheckpointError, match=r"depth 50, 101 or 152.*Received .* Try"):
        load(ImageResNet(18), path, "keras_applications")
    with pytest.raises(CheckpointError, match=r"that Keras refuses: [^\n]*Try"):
        load(ImageResNet(50, topology="keras"), path, "keras_applications")
    with pytest.raises(
        CheckpointError, match=r"Expected a .keras, .weights.h5 or .h5 file.*Received .*x.npz.* Try"
    ):
        load(ImageResNet(50, topology="keras"), path.rename(tmp_path / "x.npz"), "keras_applications")


@ONCE
def test_an_older_file_of_another_depth_is_refused_without_its_head(tmp_path):
    keras.applications.ResNet101(weights=None, include_top=False).save(tmp_path / "deep.h5")
    model = ImageResNet(50, topology="keras", include_top=False)
    with pytest.raises(CheckpointError, match=r"no variable for conv4_block7_1_conv/kernel.* more. Try"):
        load(model, tmp_path / "deep.h5", "keras_applications", ignore_head=True)
