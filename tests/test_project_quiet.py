"""What TensorFlow notes of itself stays out of the terminals of programs, and everything else gets there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import quiet_tensorflow

ROOT = Path(__file__).parents[1]


def stderr_of(*arguments, **environment):
    """Returns what Python writes to stderr, in an environment that says nothing of notes."""
    inherited = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=inherited | environment, capture_output=True, text=True
    ).stderr


@pytest.mark.parametrize(
    "program", ["pipelines.records", pytest.param("savedmodels.freeze", marks=pytest.mark.long)]
)
def test_a_program_prints_no_notes(program):
    assert stderr_of("-m", program, "--help") == ""


@pytest.mark.long
def test_notes_are_shown_on_request_and_to_others_than_programs():
    assert "oneDNN" in stderr_of("-m", "pipelines.records", "--help", TF_CPP_MIN_LOG_LEVEL="0")
    assert "oneDNN" in stderr_of("-c", "import pipelines.order")


@pytest.mark.long
def test_devices_and_data_print_no_notes():
    program = (
        "import sys; sys.argv[0] = '-m'; import pipelines, tensorflow as tf\n"
        "tf.config.list_physical_devices()\n"
        "list(tf.data.Dataset.from_generator(lambda: iter([1]), tf.int32))\n"
    )
    assert stderr_of("-c", program) == ""
    assert stderr_of("-c", program.replace("-m", "-c")) != ""


def test_what_is_no_note_is_printed_also_when_loading_fails(capfd):
    lines = [
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        b"I0000 00:00:1.5  21444 port.cc:153] oneDNN custom operations are on.",
        b"To enable the following instructions: AVX2, rebuild TensorFlow with the flags.",
        b"libtensorflow.so: undefined symbol",
    ]
    with pytest.raises(ImportError), quiet_tensorflow._without_notes():
        os.write(2, b"\n".join(lines) + b"\n")
        raise ImportError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "libtensorflow.so: undefined symbol\nafter\n"
