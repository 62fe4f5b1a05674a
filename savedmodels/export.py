"""Writes a trained model as a SavedModel and proves that it gives the same answers without Keras.

python -m savedmodels.export --workdir=RUN [--output=DIR]

A model.keras names the layers that it is made of, and the SavedModel is a program: loading either one runs
what is in it. Export only runs that you trust.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

import keras_nonlocal  # noqa: F401 - registers the layers by which model.keras is read.
from keras_nonlocal.checkpoints.plain import visible
from savedmodels.loading import one_line, read_serving, serving_path
from savedmodels.signatures import classify
from savedmodels.whole_directory import whole_directory

# This runs in a process of its own, in which importing Keras is an error.
_RELOAD = """
import sys
sys.modules["keras"] = None
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
outputs = model.signatures["serving_default"](tf.constant(np.load(sys.argv[2])))
np.save(sys.argv[3], outputs["probabilities"].numpy())
"""

# The same kernels run on both sides; only their order of summation may differ.
_TOLERANCE = 1e-5
_REMEDY = "--workdir=DIR of a run of `python -m train` that has ended, with the files as it wrote them"


def export(workdir, output):
    """Exports the model of a run.

    Loading `model.keras` runs what is in it, with your rights: export only runs that you trust.

    The SavedModel has one signature, `serving_default`: see `savedmodels.signatures.classify`. Beside it lies
    the run's serving.json, in `assets.extra`.

    Args:
        workdir: Directory with `model.keras` and `serving.json`, as the trainer writes them.
        output: Directory to write, a version number as its last part where TF Serving reads it
            (`.../model/1`). It appears whole and verified, or not at all.

    Returns:
        The largest difference between the probabilities of the live and of the reloaded model.

    Raises:
        FileNotFoundError: `workdir` has no trained model.
        FileExistsError: `output` exists already.
        ValueError: `model.keras` or `serving.json` is damaged or of another program.
        RuntimeError: The SavedModel does not load without Keras, or its answers differ.
    """
    for name in ("model.keras", "serving.json"):
        if not os.path.isfile(os.path.join(workdir, name)):
            raise FileNotFoundError(
                f"Expected a finished run with {name} in {workdir!r}. Received a directory without it. "
                "Try: --workdir=DIR of a run of `python -m train` that has ended."
            )
    with whole_directory(output) as partial:
        serving = read_serving(os.path.join(workdir, "serving.json"))
        path = os.path.join(workdir, "model.keras")
        with one_line(path, "the sound model.keras of a run", _REMEDY):
            model = keras.saving.load_model(path, compile=False)
        with one_line(path, "a model of clips as in serving.json", _REMEDY):
            signature = classify(model, serving)
            archive = keras.export.ExportArchive()
            archive.track(model)
            archive.add_endpoint("serving_default", signature)
        archive.write_out(partial, verbose=False)
        os.makedirs(os.path.dirname(serving_path(partial)))
        shutil.copyfile(os.path.join(workdir, "serving.json"), serving_path(partial))
        return _verify(partial, signature, serving)


def _verify(directory, signature, serving):
    """Returns the difference between the live signature and the one that a process without Keras loads."""
    shape = (2, serving["frames"], serving["size"] + 5, serving["size"] * 2, 3)
    clip = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        sent, received = os.path.join(scratch, "clip.npy"), os.path.join(scratch, "probabilities.npy")
        np.save(sent, clip)
        process = subprocess.run(
            [sys.executable, "-c", _RELOAD, directory, sent, received],
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            last = (process.stderr.strip().splitlines() or [f"the exit status {process.returncode}"])[-1]
            raise RuntimeError(
                "Expected the SavedModel to load and run without Keras. Received "
                f"{visible(last)}. Try: layers that consist of operations of TensorFlow."
            )
        reloaded = np.load(received)
    difference = float(np.abs(signature(tf.constant(clip))["probabilities"].numpy() - reloaded).max())
    if not difference <= _TOLERANCE:
        raise RuntimeError(
            f"Expected the reloaded model's probabilities within {_TOLERANCE} of the live one's. "
            f"Received a difference of {difference}. Try: export in float32."
        )
    return difference


def main(arguments=None):
    """Parses the command line and exports."""
    description = " ".join([__doc__.splitlines()[0], *__doc__.splitlines()[4:]])
    parser = argparse.ArgumentParser(prog="python -m savedmodels.export", description=description)
    parser.add_argument("--workdir", required=True, help="directory of a run of `python -m train`")
    parser.add_argument("--output", help="directory of the SavedModel (default WORKDIR/savedmodel/1)")
    options = parser.parse_args(arguments)
    output = options.output or os.path.join(options.workdir, "savedmodel", "1")
    try:
        difference = export(options.workdir, output)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit("error: " + " ".join(str(error).split()))
    print(f"wrote {output}; reloaded without Keras, its probabilities differ by at most {difference:.1e}")


if __name__ == "__main__":
    main()
