"""What a served model takes and gives: pixels in, class probabilities and names out."""

import numpy as np
import tensorflow as tf

from keras_nonlocal.windows import windowed

_MOST_PIXELS = 2**22  # As in the pipelines: a clip of 16 x 16000 pixels must not become one of gigabytes.
_ACTIVATIONS = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}


def preprocess(clip, size, mean, std, short_side=0, whole=False):
    """Scales the short side, cuts the centre square unless it takes the whole frame, and normalises.

    The pixels are, to the last bit, those of the pipelines for evaluation: bilinear, antialiased and rounded
    to whole levels, as Pillow's BILINEAR. Only the pixels of the square are computed, however long the long
    side is. Frames whose short side has the wanted length are cut as they are.

    Args:
        clip: uint8 [B, T, H, W, 3], RGB; any H and W.
        size: Side of the square in pixels.
        mean: Three channel means, in grey levels of 0-255.
        std: Three channel standard deviations, in the same unit.
        short_side: Pixels to which the short side is scaled, at least `size`; 0 for `size`.
        whole: Whether the frames are not cut.

    Returns:
        float32 [B, T, size, size, 3], or [B, T, H', W', 3] of whole frames. It fails with
        `tf.errors.InvalidArgumentError` for whole frames that would have more than 2^22 pixels.
    """
    shape, short_side = tf.shape(clip), short_side or size
    frames = tf.reshape(clip, (-1, shape[2], shape[3], 3))  # [B*T, H, W, 3]
    scaled = tf.cast(tf.round(shape[2:4] * short_side / tf.reduce_min(shape[2:4])), tf.int32)
    sides = _at_most(scaled) if whole else tf.constant([size, size])
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=frames,
        size=sides,
        scale=tf.cast(scaled / shape[2:4], tf.float32),
        translation=-tf.cast((scaled - sides) // 2, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )
    levels = tf.floor(tf.reshape(pixels, tf.concat([shape[:2], sides, [3]], 0)) + 0.5)
    levels = tf.ensure_shape(levels, (None, clip.shape[1], *((None, None) if whole else (size, size)), 3))
    # A product, not a quotient, as the pipelines do it.
    return (levels - tf.constant(mean, tf.float32)) * tf.constant(1 / np.array(std), tf.float32)


def _at_most(sides):
    """Returns the sides of whole frames; in graphs, ones that are too large fail when it runs."""
    words = f"pixels of a scaled frame are above the limit of {_MOST_PIXELS:,}; try shorter long sides"
    pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
    with tf.control_dependencies([tf.debugging.Assert(pixels <= _MOST_PIXELS, [pixels, words])]):
        return tf.identity(sides)


def classify(model, serving):
    """Returns the function behind `serving_default`.

    Args:
        model: Keras model from normalised clips [B, T, size, size, 3] to logits [B, K].
        serving: What serving.json says: `classes` (K names), `frames` (T), `size` (pixels), `mean` and
            `std`; and where it has them, `short_side` (pixels) and `whole`, see `preprocess`, the side of the
            `window` in which the clip is classified (see `keras_nonlocal.windows`; 0 for the clip as one),
            and the `activation`, "softmax" or "sigmoid".

    Returns:
        `tf.function`: uint8 `clip` [B, T, H, W, 3] -> {`probabilities`: float32 [B, K], `classes`:
        string [B, K]}, both in the order of the labels. It fails with `tf.errors.InvalidArgumentError` for
        clips of another number of frames, without pixels, or not of three channels.

    Raises:
        ValueError: The model's output does not fit the number of class names.
    """
    if model.output_shape[-1] != len(serving["classes"]):
        raise ValueError(
            f"Expected a model of {len(serving['classes'])} classes, as serving.json names. Received one of "
            f"{model.output_shape[-1]}. Try: model.keras and serving.json of the same run."
        )

    activation, window = serving.get("activation", "softmax"), serving.get("window", 0)
    network = windowed(model, window, activation) if window else model
    cut = {name: serving[name] for name in ("short_side", "whole") if name in serving}

    @tf.function(
        input_signature=[tf.TensorSpec((None, serving["frames"], None, None, 3), tf.uint8, name="clip")]
    )
    def serving_default(clip):
        with tf.control_dependencies([_check_shape(clip, serving["frames"])]):
            pixels = preprocess(clip, serving["size"], serving["mean"], serving["std"], **cut)
        logits = network(pixels, training=False)
        names = tf.tile(tf.constant(serving["classes"])[None], (tf.shape(clip)[0], 1))
        probabilities = _ACTIVATIONS[activation](tf.cast(logits, tf.float32))
        return {"probabilities": probabilities, "classes": names}

    return serving_default


def _check_shape(clip, frames):
    """Returns the operation that refuses clips of another shape: TF Serving does not compare it itself."""
    shape = tf.shape(clip)
    fits = tf.reduce_all(tf.equal(tf.gather(shape, [1, 4]), [frames, 3]) & (tf.gather(shape, [2, 3]) > 0))
    words = f"Expected clips [B, {frames}, H, W, 3] of uint8. Received the shape"
    return tf.debugging.Assert(fits, [words, shape, f"Try: {frames} frames of each video, in RGB."])
