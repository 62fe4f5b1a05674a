"""Keras's and KerasCV's random image layers on clips, with one draw per clip.

If the frames of a clip are a batch, these layers draw anew for each frame. But drawing and applying are two
methods: `get_random_transformation` and `transform_images` in Keras 3, `get_random_transformation_batch` and
`augment_images`, or `get_random_transformation` and `augment_image`, in KerasCV 0.9. The adapter calls the
first method once and the second one for all frames.
"""

import tensorflow as tf

# These layers mix images with each other, and labels with them.
_MIXERS = ("CutMix", "FourierMix", "MixUp", "Mosaic", "RepeatedAugmentation")
# These layers of KerasCV draw which operations to apply while they transform.
_CHOOSERS = ("AugMix", "RandAugment", "RandomApply", "RandomAugmentationPipeline", "RandomChoice")


def clip_consistent(layer):
    """Returns an image layer with random parameters as a function on clips.

    Args:
        layer: An image layer of Keras 3 (on TensorFlow) or KerasCV 0.9, for levels of 0-255 where it
            asks for a `value_range`. Its own generator gives the draws, so they repeat only as far as the
            layer's `seed` makes them; the operations of `pipelines.augmenting` take a seed for each clip
            instead.

    Returns:
        Function from a clip [T, H, W, 3], or from clips [B, T, H, W, 3] with a draw for each, to what the
        layer makes of them: as many frames of the same dtype, where integers are rounded. Layers that
        compute statistics of an image, such as a contrast, do so for each frame.

    Raises:
        ValueError: The layer is no image layer, mixes images, or draws in a method that also transforms.

    Example, for a `tf.data.Dataset` of clips:

        clips = clips.map(clip_consistent(keras.layers.RandomRotation(0.1)))

    Differs: two layers of Keras draw while they transform, so they get all frames as one image.
    `RandomColorJitter` gets them one above the other, so its contrast is about the mean of the clip.
    `RandomElasticTransform`, which moves all channels alike, gets them as channels; T, H and W have to be
    known. `keras.layers.AugMix` chooses its operations when a graph is traced: in `tf.data` they stay the
    same, and only their strengths change.
    """
    transform = _transform_of(layer)
    if transform is None:
        raise ValueError(
            "Expected a layer that draws a transformation and then applies it to images. Received "
            f"{type(layer).__name__}. Try: the layers that it is made of, one by one; "
            "pipelines.augmenting.mixing or pipelines.augmenting.rand_augment."
        )

    def transform_clip(clip):
        result = transform(layer, tf.cast(clip, layer.compute_dtype))
        if clip.dtype.is_integer and not result.dtype.is_integer:
            result = tf.saturate_cast(tf.round(result), clip.dtype)
        return tf.cast(result, clip.dtype)

    def transform_clips(clips):
        clips = tf.convert_to_tensor(clips)
        if clips.shape.rank == 4:
            return transform_clip(clips)
        if clips.shape.rank == 5:
            return tf.map_fn(transform_clip, clips)
        raise ValueError(
            "Expected a clip [T, H, W, 3] or clips [B, T, H, W, 3]. Received a tensor of shape "
            f"{clips.shape}. Try: add an axis for the frames."
        )

    return transform_clips


def _transform_of(layer):
    """Returns the function (layer, clip) -> clip for the protocol that the layer has, or None."""
    name = type(layer).__name__
    if name in _MIXERS or (name in _CHOOSERS and hasattr(layer, "augment_image")):
        return None
    if name in _AS_ONE_IMAGE:
        return _AS_ONE_IMAGE[name]
    protocols = {
        ("get_random_transformation", "transform_images"): _keras,
        ("get_random_transformation_batch", "augment_images"): _keras_cv_batch,
        ("get_random_transformation", "augment_image"): _keras_cv_image,
    }
    for methods, transform in protocols.items():
        if all(hasattr(layer, method) for method in methods):
            return transform
    return None


def _keras(layer, clip):
    transformation = layer.get_random_transformation(clip[:1], training=True)
    return layer.transform_images(clip, transformation, training=True)


def _keras_cv_batch(layer, clip):
    drawn = layer.get_random_transformation_batch(1, images=clip[:1])
    drawn = tf.nest.map_structure(lambda one: tf.repeat(one, tf.shape(clip)[0], axis=0), drawn)
    return layer.augment_images(clip, transformations=drawn)


def _keras_cv_image(layer, clip):
    drawn = layer.get_random_transformation(image=clip[0])
    return tf.map_fn(lambda frame: layer.augment_image(frame, transformation=drawn), clip)


def _one_above_the_other(layer, clip):
    shape = tf.shape(clip)
    image = tf.reshape(clip, [1, shape[0] * shape[1], shape[2], shape[3]])  # [1, T*H, W, 3]
    return tf.ensure_shape(tf.reshape(layer(image, training=True), shape), clip.shape)


def _as_channels(layer, clip):
    if not clip.shape.is_fully_defined():
        raise ValueError(
            f"Expected clips of a known shape for {type(layer).__name__}. Received {clip.shape}. "
            "Try: tf.ensure_shape(clip, (8, 256, 340, 3)), or whatever it is."
        )
    frames, height, width, channels = clip.shape
    image = tf.reshape(tf.transpose(clip, (1, 2, 0, 3)), (1, height, width, frames * channels))
    moved = layer(image, training=True)  # [1, H, W, T*3]
    moved = tf.reshape(moved, (height, width, frames, channels))
    return tf.transpose(moved, (2, 0, 1, 3))  # [T, H, W, 3]


# Keras's layers that draw while they transform -> the function by which they draw once for a clip.
_AS_ONE_IMAGE = {"RandomColorJitter": _one_above_the_other, "RandomElasticTransform": _as_channels}
