"""The test protocol: the views of a video by which a model is evaluated, and the model that takes them."""

import dataclasses

import tensorflow as tf

from keras_nonlocal.architecture import DEPTHS, TEMPORAL_KINDS, TOPOLOGIES, stage_maps
from keras_nonlocal.windows import windowed
from pipelines.dataset import ClipFormat, evaluation_views
from pipelines.order import WHOLE
from train.data import samplers
from train.network import refused
from train.origin import NetworkError


def view_arguments(config):
    """Returns the arguments of `pipelines.dataset.evaluation_views` that say which views a video has."""
    return {
        "clip_format": ClipFormat(config.clip_frames, config.test_size, config.mean, config.std),
        "sample": samplers(config)[1],
        "clips": config.test_clips,
        "crops": config.test_crops,
        "short_side": config.test_short_side,
        "places": config.test_crop_places,
    }


def centre_view(config):
    """Returns the configuration in which a video has one view, the centre of its middle clip.

    Each epoch is validated by it, and reports show it, whatever the protocol of the evaluation is.
    """
    protocol = {"test_crop_places": "ends", "test_starts": "even", "test_pooling": "logits"}
    return dataclasses.replace(config, test_clips=1, test_crops=1, **protocol)


_POOLED = {
    "logits": "the mean of the logits",
    "probabilities": "the mean of the probabilities",
    "max": "the largest probability",
}


def in_words(config):
    """Returns which views a video has, and what its scores are of theirs, in words.

    Example:
        >>> from train.config import Config
        >>> in_words(Config(test_size=224, test_short_side=256, test_crops=1))
        ('10 clips x 1 crops of 224 pixels, from a short side of 256', 'the mean of the logits')
    """
    short_side, words = config.test_short_side or config.test_size, f"{config.test_clips} clips x "
    if config.test_crop_places == "whole":
        words += f"the whole frame, its short side of {short_side} pixels"
    else:
        words += f"{config.test_crops} crops of {config.test_size} pixels"
        words += f", from a short side of {short_side}" * (short_side != config.test_size)
    return words, _POOLED[config.test_pooling]


def check_views(config):
    """Raises NetworkError if a block refuses the map of a view; of whole frames it has to take any."""
    side, whole = config.test_size, config.test_crop_places == "whole"
    short = (config.test_short_side or side) if whole else side
    for long in (short, short + 32) if whole else (short,):
        if error := refused(config, short, long):
            text, _, remedy = str(error).rpartition(" Try: ")
            remedy = "--test_crop_places=ends" if whole else remedy
            what = "whole frames" if whole else f"--test_size={side}"
            raise NetworkError(
                f"--block refuses maps of {what}, as of {short} x {long}: {text} Try: {remedy}"
            )


def window_of(config):
    """Returns the side of the windows in which views are classified, see `keras_nonlocal.windows`, or 0.

    It is the side of a training clip's last map, and 0 where a view is classified as one: where logits are
    averaged, as the features may then be averaged before, or where its map is not larger.
    """
    kind, whole = TEMPORAL_KINDS[config.temporal], config.test_crop_places == "whole"
    of_view = (config.test_short_side or config.test_size) if whole else config.test_size
    shape = DEPTHS[config.depth], TOPOLOGIES[config.topology or kind.topology], config.clip_frames
    sides = [stage_maps(*shape, side, side)["res5"][1] for side in (config.crop, of_view)]
    if config.test_pooling == "logits" or (sides[1] <= sides[0] and not whole):
        return 0
    return min(sides)


def model_of_views(model, config):
    """Returns the model that gives the logits of views, which shares the weights of `model`."""
    side = window_of(config)
    if not side:
        return model
    with model.distribute_strategy.scope():
        return windowed(model, side, config.activation)


def serving_of(config, classes):
    """Returns what serving.json says: how a served clip becomes one view, and this one probabilities.

    Its `size` and `short_side` are in pixels, and `window` is that of `window_of`.
    """
    return {
        "classes": classes,
        "frames": config.clip_frames,
        "size": config.test_size,
        "short_side": config.test_short_side or config.test_size,
        "whole": config.test_crop_places == "whole",
        "window": window_of(config),
        "activation": config.activation,
        "mean": config.mean,
        "std": config.std,
    }


def view_slots(config, devices=1, part=WHOLE):
    """Returns how many views a video has in `evaluation_clips`, and how many of them are in a batch.

    Whole frames of two videos do not fit into one batch, so that blank views fill up those of each video.
    The arguments are those of `evaluation_clips`. Elsewhere there are no blank ones before the last batch,
    and its size depends on the count of all views: None.
    """
    count = config.test_clips * config.test_crops
    if config.test_crop_places != "whole":
        return count, None
    size = _batch_size(config, count, devices, part)
    return -(-count // size) * size, size


def _batch_size(config, views, devices, part):
    """Returns the size of equal batches, of which there are as few as --batch_size allows."""
    num_batches = -(-views * part.count // config.batch_size)
    return -(-views // (num_batches * devices)) * devices


def evaluation_clips(config, source, account, devices=1, part=WHOLE, done=0):
    """Returns the batches of the views by which a model is evaluated, see `evaluation_views`.

    Args:
        config: A `Config`.
        source: The source of the videos.
        account: The `Account` of the source's manifest.
        devices: How many share a batch; blank views fill up the last one, and all have one size.
        part: The `Part` of the videos, where several workers share them, and each batch.
        done: The count of the part's first views that are left out; all those of some videos for whole
            frames.
    """
    rows, (slots, batch_size) = part.range(len(source.manifest)), view_slots(config, devices, part)
    videos, more = divmod(done, config.test_clips * config.test_crops)
    views = range((rows.start + videos) * slots + more, rows.stop * slots)
    return evaluation_views(
        source,
        **view_arguments(config),
        batch_size=batch_size or _batch_size(config, len(views), devices, part),
        account=account,
        slots=slots,
        fill=True,
        views=views,
        workers=config.workers or tf.data.AUTOTUNE,
    )
