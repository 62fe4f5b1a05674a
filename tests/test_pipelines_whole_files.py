"""Files are whole or as they were: after errors, interrupts and kills, through links, and far away."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines import whole_files
from pipelines.whole_files import is_partial, whole_file

ROOT = Path(__file__).parents[1]


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def write(path, text):
    with whole_file(path) as partial:
        Path(partial).write_text(text)


def test_a_file_appears_at_the_end_and_nothing_else_stays(tmp_path):
    path = tmp_path / "some.thing" / "report.csv"
    path.parent.mkdir()
    with whole_file(path) as partial:
        Path(partial).write_text("new")
        assert os.path.dirname(partial) == str(path.parent) and partial.endswith(".csv")
        assert is_partial(partial) and not is_partial(path)
        assert not path.exists()
    assert names(path.parent) == ["report.csv"] and path.read_text() == "new"
    write(str(path), "newer")
    assert names(path.parent) == ["report.csv"] and path.read_text() == "newer"


def test_a_name_without_suffix_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("report", "text")
    assert names(tmp_path) == ["report"]


def test_a_long_name_is_written_as_well(tmp_path):
    write(tmp_path / ("x" * 251 + ".csv"), "text")
    assert len(names(tmp_path)[0]) == 255


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("written", [True, False])
def test_an_exception_leaves_the_old_file_and_no_partial_one(tmp_path, error, written):
    path = tmp_path / "m.jsonl"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as partial:
        if written:
            Path(partial).write_text("ne")
        raise error
    assert names(tmp_path) == ["m.jsonl"] and path.read_text() == "old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_partial_one(tmp_path, monkeypatch, step):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    path = tmp_path / "m.jsonl"
    path.write_text("old")
    monkeypatch.setattr(whole_files.os, step, fail)
    with pytest.raises(OSError, match="No space"):
        write(path, "new")
    assert names(tmp_path) == ["m.jsonl"] and path.read_text() == "old"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass
    assert path.read_text() == "old"


def test_the_file_is_on_the_disk_before_it_is_put_in_its_place(tmp_path, monkeypatch):
    steps, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(whole_files.os, "fsync", lambda file: (steps.append("fsync"), fsync(file)))
    monkeypatch.setattr(whole_files.os, "replace", lambda *paths: (steps.append("replace"), replace(*paths)))
    write(tmp_path / "m.jsonl", "new")
    assert steps == ["fsync", "replace"]


def test_a_killed_writer_leaves_the_old_file_and_one_that_is_known_as_partial(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from pipelines.whole_files import whole_file\n"
        "with whole_file(sys.argv[1]) as partial:\n"
        "    open(partial, 'w').write('new')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT)
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert [name for name in names(tmp_path) if not is_partial(name)] == ["m.jsonl"]
    assert len(names(tmp_path)) == 2
    write(path, "new")
    assert path.read_text() == "new"


def test_two_writers_at_a_time_do_not_meet(tmp_path):
    path, both = tmp_path / "m.jsonl", threading.Barrier(2, timeout=30)

    def writer(letter):
        with whole_file(path) as partial, open(partial, "x") as file:
            both.wait()
            file.write(letter * 100_000)
            both.wait()

    threads = [threading.Thread(target=writer, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("a" * 100_000, "b" * 100_000)
    assert names(tmp_path) == ["m.jsonl"]


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path, dangling):
    (tmp_path / "real").mkdir()
    link, target = tmp_path / "m.jsonl", tmp_path / "real" / "manifest.jsonl"
    link.symlink_to("real/manifest.jsonl")
    if not dangling:
        target.write_text("old")
    write(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    assert names(tmp_path) == ["m.jsonl", "real"] and names(target.parent) == ["manifest.jsonl"]


@pytest.mark.parametrize("folder", ["ram://", "ram://whole_files/"])
def test_far_files_go_through_tensorflow(folder):
    import tensorflow as tf

    gfile, path = tf.io.gfile, f"{folder}m.jsonl"

    def far_names():
        return [name for name in gfile.listdir(folder) if name.endswith(".jsonl")]

    if folder != "ram://":
        gfile.makedirs(folder)
    for text in ("old", "new"):
        with whole_file(path) as partial, gfile.GFile(partial, "w") as file:
            assert partial.startswith(folder) and is_partial(partial)
            file.write(text)
        with gfile.GFile(path) as file:
            assert file.read() == text
    for written in (True, False):
        with pytest.raises(RuntimeError, match="stop"), whole_file(path) as partial:
            if written:
                with gfile.GFile(partial, "w") as file:
                    file.write("ne")
            raise RuntimeError("stop")
    with pytest.raises(tf.errors.NotFoundError), whole_file(path):
        pass
    with gfile.GFile(path) as file:
        assert file.read() == "new"
    assert far_names() == ["m.jsonl"]
    gfile.remove(path)


def test_local_files_need_no_tensorflow(tmp_path):
    code = (
        "import sys\n"
        "from pipelines.whole_files import whole_file\n"
        "with whole_file(sys.argv[1]) as partial: open(partial, 'w').close()\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], cwd=ROOT, check=True)
