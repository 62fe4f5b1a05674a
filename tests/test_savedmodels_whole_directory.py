"""A directory is there with all that was written, or there is none."""

import pytest

from savedmodels.whole_directory import whole_directory


def test_the_directory_appears_when_the_block_ends(tmp_path):
    output = tmp_path / "model" / "1"
    with whole_directory(str(output)) as partial:
        (output.parent / partial / "file").write_text("content")
        assert not output.exists()
    assert (output / "file").read_text() == "content"
    assert output.stat().st_mode & 0o777 == 0o755
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing(error, tmp_path):
    with pytest.raises(error), whole_directory(str(tmp_path / "1")) as partial:
        (tmp_path / partial / "file").write_text("content")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_exists_stays_as_it_is(tmp_path):
    (tmp_path / "1").mkdir()
    with (
        pytest.raises(FileExistsError, match=r"Expected a new directory.*Received .*1'.*Try: --output"),
        whole_directory(str(tmp_path / "1")),
    ):
        raise AssertionError("the block must not run")
    assert list(tmp_path.iterdir()) == [tmp_path / "1"]


def test_a_directory_that_appears_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(OSError), whole_directory(str(tmp_path / "1")):
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "other").write_text("of someone else")
    assert [path.name for path in tmp_path.rglob("*")] == ["1", "other"]
