"""Goes the whole way: synthetic videos -> training -> evaluation -> SavedModel -> prediction.

    python -m train.demo [--directory=runs/demo] [--videos=1600] [-- --epochs=3 ...]

Each stage is the command that a user would type; this program only runs and times them. The flags after
`--` go to the training.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time

from absl import app, flags

from train.config.fields import parse_or_end

_FLAGFILE = os.path.join(os.path.dirname(__file__), "flagfiles", "demo.flags")
_UNSEEN_LABEL = "turning clockwise"


def stages(directory, videos, training_flags):
    """Returns [(name of a stage, arguments after `python -m`), ...] of the demo in a directory."""
    data, run = os.path.join(directory, "data"), os.path.join(directory, "run")
    unseen = os.path.join(directory, "unseen.mp4")
    return [
        ("make videos", ["pipelines.synthetic", f"--output={data}", f"--train={videos}"]),
        (
            "train and evaluate",
            [
                "train.kinetics",
                f"--flagfile={_FLAGFILE}",
                f"--data_dir={data}",
                f"--workdir={run}",
                *training_flags,
            ],
        ),
        ("export", ["savedmodels.export", f"--workdir={run}"]),
        (
            "film a new video",
            ["pipelines.synthetic", f"--output={unseen}", f"--label={_UNSEEN_LABEL}", "--seed=1"],
        ),
        ("predict", ["train.predict", f"--video={unseen}", f"--workdir={run}"]),
    ]


def main(argv):
    """Empties the directory of the demo, runs the stages in it, and prints a table."""
    directory, seconds = flags.FLAGS.directory, {}
    run = os.path.join(directory, "run")
    _make_anew(directory)
    for what, arguments in stages(directory, flags.FLAGS.videos, argv[1:]):
        print(f"\n\033[1m{what}\033[0m: python -m {shlex.join(arguments)}", flush=True)
        start = time.monotonic()
        status = _run(arguments)
        if status:
            sys.exit(f"error: the demo stopped, {what!r} ended with status {status}")
        seconds[what] = time.monotonic() - start
    with open(os.path.join(run, "results.json"), encoding="utf-8") as file:
        results = json.load(file)
    print(f"\n{'top-1':<20} {results['top1']:7.1%}   (chance is 12.5%)")
    print(f"{'top-5':<20} {results['top5']:7.1%}")
    views = f"{results['clips']} clips x {results['crops']} crops"
    print(f"{'per video':<20} {results['seconds_per_video']:6.2f} s   {views}")
    for what, duration in seconds.items():
        print(f"{what:<20} {duration:6.1f} s")
    print(f"{'in all':<20} {sum(seconds.values()):6.1f} s")
    python = os.path.relpath(sys.executable)
    print(
        f"\nreport      {run}/report.html\n"
        f"model       {run}/model.keras\nresults     {run}/results.json\nSavedModel  {run}/savedmodel/1\n"
        f"logs        {python} -m tensorboard.main --logdir={run}/tensorboard\n"
        f"\nNext, any video of yours: {python} -m train.predict --video=FILE --workdir={run}"
    )


def _make_anew(directory):
    """Empties a directory that an earlier demo made; ends the program if something else is in it."""
    mark = os.path.join(directory, "made_by_train_demo")
    if os.path.exists(directory) and not os.path.exists(mark) and os.listdir(directory):
        sys.exit(
            f"error: Expected a new directory, or one that the demo made. Received {directory}, which holds "
            "something else. Try: another --directory."
        )
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    open(mark, "w").close()


def _run(arguments):
    """Runs `python -m` and returns the status."""
    return subprocess.run([sys.executable, "-m", *arguments], check=False).returncode


if __name__ == "__main__":
    flags.DEFINE_string("directory", "runs/demo", "where all goes; an earlier demo there is deleted first")
    flags.DEFINE_integer("videos", 1600, "training videos", lower_bound=16)
    app.run(main, flags_parser=parse_or_end)
