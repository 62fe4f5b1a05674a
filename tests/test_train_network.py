"""The network of a configuration: blocks described in text, arguments passed on, and what is refused."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest

from keras_nonlocal import AttentionChain, GlobalContext, NonLocal, RegionNonLocal, VideoResNet
from keras_nonlocal.moves import lasting
from train.command_line import read_config
from train.config import Config
from train.config.fields import field_of
from train.network import BLOCKS, NetworkError, blocks_from_text, build_network, check_network, network_fields


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


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_by_its_name_alone_has_the_defaults_of_its_class(name):
    described, plain = made(("res3_0",), (name,))["res3_0"], BLOCKS[name](name="res3_0_block")
    assert lasting(keras.saving.serialize_keras_object(described)) == lasting(
        keras.saving.serialize_keras_object(plain)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Local(", "never closed"),
        ("Filter", "Filter is no block"),
        ("NonLocal(pairwize='x')", "pairwize"),
        ("NonLocal(pairwise='x')", "`pairwise` to be one of.*Try: 'embedded_gaussian'"),
        ("NonLocal('gaussian')", "arguments that are not keywords"),
        ("NonLocal(scaled=True, scaled=False)", "not keywords, each once"),
        ("NonLocal(**{'scaled': True})", "not keywords"),
        ("NonLocal(name='mine')", "the name comes from the place"),
        ("NonLocal(channels=width)", "width is no block"),
        ("NonLocal(channels=2 ** 3)", r"channels=2 \*\* 3 is neither a literal nor a block"),
        ("NonLocal(channels=open('x'))", "open is no block"),
        ("__import__('os').system('x')", "system is no block"),
        ("AttentionChain(channel=[GlobalContext()])", "neither a literal nor a block"),
        ("stage3=Filter", "stage3 is no stage.*no place"),
        ("NonLocal; NonLocal", "invalid syntax"),
        ("", "invalid syntax"),
    ],
)
def test_wrong_descriptions_are_refused_at_once(text, words):
    with pytest.raises(ValueError, match=r"Expected a block such as .* Received .* Try: ") as caught:
        blocks_from_text((), (text,), 50)
    assert repr(text) in str(caught.value)
    assert caught.match(words)


@pytest.mark.parametrize(
    ("places", "blocks", "words"),
    [
        (("res3_0",), ("NonLocal", "GlobalContext"), "one block for all places.*'GlobalContext' as a second"),
        (
            ("res3_0",),
            ("res3=NonLocal", "res3=NonLocal"),
            r"block for res3\. .*'res3=NonLocal' as a second",
        ),
        (("res3_0",), ("res4=NonLocal",), r"a block for res3_0.*Received \('res4=NonLocal',\).*Try"),
        (("res3_0",), (), r"a block for res3_0.*Received \(\).*Try"),
        (
            ("res3_0",),
            ("NonLocal", "res4=NonLocal"),
            "Received 'res4=NonLocal', which none.*Try: leaving out --block=res4",
        ),
        (("res3_0",), ("res3=NonLocal", "NonLocal"), "Received 'NonLocal', which none .*Try: leaving"),
        (("res3_0", "res4_0", "res3_0"), ("NonLocal",), "each once.*Received 'res3_0' in.*Try"),
        (("res3_0", "nl5"), ("NonLocal",), "residual blocks.*Received 'nl5' in.*Try"),
        (("res3_0", "res4_00"), ("NonLocal",), "residual blocks.*Received 'res4_00' in.*Try"),
        (("layer3_0",), ("NonLocal",), "placement among.*Received 'layer3_0'.*Try"),
    ],
)
def test_descriptions_and_places_that_do_not_match_are_refused(places, blocks, words):
    with pytest.raises(ValueError, match=f"Expected .*{words}"):
        blocks_from_text(places, blocks, 50)


def test_blocks_of_the_default():
    config = Config()
    makers = blocks_from_text(config.blocks, config.block, config.depth)
    assert {stage: tuple(indices) for stage, indices in makers.items()} == {"res3": (0, 2), "res4": (0, 2, 4)}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"block": ("Local",)}, "Expected a block .*RegionNonLocal.*Received 'Local'.*Try"),
        ({"block": ("NonLocal(pairwize='gaussian')",)}, "pairwize"),
        ({"blocks": ("res1_0",)}, "Expected .*Received 'res1_0'.*Try"),
        ({"blocks": ("nl5",), "depth": 34}, "Expected a depth .*nl5.*Received 34.*Try"),
        (
            {"blocks": ("res3_4",)},
            "Expected residual blocks of --depth=50.*Received 'res3_4'.*Try: --blocks=res3_3",
        ),
    ],
)
def test_wrong_blocks_are_refused_with_their_flags(values, words):
    config = Config(**values)
    for refuse in (check_network, lambda config: build_network(config, 10)):
        with pytest.raises(NetworkError, match=rf"(?s)--block and --blocks: .*{words}"):
            refuse(config)


def test_a_configuration_builds_the_network_that_its_flags_say():
    config = Config(
        depth=50,
        temporal="i3d_3x1x1",
        topology="slowfast",
        groups=32,
        group_width=4,
        squeeze_excite_ratio=16,
        frozen_batch_norm=True,
        dropout=0.25,
        blocks=("nl5",),
        block=("NonLocal(pool_order='before')", "res4_5=GlobalContext"),
    )
    model = build_network(config, 7)
    assert model.output_shape == (None, 7) and model.get_layer("stem_conv").kernel_size == (5, 7, 7)
    assert model.get_layer("stem_pool_pad") and model.get_layer("res2_0_se").layer.ratio == 16
    assert model.get_layer("res2_0_conv2").layer.groups == 32 and not model.get_layer("stem_norm").trainable
    blocks = {
        name: type(model.get_layer(f"{name}_block")).__name__ for name in ("res3_1", "res4_3", "res4_5")
    }
    assert blocks == {"res3_1": "NonLocal", "res4_3": "NonLocal", "res4_5": "GlobalContext"}
    assert model.get_layer("res3_1_block").pool_order == "before" and model.get_layer("dropout").rate == 0.25


def test_the_network_for_images_has_the_weights_of_that_for_video():
    config = Config(depth=18, temporal="c2d", topology="torchvision", blocks=("res3_0",), block=("NonLocal",))
    image, video = (build_network(config, 7, images) for images in (True, False))
    assert image.input_shape == (None, None, None, 3) and video.input_shape == (None, 8, None, None, 3)
    assert [w.path for w in image.weights] == [w.path for w in video.weights]


def test_every_network_field_reaches_the_network():
    """A field whose name is no argument's would be ignored in silence."""
    names = network_fields(Config()).keys() - {"block", "dtype_policy"}
    assert names <= inspect.signature(VideoResNet).parameters.keys()


def test_a_new_argument_needs_its_field_alone(monkeypatch):
    """A network field and an argument of `VideoResNet` of the same name find each other."""

    def build(depth=50, width=1, **others):
        return depth, width

    width = field_of("network", 0, "width of it", none=True)
    added = dataclasses.make_dataclass("Added", [("width", int, width)], bases=(Config,), frozen=True)
    monkeypatch.setattr("train.network.VideoResNet", build)
    assert build_network(added(depth=101, width=3), 10) == (101, 3)
    assert build_network(added(depth=101), 10) == (101, None)


def test_a_trained_run_moves_to_other_classes_and_more_blocks(finished_run, capsys):
    """The features are the trained ones until the new block trains."""
    config, weights = read_config(finished_run.workdir), str(finished_run.workdir)
    config = dataclasses.replace(config, weights=weights, block=("RegionNonLocal",))
    moved = dataclasses.replace(config, blocks=("res3_0", "res4_1"), adapt=("classes", "blocks"))
    model, trained = build_network(moved, 5), build_network(config, 8)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": 109 variables loaded, 11 kept at their start, 2 tensors dropped")
    assert lines[1].endswith(": 111 variables loaded, 0 kept at their start, 0 tensors dropped")
    clips = np.random.default_rng(0).standard_normal((2, 4, 32, 32, 3)).astype("float32")
    features = [keras.Model(m.input, m.get_layer("pool").output) for m in (model, trained)]
    one, two = (network(clips, training=False) for network in features)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)
    assert np.abs(one).max() > 0.1 and model.output_shape == (None, 5)


def test_flags_that_describe_no_network(tmp_path):
    (tmp_path / "text.weights.h5").write_text("text")
    for values, words in (
        ({"depth": 18, "temporal": "i3d_3x1x1", "blocks": ()}, "Expected a depth with bottlenecks"),
        ({"depth": 18, "blocks": (), "weights": str(tmp_path / "text.weights.h5")}, "Expected `weights`"),
    ):
        with pytest.raises(NetworkError, match=f"VideoResNet: {words}"):
            build_network(Config(**values), 10)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_goes_into_a_network_for_video(block):
    # Test clips have 256 pixels unless another size is asked for.
    size = {"test_size": 224} if block == "BilinearAttentionTransform" else {}
    config = Config(block=(block,), blocks=("res4_0",), depth=18, **size)
    check_network(config)
    model = build_network(config, 10)
    assert model.get_layer("res4_0_block").output.shape == (None, 8, None, None, 256)


def test_a_block_that_refuses_its_map_refuses_before_the_run():
    words = r"--block refuses the map of --test_size=300: res3: Expected .* multiples"
    with pytest.raises(NetworkError, match=words):
        check_network(Config(block=("BilinearAttentionTransform",), test_size=300))
