"""One of two workers of a run of a tiny network.

python tests/worker.py NUMBER PORT DATA DIRECTORY NAME FLAGS

FLAGS is JSON: changes of the configuration, and under "dies_in" or "signal_in" the place where this worker
gets a SIGKILL or a SIGTERM, a list of class, method and the number of the call; under "clock", what its clock
says that training took, in seconds.
"""

import json
import os
import signal
import sys
from pathlib import Path


def main(number, port, data, directory, name, flags):
    """Trains; ends with status 75, and says why, if the run is stopped."""
    addresses = [f"127.0.0.1:{int(port) + worker}" for worker in range(2)]
    task = {"type": "worker", "index": int(number)}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    from train.loop.workers import open_strategy

    strategy = open_strategy()
    from test_train_resume import runs_of

    from train.loop import fitting
    from train.loop.state import RunState
    from train.loop.stopping import Stopped

    changes = json.loads(flags)
    for name_of, number_of in (("dies_in", signal.SIGKILL), ("signal_in", signal.SIGTERM)):
        if name_of in changes:
            of, method, call = changes.pop(name_of)
            signal_in(getattr(fitting, of), method, call, number_of)
    if clock := changes.pop("clock", None):
        RunState.seconds = property(lambda run: clock)
    with runs_of(Path(data), Path(directory)) as run:
        try:
            run(name, strategy, **changes)
        except Stopped as stopped:
            print(f"stopped by {stopped}", flush=True)
            os._exit(75)  # What waits for the other worker is not waited for.


def signal_in(of, method, call, number):
    """Sends this process a signal at a call of a method."""
    real, calls = getattr(of, method), []

    def signalled(self, *arguments, **options):
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return real(self, *arguments, **options)

    setattr(of, method, signalled)


if __name__ == "__main__":
    main(*sys.argv[1:])
