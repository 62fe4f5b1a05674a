"""Keras's random image layers through the adapter: all frames alike, clips different."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.augmenting.layer_adapter import clip_consistent

LAYERS = {
    "AugMix": {},
    "AutoContrast": {},
    "Equalization": {},
    "RandAugment": {},
    "RandomBrightness": {"factor": 0.5},
    "RandomColorDegeneration": {"factor": 0.9},
    "RandomColorJitter": {"brightness_factor": 0.5, "contrast_factor": 0.5, "hue_factor": 0.3},
    "RandomContrast": {"factor": 0.5},
    "RandomCrop": {"height": 16, "width": 12},
    "RandomElasticTransform": {"factor": 1.0, "scale": 1.0},
    "RandomErasing": {"factor": 1.0},
    "RandomFlip": {},
    "RandomGaussianBlur": {"factor": 1.0, "kernel_size": 5, "sigma": (0.2, 1.0)},
    "RandomGrayscale": {"factor": 0.5},
    "RandomHue": {"factor": 0.5},
    "RandomInvert": {"factor": 0.5},
    "RandomPerspective": {"factor": 1.0, "scale": 0.5},
    "RandomPosterization": {"factor": 2},
    "RandomRotation": {"factor": 0.5},
    "RandomSaturation": {"factor": 0.9},
    "RandomSharpness": {"factor": 0.9},
    "RandomShear": {"x_factor": 0.5, "y_factor": 0.5},
    "RandomTranslation": {"height_factor": 0.3, "width_factor": 0.3},
    "RandomZoom": {"height_factor": 0.5},
    "Solarization": {"addition_factor": 0.5, "threshold_factor": 0.5},
}
# They draw nothing: RandomPosterization has one number of bits.
ALWAYS_THE_SAME = ("AutoContrast", "Equalization", "RandomPosterization")


def still(num_frames=3):
    """uint8 [T, 24, 20, 3], one smooth picture in all frames."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype("float32")
    picture = tf.cast(tf.image.resize(coarse, (24, 20)), tf.uint8)
    return tf.repeat(picture[None], num_frames, axis=0)


def assert_frames_are_alike(clip):
    np.testing.assert_array_equal(clip, np.broadcast_to(clip[:1], clip.shape))


def test_every_random_layer_of_keras_is_tried():
    random = {name for name in dir(keras.layers) if name.startswith("Rand")}
    assert random <= set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_treats_all_frames_alike_and_each_clip_anew(name):
    function = clip_consistent(getattr(keras.layers, name)(**LAYERS[name]))
    clips = [clip.numpy() for clip in tf.data.Dataset.from_tensors(still()).repeat(20).map(function)]
    for clip in clips:
        assert clip.dtype == np.uint8 and clip.shape[0] == 3
        assert_frames_are_alike(clip)
    assert any((clip != clips[0]).any() for clip in clips) == (name not in ALWAYS_THE_SAME)


@pytest.mark.parametrize("name", ["RandomFlip", "RandomRotation", "RandomBrightness", "RandomColorJitter"])
def test_clips_of_a_batch_have_draws_of_their_own(name):
    function = clip_consistent(getattr(keras.layers, name)(**LAYERS[name], seed=1))
    result = function(tf.repeat(still()[None], 8, axis=0)).numpy()
    assert result.shape == (8, 3, 24, 20, 3)
    for clip in result:
        assert_frames_are_alike(clip)
    assert len({clip.tobytes() for clip in result}) > 1


def test_the_frames_of_a_moving_clip_get_the_transformation_of_the_first():
    clip = tf.random.stateless_uniform((5, 8, 8, 3), (0, 0), 0, 256, tf.int32)
    function = clip_consistent(keras.layers.RandomFlip("horizontal", seed=0))
    seen = set()
    for _ in range(12):
        result = function(tf.cast(clip, tf.float32))
        assert result.dtype == tf.float32
        mirrored = (result.numpy() != clip.numpy()).any()
        np.testing.assert_array_equal(result, clip[:, :, ::-1] if mirrored else clip)
        seen.add(mirrored)
    assert seen == {True, False}


def test_integers_are_rounded_and_kept_in_range():
    class Lighter(keras.layers.RandomBrightness):
        def transform_images(self, images, transformation, training=True):
            return tf.cast(images, tf.float32) + 100.6

    result = clip_consistent(Lighter(0.5))(tf.constant([[[[0, 100, 200]]]], tf.uint8))
    assert result.numpy().ravel().tolist() == [101, 201, 255]


class OneForABatch:
    """The protocol of KerasCV's vectorized layers: adds what was drawn for each image."""

    compute_dtype = "float32"

    def get_random_transformation_batch(self, batch_size, images=None):
        assert images.shape[0] == batch_size == 1 and images.dtype == tf.float32
        return {"added": tf.random.uniform((batch_size, 1, 1, 1), 1, 20)}

    def augment_images(self, images, transformations):
        assert transformations["added"].shape[0] == images.shape[0]
        return images + transformations["added"]


class OneForAnImage:
    """The protocol of KerasCV's other layers."""

    compute_dtype = "float32"

    def get_random_transformation(self, image=None):
        assert image.shape.rank == 3
        return tf.random.uniform((), 1, 20)

    def augment_image(self, image, transformation):
        return image + transformation


@pytest.mark.parametrize("layer", [OneForABatch(), OneForAnImage()])
def test_layers_with_the_protocols_of_keras_cv(layer):
    clip = tf.cast(still(), tf.float32)
    added = [clip_consistent(layer)(clip) - clip for _ in range(4)]
    for one in added:
        np.testing.assert_allclose(one, np.broadcast_to(one[0, 0, 0, 0], one.shape), atol=1e-4)
    assert len({round(float(one[0, 0, 0, 0]), 3) for one in added}) == 4


def of_keras_cv(name):
    return type(name, (OneForAnImage,), {})()


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.MixUp(),
        keras.layers.CutMix(),
        keras.layers.Dense(3),
        *map(of_keras_cv, ("AugMix", "RandAugment", "RandomChoice", "FourierMix")),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_cannot_be_held_is_refused(layer):
    with pytest.raises(ValueError, match=rf"Received {type(layer).__name__}. Try: .*augmenting.mixing"):
        clip_consistent(layer)


def test_a_picture_is_no_clip():
    with pytest.raises(ValueError, match=r"Received a tensor of shape \(24, 20, 3\). Try: add an axis"):
        clip_consistent(keras.layers.RandomFlip())(still()[0])


def test_an_elastic_transform_moves_every_frame_by_one_field():
    # Red and green tell the place, blue the frame.
    clip = np.zeros((3, 24, 20, 3), np.float32)
    clip[..., 0], clip[..., 1] = 10 * np.arange(24)[:, None], 12 * np.arange(20)
    clip[..., 2] = 100 * np.arange(3)[:, None, None]
    layer = keras.layers.RandomElasticTransform(1.0, 1.0, seed=0)
    result = clip_consistent(layer)(clip).numpy()
    assert_frames_are_alike(result[..., :2])
    assert np.abs(result - clip)[..., :2].max() > 5
    np.testing.assert_allclose(result[..., 2], clip[..., 2], atol=1e-3)


def test_an_elastic_transform_needs_to_know_the_shape():
    function = tf.function(
        clip_consistent(keras.layers.RandomElasticTransform(1.0)),
        input_signature=[tf.TensorSpec((None, 24, 20, 3))],
    )
    with pytest.raises(ValueError, match=r"Received \(None, 24, 20, 3\). Try: tf.ensure_shape"):
        function.get_concrete_function()


def test_the_colour_jitter_of_keras_keeps_the_frames_in_order():
    clip = tf.random.stateless_uniform((4, 6, 5, 3), (0, 0), 60, 180)
    layer = keras.layers.RandomColorJitter(brightness_factor=0.1, seed=0)
    added = (clip_consistent(layer)(clip) - clip).numpy()
    np.testing.assert_allclose(added, np.full(added.shape, added[0, 0, 0, 0]), atol=1e-3)
    assert abs(added).max() > 0.1
