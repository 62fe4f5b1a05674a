"""Residual networks as data: where the papers put their blocks."""

import pytest

from keras_nonlocal.architecture import PLACEMENTS, placement


def test_placements_have_the_papers_number_of_blocks():
    counts = {"nl5": 5, "tsm_nl5": 5, "slowfast_nl5": 5, "nl10": 10, "bat_resnet18": 2, "bat_110": 2}
    for name, depths in PLACEMENTS.items():
        for depth in depths:
            places = placement(name, depth)
            assert sum(map(len, places.values())) == counts.get(name, 1), (name, depth)


@pytest.mark.parametrize(("name", "depths"), [("nl1", {50: 6, 101: 23, 152: 36}), ("nl1_res4", {50: 6})])
def test_one_block_stands_before_the_last_residual_block(name, depths):
    assert {depth: placement(name, depth) for depth in depths} == {
        depth: {"res4": (count - 2,)} for depth, count in depths.items()
    }


def test_chosen_placements_of_depth_50():
    ends = {"res3": (2,), "res4": (4,), "res5": (1,)}  # Before the last residual block, as in NL's table 2b.
    for stage, indices in ends.items():
        assert placement(f"nl1_{stage}", 50) == {stage: indices}
    for numbers in ("100", "010", "001", "110"):
        stages = [stage for stage, number in zip(ends, numbers, strict=True) if number == "1"]
        assert placement(f"bat_{numbers}", 50) == {stage: ends[stage] for stage in stages}
    assert placement("rnl1", 50) == placement("nl1_res3", 50)
    assert set(placement("rnl1", 50)["res3"]) <= set(placement("tsm_nl5", 50)["res3"])
    assert placement("slowfast_nl5", 101) == placement("slowfast_nl5", 50) == placement("nl5", 50)


def test_chosen_placements_of_depth_101_follow_those_of_depth_50():
    """The residual blocks of res4 are three runs of two or, and two are left over, of seven."""
    for depth, run in ((50, 2), (101, 7)):
        nl5, tsm, nl10 = (placement(name, depth)["res4"] for name in ("nl5", "tsm_nl5", "nl10"))
        assert nl5 == tuple(range(run - 1, 3 * run, run)), "after the last of each run"
        assert tsm == tuple(range(0, 3 * run, run)), "after the first of each run"
        assert nl10 == tuple(run * half // 2 - 1 for half in range(1, 7)) and nl10[1::2] == nl5


def test_a_placement_is_the_callers_own():
    placement("tsm_nl5", 50).clear()
    assert placement("tsm_nl5", 50) == {"res3": (0, 2), "res4": (0, 2, 4)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nl55", 50), "Expected a placement among nl5, tsm_nl5, slowfast_nl5.*Received 'nl55'. Try: 'nl5'"),
        (("nl5", 34), "'nl5' is published, 50 or 101 or 152. Received 34. Try: depth=50"),
    ],
)
def test_unpublished_placements_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        placement(*arguments)
