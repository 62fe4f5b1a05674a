"""The mutation test: its places are there, and each mutant that it leaves out has a reason."""

from pathlib import Path

from benchmarks import mutants

ROOT = Path(__file__).parents[1]


def test_every_place_and_file_of_tests_is_there():
    assert [place for place in mutants._PLACES if not (ROOT / place).exists()] == []
    assert [name for name in mutants._TESTS if not list((ROOT / "tests").glob(f"test_{name}*.py"))] == []


def test_every_explanation_has_a_place_a_part_and_a_reason():
    lines = [line for line in mutants._EXPLAINED.read_text().splitlines() if line[:1] != "#"]
    for line in lines:
        path, part, reason = line.split(" | ")
        assert (not path or (ROOT / path).is_file()) and part and reason.endswith("."), line


def test_a_statement_is_the_smallest_one_around_a_line(tmp_path):
    code = tmp_path / "code.py"
    code.write_text("if a:\n    b = (\n        1,\n    )\n\n@c\ndef f():\n    pass\n")
    assert list(mutants._statement(code, 3)) == [2, 3, 4]
    assert list(mutants._statement(code, 1)) == [1, 2, 3, 4]
    assert list(mutants._statement(code, 6)) == [6]
