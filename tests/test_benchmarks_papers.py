"""The papers' tables: every figure of them, how the papers count, and what the script prints."""

import functools
import re
import runpy
from pathlib import Path

import keras
import pytest
from keras import layers

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
)
from keras_nonlocal.counting import calls_of

ROOT = Path(__file__).parents[1]
CLIP, POSITIONS = (4, 4, 6, 8), 4 * 4 * 6
BAT = functools.partial(
    BilinearAttentionTransform, size=2, temporal_size=2, spatial_groups=2, temporal_groups=2
)
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    import papers
    import papers_bat
    import papers_nl
    import papers_rnl
    import papers_unprinted
    from papers_conventions import Modules, figures_of, modules_of
    from papers_networks import alone, image, tsm
    from papers_rows import Figure, Table, row


def model_of(*chain, shape):
    x = inputs = keras.Input(shape)
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, x)


def seen(*chain, shape):
    """Returns the modules that the papers' tool sees of a chain of layers."""
    calls = calls_of(model_of(*chain, shape=shape))
    return sum((modules_of(call.layer, call.input_shape, call.output_shape) for call in calls), Modules())


def is_quick(make):
    """Returns whether a model is counted in every run: blocks alone, and two networks without blocks."""
    return make in (tsm, image) or getattr(make, "func", None) is alone


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(
            line,
            id=f"{table.title[:20]}: {line.name}",
            marks=() if is_quick(line.make) else pytest.mark.long,
        )
        for table in papers.PRINTED + papers.UNPRINTED
        for line in table.rows
    ],
)
def test_figures_are_the_expected_ones(line):
    assert papers.recount(line) == [figure.ours for figure in line.figures]


@pytest.mark.parametrize(
    ("tables", "printed", "agreeing", "not_found"),
    [
        ([papers_nl], 11, 9, 0),
        ([papers_rnl], 32, 18, 1),
        ([papers_bat], 88, 68, 9),
        ([papers_nl, papers_rnl, papers_bat], 131, 95, 10),
    ],
)
def test_every_printed_figure_agrees_or_has_a_reason(tables, printed, agreeing, not_found):
    tables = [table for room in tables for table in vars(room).values() if isinstance(table, Table)]
    assert set(tables) <= set(papers.PRINTED)
    figures = papers.figures_in(tables)
    assert len(figures) == printed and all(figure.printed for figure in figures)
    assert sum(map(papers.agrees, figures)) == agreeing
    assert sum(figure.reason.startswith("Not found. ") for figure in figures) == not_found
    for figure in figures:
        assert papers.agrees(figure) == (not figure.reason), figure


def test_figures_without_a_print_are_apart():
    figures = papers.figures_in(papers.UNPRINTED)
    assert len(figures) == 86
    assert not any(figure.printed or figure.reason for figure in figures)


def test_a_figure_in_a_reason_is_counted_too():
    reasons = {figure.reason for figure in papers.figures_in(papers.PRINTED)}
    found = re.findall(r"\d+\.\d{4}\b|\d+(?:,\d{3})+|\d+\.\d{3}x", " ".join(reasons))
    assert len(found) == 11
    assert set(found) <= {figure.ours for figure in papers.figures_in([papers_unprinted.EXPLANATIONS])}


def test_readme_has_the_summary():
    assert papers.summary() in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    ("ours", "printed", "agrees"),
    [
        ("32.8888", "32.89", True),
        ("32.8888", "32.88", False),
        ("24,327,632", "24.33", True),
        ("24,327,632", "24.32", False),
        ("24,327,632", "24,327,632", True),
        ("24,327,632", "24,327,633", False),
        ("1.455x", "1.5x", True),
        ("1.455x", "1.4x", False),
        ("+3.5592", "3.56", True),
        ("+3.5592", "3.55", False),
        ("-2,408,448", "-2.4", True),
        ("-2,408,448", "2.4", False),
        ("73.2%", "~70%", True),
        ("75.1%", "~70%", False),
        ("73.2%", "70%", False),
    ],
)
def test_ours_agrees_if_it_rounds_to_what_the_paper_prints(ours, printed, agrees):
    assert papers.agrees(Figure("MAC", printed, ours)) == agrees


def test_conventions():
    chain = (
        layers.Conv2D(5, 3),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(7),
    )
    figures = figures_of(model_of(*chain, shape=(4, 4, 2)))
    conv, bias_adds, norm, pool, fc = 4 * 5 * 18, 4 * 5, 4 * 5, 4 * 5 + 5, 5 * 7
    assert figures["MAC"] == figures["MAC + products"] == figures["executed"] == conv + fc
    assert figures["thop A"] == conv + bias_adds + 4 * norm + (2 * 5 - 1) * 7 + pool
    assert figures["thop B"] == conv + bias_adds + 2 * norm + 2 * fc + pool
    assert figures["thop A + 2 NL"] == figures["thop A + 2 products"] == figures["thop A"]
    assert figures["thop C + 2 NL"] == conv + bias_adds + 4 * norm + fc
    assert figures["parameters"] == figures["parameters, released"] == 90 + 5 + 10 + 35 + 7
    assert figures["kernels"] == 90 + 35


def test_the_bat_paper_counts_the_products_of_nl_alone():
    nl, bat = (figures_of(model_of(layer, shape=CLIP)) for layer in (NonLocal(), BAT()))
    assert nl["thop A + 2 NL"] == nl["thop A + 2 products"] == nl["thop A"] + 2 * nl["products"]
    assert bat["thop A + 2 NL"] == bat["thop A"] == bat["thop A + 2 products"] - 2 * bat["products"]
    assert nl["thop C + 2 NL"] == nl["thop A + 2 NL"]


@pytest.mark.parametrize(
    ("layer", "parameters", "released", "thop_b"),
    [
        (RegionNonLocal(), 301_568, 2_672_384, 1.6554),
        (RegionNonLocal(region="average"), 263_936, 263_936, 1.6554),
        (NonLocal(), 526_592, 526_592, 3.3028),
    ],
)
def test_released_blocks(layer, parameters, released, thop_b):
    figures = figures_of(model_of(layer, shape=(8, 28, 28, 512)))
    assert (figures["parameters"], figures["parameters, released"]) == (parameters, released)
    assert round(figures["thop B"] / 1e9, 4) == thop_b


def test_a_shared_block_has_its_kernel_and_mask_once():
    block = RegionNonLocal()
    once, twice = (figures_of(model_of(*[block] * n, shape=(2, 4, 4, 64))) for n in (1, 2))
    assert once["parameters, released"] == twice["parameters, released"] > twice["parameters"]
    assert twice["thop B"] == 2 * once["thop B"]


@pytest.mark.parametrize("groups", [1, 2])
def test_a_bias_is_added_to_every_output_of_a_convolution(groups):
    modules = seen(layers.Conv2D(6, 3, strides=2, groups=groups), shape=(7, 6, 4))
    assert (modules.conv_macs, modules.bias_adds) == (3 * 2 * 6 * 36 // groups, 3 * 2 * 6)


@pytest.mark.parametrize(
    ("layer", "shape", "norm_elements", "fc_outputs", "pool_elements", "unseen_macs"),
    [
        (NonLocal(subsample=(1, 2, 2)), CLIP, POSITIONS * 8, 0, 0, 0),
        (NonLocal(pool_order="before", subsample=(1, 2, 2), batch_norm=False), CLIP, 0, 0, 0, 0),
        (NonLocal(pool_order="before", pairwise="gaussian"), (4, 8), 4 * 8, 0, 0, 0),
        (RegionNonLocal(), CLIP, POSITIONS * 8, 0, 0, POSITIONS * 147 * 4),
        (RegionNonLocal(region="average"), CLIP, POSITIONS * 8, 0, 0, 0),
        (CompactGeneralizedNonLocal(groups=2, norm="group"), CLIP, 0, 0, 0, 0),
        (CompactGeneralizedNonLocal(groups=2, norm="batch"), CLIP, POSITIONS * 8, 0, 0, 0),
        (BAT(), CLIP, POSITIONS * (4 + 8 + 4 + 2), 0, (POSITIONS + 2) * 2, 0),
        (BAT(transform="downsampling"), CLIP, POSITIONS * (4 + 8 + 2) + 16 * 4, 0, (POSITIONS + 2) * 2, 0),
        (BAT(temporal_groups=0), (4, 6, 8), 24 * (4 + 8 + 4 + 2), 0, 0, 0),
        (SqueezeExcite(ratio=2), CLIP, 4, 4 + 8, 0, 0),
        (SqueezeExcite(ratio=2, mode="multiply"), CLIP, 0, 4 + 8, (POSITIONS + 1) * 8, 0),
        (GlobalContext(ratio=2), CLIP, 0, 0, 0, 0),
        (GlobalContext(ratio=2, norm="batch"), CLIP, 4, 4 + 8, 0, 0),
        (ConvBlockAttention(ratio=2, kernel_size=3), CLIP, POSITIONS, 2 * (4 + 8), 0, 0),
        (PlainResidual(5), CLIP, POSITIONS * (5 + 8), 0, 0, 0),
        (ConvBlockAttention(2, 3, batch_norm=False), CLIP, 0, 2 * (4 + 8), 0, 0),
        (AttentionChain(), (4, 4, 6, 64), POSITIONS * 64 + 4, 4 + 64, 0, POSITIONS * 147 * 32),
    ],
)
def test_what_the_tool_sees_of_a_block(layer, shape, norm_elements, fc_outputs, pool_elements, unseen_macs):
    modules = seen(layer, shape=shape)
    assert modules.norm_elements == norm_elements
    assert (modules.fc_outputs, modules.pool_elements) == (fc_outputs, pool_elements)
    macs = figures_of(model_of(layer, shape=shape))["MAC"]
    assert modules.conv_macs + modules.fc_macs == macs - unseen_macs


def dense(width):
    return model_of(layers.Dense(width, use_bias=False), shape=(1000,))


NARROW, WIDE = (functools.partial(dense, width) for width in (4, 6))


def small_table(parameters):
    first = row("narrow", NARROW, ("parameters", "4,000", "4,000"), ("MAC", "0.0", "0.0000"))
    figures = ("parameters", "0.1", parameters, "Not found. " + "Sought. " * 15), ("MAC", "1.5x", "1.500x")
    differences = ("parameters", "~20%", "66.7%", "It is two."), ("parameters", "-0.0", "-2,000")
    second, third = row("wide", WIDE, *figures, base=NARROW), row("less", NARROW, *differences, base=WIDE)
    return Table("A paper", "It counts. " * 15, (first, second, third))


SMALL = Table("No paper", "", (row("wide", WIDE, ("parameters", "", "6,000")),))


def test_tables_as_printed(capsys):
    assert papers.main([small_table("6,000")], [SMALL]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= papers.WIDTH
    assert out.partition("A paper\n\nIt counts. It")[2].split("\n\n", 1)[1] == (
        "        by          paper    ours\n"
        "narrow  parameters  4,000   4,000  agrees\n"
        "        MAC           0.0  0.0000  agrees\n"
        "wide    parameters    0.1   6,000  does not (1)\n"
        "        MAC          1.5x  1.500x  agrees\n"
        "less    parameters   ~20%   66.7%  does not (2)\n"
        "        parameters   -0.0  -2,000  agrees\n"
        "\n"
        f"(1) Not found. {'Sought. ' * 11}Sought.\n"
        "    Sought. Sought. Sought.\n"
        "(2) It is two.\n"
        "\n\n"
        "What no paper prints.\n"
        "\n\n"
        "No paper\n\n\n\n"
        "      by           ours\n"
        "wide  parameters  6,000\n"
        "\n"
        "The papers print 6 figures of what can be built here: 4 agree, 2 do not. The reason was found for 1 "
        "of these\nand not for 1. No paper prints the other 1 figures.\n"
    )


def test_a_figure_that_differs_is_seen(capsys):
    assert papers.main([small_table("6,001")], [SMALL]) == 1
    out = capsys.readouterr().out
    assert "  0.1   6,000  DIFFERS from 6,001\n" in out
    assert out.endswith("\n1 of ours DIFFER from what is expected.\n")


def test_a_model_that_is_not_known_whole_is_refused():
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Lambda(lambda v: v * 2, name="anything")(x))
    with pytest.raises(ValueError, match=r"figures_of: Expected .* Received one with anything\. Try: "):
        papers.recount(row("", lambda: model, ("parameters", "", "0")))


@pytest.mark.parametrize(("parameters", "status"), [("6,000", 0), ("6,001", 1)])
def test_status_of_the_program(monkeypatch, capsys, parameters, status):
    for room in (papers_nl, papers_rnl, papers_bat, papers_unprinted):
        for name, table in vars(room).copy().items():
            if isinstance(table, Table):
                monkeypatch.setattr(room, name, small_table(parameters))
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(ROOT / "benchmarks/papers.py"), run_name="__main__")
    assert exit_.value.code == status
    assert f"\nThe papers print {11 * 6} figures" in capsys.readouterr().out
