"""The papers' tables: every figure of them, how the papers count, and what the script prints."""

import functools
import runpy
from functools import partial
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
    RegionNonLocal,
    SqueezeExcite,
)
from keras_nonlocal.counting import calls_of

ROOT = Path(__file__).parents[1]
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    import papers
    import papers_blocks
    import papers_networks
    from papers_conventions import Modules, figures_of, modules_of
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


@functools.cache
def base_figures(table_number):
    return papers.compare(papers.TABLES[table_number].rows[0])[1]


@pytest.mark.parametrize(
    ("table_number", "line"),
    [
        pytest.param(
            number,
            line,
            id=f"{table.title.split(',')[0]}: {line.name}",
            marks=() if line in table.rows[:2] else pytest.mark.long,
        )
        for number, table in enumerate(papers.TABLES)
        for line in table.rows
    ],
)
def test_figures_of_the_papers(table_number, line):
    ratio = any(figure.expected.endswith("x") for figure in line.figures)
    compared, _ = papers.compare(line, base_figures(table_number) if ratio else None)
    assert [ours for ours, _ in compared] == [figure.expected for figure in line.figures]


def test_a_figure_that_is_not_the_papers_has_a_reason():
    figures = [figure for table in papers.TABLES for line in table.rows for figure in line.figures]
    assert len(figures) == 120
    conventions = figures_of(model_of(layers.Dense(3), shape=(4,)))
    for figure in figures:
        assert figure.convention in conventions
        assert papers.agrees_with_paper(figure) == (not figure.note), figure


@pytest.mark.parametrize(
    ("expected", "paper", "agrees"),
    [
        ("32.8888", "32.89", True),
        ("32.8888", "32.88", False),
        ("24,327,632", "24.33", True),
        ("24,327,632", "24.32", False),
        ("1.455x", "1.5", True),
        ("1.455x", "1.4", False),
        ("1.455x", "", True),
    ],
)
def test_the_papers_print_is_what_the_expected_figure_rounds_to(expected, paper, agrees):
    assert papers.agrees_with_paper(Figure("MAC", expected, paper)) == agrees


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
    assert figures["thop C"] == figures["thop C + 2 products"] == conv + bias_adds + 4 * norm + fc
    assert figures["parameters"] == figures["parameters, released"] == 90 + 5 + 10 + 35 + 7


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


CLIP, POSITIONS = (4, 4, 6, 8), 4 * 4 * 6
BAT = partial(BilinearAttentionTransform, size=2, temporal_size=2, spatial_groups=2, temporal_groups=2)


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
        (SqueezeExcite(ratio=2, mode="multiply"), CLIP, 0, 4 + 8, 0, 0),
        (GlobalContext(ratio=2), CLIP, 0, 0, 0, 0),
        (GlobalContext(ratio=2, norm="batch"), CLIP, 4, 0, 0, 0),
        (ConvBlockAttention(ratio=2, kernel_size=3), CLIP, POSITIONS, 2 * (4 + 8), 0, 0),
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


def small_table(parameters):
    first = row("narrow", lambda: dense(4), ("parameters", "4,000"), ("MAC", "0.0000", "0.0"))
    notes = ("parameters", parameters, "0.1", "cause not found"), ("MAC", "1.500x", "1.5")
    return Table("A paper", "It counts. " * 15, (first, row("wide", lambda: dense(6), *notes)))


def test_tables_as_printed(capsys):
    assert papers.main([small_table("6,000")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("\nA paper\n\nIt counts. It")
    assert max(map(len, out.splitlines())) <= 110
    assert out.split("\n\n", 2)[2] == (
        "        by          paper  expected    ours  executed G\n"
        "narrow  parameters            4,000   4,000      0.0000  matches\n"
        "        MAC           0.0    0.0000  0.0000              matches\n"
        f"wide    parameters    0.1     6,000   6,000      0.0000  {papers.KNOWN}: cause not found\n"
        "        MAC           1.5    1.500x  1.500x              matches\n"
        "\n"
        "4 figures: 0 differ from the expected ones, 1 are known non-reproductions\n"
    )


def test_a_figure_that_differs_is_seen(capsys):
    assert papers.main([small_table("6,001")]) == 1
    assert "6,001   6,000      0.0000  DIFFERS\n" in capsys.readouterr().out


def test_a_model_that_is_not_known_whole_is_refused():
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Lambda(lambda v: v * 2, name="anything")(x))
    with pytest.raises(ValueError, match=r"figures_of: Expected .* Received one with anything\. Try: "):
        papers.compare(row("", lambda: model, ("parameters", "0")))


@pytest.mark.parametrize(("parameters", "status"), [("6,000", 0), ("6,001", 1)])
def test_status_of_the_program(monkeypatch, capsys, parameters, status):
    for module, name in [(papers_blocks, "RNL_KERNELS"), (papers_blocks, "BLOCKS")] + [
        (papers_networks, name) for name in ("RNL", "NL", "NL_101", "BAT_IMAGES", "BAT_VIDEOS")
    ]:
        monkeypatch.setattr(module, name, small_table(parameters))
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(ROOT / "benchmarks/papers.py"), run_name="__main__")
    assert exit_.value.code == status
    assert "\n28 figures: " in capsys.readouterr().out
