"""The benchmark of the blocks: its script runs, and README's table is the one that it prints."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAP = (8, 28, 28, 512)  # of res3, which README's table is of


@pytest.fixture
def blocks(monkeypatch):
    """The script as a module, on a map that takes no time and without processes of their own."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    import blocks

    monkeypatch.setattr(blocks, "MAP", (1, 4, 7, 7, 32))
    monkeypatch.setattr(blocks, "peaks", lambda jobs, workers=2: [(1.5, 2.5) for _ in jobs])
    yield blocks
    for name in ("blocks", "claims", "measure", "naive_forms"):
        del sys.modules[name]


def rows(text):
    """Returns the cells of the rows of tables in Markdown."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_script_prints_what_a_block_costs(blocks, capsys):
    blocks.main(["--only=TemporalShift", "--repeats=1"])
    header, _, row = rows(capsys.readouterr().out)
    assert header[:3] == ["block", "equation", "arguments"]
    assert row[0] == "`TemporalShift`"
    assert row[3:7] == ["0", "0.00", "0.00", "0.00"]
    assert all(re.fullmatch(r"[\d.]+", cell) for cell in row[7:])


def test_the_script_says_whether_a_claim_is_reached(blocks, monkeypatch, capsys):
    (claim,) = [claim for claim in blocks.CLAIMS if "BAT" in claim.what]
    monkeypatch.setattr(blocks, "CLAIMS", [claim._replace(least={"memory": 1.6})])
    blocks.main([f"--only={claim.what}", "--repeats=1"])
    assert rows(capsys.readouterr().out)[-1][-1] == "NO"  # two peaks of 1.5 MB


def test_readme_shows_the_table_of_the_script(blocks):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = {tuple(row[:7]) for row in rows(readme) if len(row) == 10}
    printed = {
        (f"`{name}`", equation, f"`{call[:-1]}`" if call != ")" else "", *blocks.costs(expression, MAP))
        for equation, expression in blocks.BLOCKS
        for name, _, call in [expression.partition("(")]
    }
    assert printed <= shown
