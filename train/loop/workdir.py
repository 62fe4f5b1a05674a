"""The directory of a run: who may write to it, and which configuration it holds."""

import difflib
import fcntl
import os
import shutil

from pipelines.whole_files import whole_file

# Whoever goes on with a run may change these, as they change no step that is done, and no clip's content.
MAY_CHANGE = (
    "epochs",  # Upward. The rate is then that of the longer schedule.
    "workers",
    "decode_isolation",
    "decode_timeout",
    "max_bad_fraction",
    "data_service",
    "checkpoint_minutes",
    "checkpoint_steps",
    "keep_checkpoints",
    "keep_epoch",
    "patience_epochs",
    "max_minutes",
    "nan_policy",
)


def claim_workdir(config):
    """Writes `run.flags`, or accepts a workdir that holds the same configuration already.

    The flags of `MAY_CHANGE` may differ; `run.flags` then has their new values.

    Returns:
        The lock of the workdir, to be closed at the run's end.

    Raises:
        FileExistsError: The workdir holds a run of another configuration, which is left alone, or one that
            is under way.
    """
    os.makedirs(config.workdir, exist_ok=True)
    lock = open(os.path.join(config.workdir, "run.lock"), "a")  # noqa: SIM115 - the caller closes it.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _claim(config)
    except BlockingIOError:
        lock.close()
        raise FileExistsError(
            f"Expected to be alone in {config.workdir}. Received a run.lock that another run holds. "
            "Try: wait for that run, or another --workdir."
        ) from None
    except BaseException:
        lock.close()
        raise
    return lock


def _claim(config):
    path, text = os.path.join(config.workdir, "run.flags"), config.to_flags()
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = file.read()
        refused = _refused(_by_name(before), _by_name(text))
        changes = difflib.ndiff(before.splitlines(), text.splitlines())
        lines = [line for line in changes if line[0] in "-+" and _name(line[2:]) in refused]
        if lines:
            raise FileExistsError(
                f"Expected {config.workdir} to be new or to hold this configuration. Received a run with "
                "other flags (- there, + here):\n  " + "\n  ".join(lines) + "\nTry: another --workdir."
            )
        if before == text:
            return
    write_text(path, text)


def _refused(before, after):
    """Returns the names of the flags that differ and must not."""
    differ = {name for name in before | after if before.get(name) != after.get(name)}
    least = before.get("epochs", [""])[0]
    grew = least.isdecimal() and int(after["epochs"][0]) >= int(least)
    return differ - (set(MAY_CHANGE) if grew else set(MAY_CHANGE) - {"epochs"})


def _by_name(text):
    """Returns {name: its values} of the lines of a flag file."""
    values = {}
    for line in text.splitlines():
        values.setdefault(_name(line), []).append(line.partition("=")[2])
    return values


def _name(line):
    return line.removeprefix("--").partition("=")[0]


def check_room(workdir, checkpoint_bytes, count):
    """Raises OSError unless a disk has room for what a run will write, beside what it has written already.

    Args:
        workdir: The directory of the run.
        checkpoint_bytes: What a checkpoint takes. `model.keras`, an export and the logs take less than one.
        count: How many checkpoints are there at most, at a time.
    """
    written = sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(os.path.join(workdir, "checkpoints"))
        for name in names
    )
    needed, free = (count + 1) * checkpoint_bytes - written, shutil.disk_usage(workdir).free
    if needed > free:
        raise OSError(
            f"Expected {needed / 1e6:.0f} MB of room in {workdir}, for {count} checkpoints and the model. "
            f"Received {free / 1e6:.0f} MB. Try: room on that disk, or another --workdir."
        )


def write_text(path, text):
    """Writes a text file, whole or not at all."""
    with whole_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write(text)
