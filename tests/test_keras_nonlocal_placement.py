"""Where blocks go: the papers' places, and places and blocks described in text."""

import pytest

from keras_nonlocal import AttentionChain, GlobalContext, NonLocal, RegionNonLocal
from keras_nonlocal.placement import BLOCKS, PLACEMENTS, blocks_from_text, placement


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
