"""`python -m train.profile`: every figure of the papers' tables, and what the program prints of them."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from train import profile
from train.paper_tables import CONVENTIONS, TABLES, Figure, Row, Table
from train.profile import KNOWN, agrees_with_paper, compare, print_count, print_papers

ROOT = Path(__file__).parents[1]


@functools.cache
def base_cost(table_number):
    return compare(TABLES[table_number].rows[0])[1]


@pytest.mark.parametrize(
    ("table_number", "row"),
    [
        pytest.param(number, row, id=f"{table.title.split(',')[0]}: {row.name}")
        for number, table in enumerate(TABLES)
        for row in table.rows
    ],
)
def test_figures_of_the_papers(table_number, row):
    ratio = any(figure.expected.endswith("x") for figure in row.figures)
    compared, _ = compare(row, base_cost(table_number) if ratio else None)
    assert [ours for ours, _ in compared] == [figure.expected for figure in row.figures]


def test_a_number_that_is_not_the_papers_has_a_reason():
    figures = [figure for table in TABLES for row in table.rows for figure in row.figures]
    assert len(figures) > 100
    for figure in figures:
        assert figure.convention in CONVENTIONS
        assert agrees_with_paper(figure) == (not figure.note), figure


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
    assert agrees_with_paper(Figure("MAC", expected, paper)) == agrees


def dense(width):
    x = keras.Input((1000,))
    return keras.Model(x, keras.layers.Dense(width, use_bias=False)(x))


def small_table(parameters):
    first = Row("narrow", lambda: dense(4), (Figure("parameters", "4,000"), Figure("MAC", "0.0000", "0.0")))
    notes = Figure("parameters", parameters, "0.1", "cause not found"), Figure("MAC", "1.500x", "1.5")
    return Table("A paper", "It counts. " * 15, (first, Row("wide", lambda: dense(6), notes)))


def test_tables_as_printed(capsys):
    assert print_papers([small_table("6,000")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("\nA paper\n\nIt counts. It")
    assert max(map(len, out.splitlines())) <= 110
    assert out.split("\n\n", 2)[2] == (
        "        by          paper  expected    ours  executed G\n"
        "narrow  parameters            4,000   4,000      0.0000  matches\n"
        "        MAC           0.0    0.0000  0.0000              matches\n"
        f"wide    parameters    0.1     6,000   6,000      0.0000  {KNOWN}: cause not found\n"
        "        MAC           1.5    1.500x  1.500x              matches\n"
        "\n"
        "4 figures: 0 differ from the expected ones, 1 are known non-reproductions\n"
    )


def test_a_figure_that_differs_is_seen(capsys):
    assert print_papers([small_table("6,001")]) == 1
    assert "6,001   6,000      0.0000  DIFFERS\n" in capsys.readouterr().out


def test_a_model_that_is_not_known_whole_does_not_match():
    def make():
        x = keras.Input((4,))
        return keras.Model(x, keras.layers.Lambda(lambda v: v * 2)(x))

    assert compare(Row("", make, (Figure("parameters", "0"),)))[0] == [("0", profile.DIFFERS)]


def test_count_of_any_model(capsys):
    print_count(dense(4))
    assert "Dense  4            4,000" in capsys.readouterr().out


@pytest.mark.parametrize(("parameters", "status"), [("6,000", 0), ("6,001", 1)])
def test_status_of_the_program(monkeypatch, capsys, parameters, status):
    monkeypatch.setattr(profile, "print_papers", functools.partial(print_papers, [small_table(parameters)]))
    monkeypatch.setattr(profile, "flags", type("flags", (), {"FLAGS": type("FLAGS", (), {"papers": True})}))
    with pytest.raises(SystemExit) as exit_:
        profile.main(["profile"])
    assert exit_.value.code == status


def run(*arguments):
    command = [sys.executable, "-m", "train.profile", *arguments]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_network_of_a_flag_file():
    process = run("--flagfile=train/flagfiles/demo.flags", "--blocks=res4_0", "--num_classes=10", "--side=64")
    assert process.returncode == 0, process.stderr
    assert "video_resnet18, one clip of 8x64x64, 10 classes" in process.stdout
    assert "RegionNonLocal      8x4x4x256 " in process.stdout
    # torchvision's ResNet-18 with another head, and the block of count(RegionNonLocal) on 256 channels.
    assert f"parameters {11_689_512 - 513_000 + 5_130 + 85_248:>15,} " in process.stdout


def test_flags_that_describe_no_network():
    process = run("--depth=18", "--temporal=i3d_3x1x1", "--blocks=")
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith("error: VideoResNet: Expected a depth with bottlenecks")
