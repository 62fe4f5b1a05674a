"""What a served model takes and gives: pixels in, class probabilities and names out."""

import numpy as np
import tensorflow as tf


def preprocess(clip, size, mean, std):
    """Scales the short side, cuts the centre square and normalises.

    The pixels are, to the last bit, those of the pipelines for evaluation: bilinear, antialiased and rounded
    to whole levels, as Pillow's BILINEAR. Only the pixels of the square are computed, however long the long
    side is.

    Args:
        clip: uint8 [B, T, H, W, 3], RGB; any H and W.
        size: Side of the square in pixels.
        mean: Three channel means, in grey levels of 0-255.
        std: Three channel standard deviations, in the same unit.

    Returns:
        float32 [B, T, size, size, 3].
    """
    shape = tf.shape(clip)
    frames = tf.reshape(clip, (-1, shape[2], shape[3], 3))  # [B*T, H, W, 3]
    scaled = tf.cast(tf.round(shape[2:4] * size / tf.reduce_min(shape[2:4])), tf.int32)
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=frames,
        size=[size, size],
        scale=tf.cast(scaled / shape[2:4], tf.float32),
        translation=-tf.cast((scaled - size) // 2, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )
    levels = tf.floor(tf.reshape(pixels, (shape[0], shape[1], size, size, 3)) + 0.5)
    # A product, not a quotient, as the pipelines do it.
    return (levels - tf.constant(mean, tf.float32)) * tf.constant(1 / np.array(std), tf.float32)


def classify(model, serving):
    """Returns the function behind `serving_default`.

    Args:
        model: Keras model from normalised clips [B, T, size, size, 3] to logits [B, K].
        serving: Dictionary with `classes` (K names), `frames` (T), `size` (pixels), `mean` and `std`;
            `activation` makes probabilities of logits, "sigmoid" or "softmax", which it is by default.

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

    activation = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}[serving.get("activation", "softmax")]

    @tf.function(
        input_signature=[tf.TensorSpec((None, serving["frames"], None, None, 3), tf.uint8, name="clip")]
    )
    def serving_default(clip):
        with tf.control_dependencies([_check_shape(clip, serving["frames"])]):
            pixels = preprocess(clip, serving["size"], serving["mean"], serving["std"])
        logits = model(pixels, training=False)
        names = tf.tile(tf.constant(serving["classes"])[None], (tf.shape(clip)[0], 1))
        return {"probabilities": activation(tf.cast(logits, tf.float32)), "classes": names}

    return serving_default


def _check_shape(clip, frames):
    """Returns the operation that refuses clips of another shape: TF Serving does not compare it itself."""
    shape = tf.shape(clip)
    fits = tf.reduce_all(tf.equal(tf.gather(shape, [1, 4]), [frames, 3]) & (tf.gather(shape, [2, 3]) > 0))
    words = f"Expected clips [B, {frames}, H, W, 3] of uint8. Received the shape"
    return tf.debugging.Assert(fits, [words, shape, f"Try: {frames} frames of each video, in RGB."])
