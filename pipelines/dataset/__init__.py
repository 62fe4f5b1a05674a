"""Data sets of `tf.data`: the only place where videos, clips and augmentation meet.

A source has a `manifest`, the frame rate `fps` at which clips are sampled, and a function
`fetch(row, sample, draws, transform)`, see `pipelines.video_files.VideoFiles.fetch`. It is Python where
`needs_python` is true, else it adds operations to a graph. A source keeps no account: the videos that it
could not read are entered here.

`training` makes batches of random clips, `evaluation` makes all views of every video.
"""

from pipelines.dataset.clip_format import ClipFormat
from pipelines.dataset.evaluation import evaluation_views
from pipelines.dataset.python_calls import iterators_ended_on_error
from pipelines.dataset.training import check_training, training_clips

__all__ = [
    "ClipFormat",
    "check_training",
    "evaluation_views",
    "iterators_ended_on_error",
    "training_clips",
]
