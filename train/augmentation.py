"""What is done to the pixels of a training clip: its crop, and then what the flags add."""

import functools

import tensorflow as tf

from pipelines.augmenting import colour, crops, erasing, rand_augment

# The name of a training crop -> function (config) -> function (frames, seed) -> clip.
_CROPS = {
    "multi_scale": lambda config: functools.partial(
        crops.multi_scale_crop, size=config.crop, scales=config.crop_scales
    ),
    "scale_jitter": lambda config: functools.partial(
        crops.scale_jitter_crop, size=config.crop, short_sides=config.jitter_sides
    ),
    "random_resized": lambda config: functools.partial(
        crops.random_resized_crop, size=config.crop, area=config.crop_area
    ),
}


def training_transform(config):
    """Returns the function (uint8 frames, seed) -> uint8 clip that crops, and augments as the flags say."""
    steps = [_CROPS[config.crop_method](config)]
    if config.rand_augment_layers:
        layers, magnitude = config.rand_augment_layers, config.rand_augment_magnitude
        steps.append(functools.partial(rand_augment.rand_augment, num_layers=layers, magnitude=magnitude))
    if config.colour_jitter:
        strength = dict.fromkeys(("brightness", "contrast", "saturation"), config.colour_jitter)
        steps.append(functools.partial(colour.colour_jitter, hue=config.colour_jitter / 4, **strength))
    if config.erasing:
        steps.append(functools.partial(erasing.random_erasing, probability=config.erasing))

    def transform(frames, seed):
        for step, step_seed in zip(steps, tf.unstack(tf.random.split(seed, len(steps))), strict=True):
            frames = step(frames, seed=step_seed)
        return frames

    return transform
