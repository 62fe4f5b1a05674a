"""The benchmark of clip operations: its script runs and names every operation."""

import re
import sys
from pathlib import Path

import pytest

from pipelines.augmenting.rand_augment import OPERATIONS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def augmentation(monkeypatch):
    """The script as a module, on clips that take no time."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import augmentation

    monkeypatch.setattr(augmentation, "FRAMES", 2)
    monkeypatch.setattr(augmentation, "SIZE", 16)
    small = augmentation.clip(32, 40)
    monkeypatch.setattr(augmentation, "clip", lambda *sides: small)
    yield augmentation
    del sys.modules["augmentation"]


def test_the_script_prints_a_row_for_every_operation(augmentation, monkeypatch, capsys):
    table = augmentation.operations()
    assert {f"rand_augment: {name}" for name in OPERATIONS} < set(table)
    some = [
        "multi_scale_crop + flip + normalise",
        "normalise",
        "colour_jitter: hue",
        "rand_augment: equalize",
    ]
    monkeypatch.setattr(augmentation, "operations", lambda: {name: table[name] for name in some})
    augmentation.main(["--repeats=1"])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == some
    assert all(re.fullmatch(r"\d+\.\d\d", row[1]) and re.fullmatch(r"\d+", row[2]) for row in rows)
