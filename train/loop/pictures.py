"""Pictures beside the curves of TensorBoard: clips as the network sees them, and the confusion matrix."""

import logging
import os
import types

import keras
import tensorflow as tf

from train.reporting.pictures import clips_picture, confusion_picture
from train.reporting.shown_clips import training_clips, words_of
from train.scoring.measures import confusion_matrix

_logger = logging.getLogger(__name__)

_CLIPS = 8


class Pictures(keras.callbacks.Callback):
    """Shows the first training clips when a run begins, and the confusion matrix of each validation.

    Nothing that it does changes the run, and what fails in it is a warning. Of several workers, the chief has
    it. It stands behind the callback that validates.

    Args:
        run: The `RunState`.
    """

    def __init__(self, run):
        super().__init__()
        self._run = run
        # A folder of its own: TensorBoard reads the newest file of a folder alone.
        self._folder = os.path.join(run.config.workdir, "tensorboard", "pictures")

    def on_train_begin(self, logs=None):
        """Shows clips of the first step."""
        if self._run.step == 0:
            self._write("clips", self._clips, 0)

    def on_epoch_end(self, epoch, logs=None):
        """Shows the confusion matrix of the validation."""
        if not self._run.config.multi_label:
            self._write("confusion_matrix", self._matrix, epoch)

    def flush(self):
        """Does nothing, as each picture is written at once."""

    def close(self):
        """Does nothing, as no file is open."""

    def _write(self, name, make, step):
        try:
            writer = tf.summary.create_file_writer(self._folder)
            with writer.as_default(step):
                tf.summary.image(name, tf.io.decode_png(make())[None])
            writer.close()
        except Exception as error:
            _logger.warning("The picture %s cannot be written: %s. The run goes on.", name, error)

    def _clips(self):
        clips = training_clips(self._run.config, self._run.data, _CLIPS, _NO_ACCOUNT)
        words = [words_of(clip, self._run.data.classes) for clip in clips]
        return clips_picture([clip.pixels for clip in clips], words)

    def _matrix(self):
        scores = self._run.validated
        return confusion_picture(confusion_matrix(scores.logits, scores.labels), scores.classes)


def _nothing(*arguments):
    pass


# The run itself comes to the same videos, and enters them then.
_NO_ACCOUNT = types.SimpleNamespace(use=_nothing, replace=_nothing, add=_nothing, check=_nothing, path=str)
