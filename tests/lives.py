"""A run that is killed and started again, in forks of a process that has imported TensorFlow.

    python tests/lives.py WORKDIR [SECONDS ...] -- FLAGS

Each life gets so many seconds and is killed then; the last one ends by itself, and gives the status.
"""

import os
import signal
import sys
import time

from absl import flags

import train.__main__ as program
from train.command_line import define_flags, parse


def live(arguments, log):
    """Runs the program in a fork; returns its process."""
    process = os.fork()
    if process:
        return process
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = 1
    try:
        flag_values = flags.FlagValues()
        define_flags(flag_values)
        program.main(parse(["train", *arguments], flag_values), flag_values)
        status = 0
    except SystemExit as end:
        print(end, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main():
    """Lets a run live as often as there are seconds, and then to its end."""
    end = sys.argv.index("--")
    log, seconds, arguments = sys.argv[1], map(float, sys.argv[2:end]), sys.argv[end + 1 :]
    for life in seconds:
        process, start = live(arguments, log), time.monotonic()
        while time.monotonic() - start < life:
            done, status = os.waitpid(process, os.WNOHANG)
            if done:  # It came to its end before.
                print("status", os.waitstatus_to_exitcode(status))
                break
            time.sleep(0.005)
        else:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            print("killed", flush=True)
    _, status = os.waitpid(live(arguments, log), 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
