"""Labels of clips inside graphs: a class, or a vector of zeros and ones. A flip may change them."""

import numpy as np
import tensorflow as tf

_TOLERANCE_SECONDS = 1e-3


def check_flip(manifest, flip):
    """Raises ValueError if flips would make labels wrong.

    Raises:
        ValueError: The data set names directions and has no map of its labels.
    """
    if flip and manifest.directional and not manifest.mirrored:
        raise ValueError(
            "Expected no flips, or a map of the labels that they change, as this data set names directions. "
            "Received flip=True and no map. Try: flip=False, or `mirrored` in the manifest."
        )


def clip_labels(manifest, vectors=False):
    """Returns the function that gives clips of a manifest their labels.

    Args:
        manifest: A `Manifest` of N videos and K classes.
        vectors: Whether the labels are vectors even if each video has one label.

    Returns:
        Function (row, seconds, flips [R]) -> labels of R clips of one video: int32 [R], or float32 [R, K]
        for vectors and if a video may have several labels. `seconds`, float32 [T], are the times of the
        clips' frames: a label counts if its span holds one of them. If it is None, every label counts.
    """
    mirrored = tf.constant(manifest.mirrored or range(len(manifest.classes)), tf.int32)
    if not (manifest.multi_label or vectors):
        numbers = tf.constant([video.label for video in manifest.videos], tf.int32)
        return lambda row, seconds, flips: tf.where(flips, mirrored[numbers[row]], numbers[row])

    # Spans have a tolerance, as times are rounded to float32 and a span may be one instant.
    spans = tf.RaggedTensor.from_row_lengths(
        np.array([_span(label) for video in manifest.videos for label in video.labels]).reshape(-1, 3),
        [len(video.labels) for video in manifest.videos],
    )  # [N, (labels), 3]

    def vectors_of(row, seconds, flips):
        numbers, first, last = tf.unstack(spans[row], axis=1)
        counts = tf.ones_like(numbers, tf.bool)
        if seconds is not None:
            times = tf.cast(seconds, tf.float64)
            inside = (first[:, None] <= times) & (times < last[:, None])  # [labels, T]
            counts = tf.reduce_any(inside, axis=1)
        numbers = tf.cast(tf.boolean_mask(numbers, counts), tf.int32)
        numbers = tf.where(flips[:, None], tf.gather(mirrored, numbers), numbers)  # [R, labels]
        return tf.minimum(tf.reduce_sum(tf.one_hot(numbers, len(manifest.classes)), axis=1), 1)  # [R, K]

    return vectors_of


def _span(label):
    start = -np.inf if label.start is None else label.start - _TOLERANCE_SECONDS
    end = np.inf if label.end is None else label.end - _TOLERANCE_SECONDS
    return label.number, start, max(end, start + 2 * _TOLERANCE_SECONDS)
