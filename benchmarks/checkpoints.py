"""What a checkpoint of TSM ResNet-50 costs: the seconds of a write, for which training waits, and its size.

python benchmarks/checkpoints.py [--repeats=7]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

from keras_nonlocal import VideoResNet
from train.loop import optim
from train.loop.checkpoints import Checkpoints


def main():
    """Prints a table; the status is 1 if a write takes more than a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    model = VideoResNet(input_shape=(8, None, None, 3), num_classes=400, depth=50, temporal="tsm")
    optimizer = optim.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    with tempfile.TemporaryDirectory() as directory:
        checkpoints = Checkpoints(directory, [*model.variables, *optimizer.variables], keep=1)
        writes = [
            timed(lambda step=step: checkpoints.save({"step": step})) for step in range(options.repeats)
        ]
        restored = timed(checkpoints.restore)
        size = sum(path.stat().st_size for path in Path(directory).iterdir()) / 1e6
    middle = statistics.median(writes)
    print("| a checkpoint of TSM ResNet-50 | |\n|---|---|")
    print(f"| size | {size:.0f} MB |")
    print(f"| write, of {options.repeats} | {middle:.2f} s, {min(writes):.2f} to {max(writes):.2f} s |")
    print(f"| restoration | {restored:.2f} s |")
    return middle > 1


def timed(function):
    """Returns the seconds that a function takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
