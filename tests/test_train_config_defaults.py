"""What each flag is when it is left out, and between which bounds: a table, for `--help` promises it."""

import dataclasses
import math
import re

import pytest

from train.config import Config

# Name, default, constraint. The docstring of `Config` says whose runs the values are from.
TABLE = """
data_dir                ''
workdir                 ''
train_annotations       ''
val_annotations         ''
max_bad_fraction        0.1                       in [0, 1]
decode_isolation        'none'                    one of none, process
decode_timeout          60.0                      above 0
decoder_megabytes       570                       at least 1
data_service            ''                        grpc://HOST:PORT, or empty
workers                 0                         at least 0
depth                   50                        one of 18, 34, 50, 101, 152
temporal                'tsm'  one of tsm, c2d, i3d_3x1x1, i3d_3x3x3, i3d_3x1x1_alternate, i3d_3x3x3_alternate
topology  ''  one of empty, torchvision, keras, slowfast, fair_8, fair_32, fair_32_1x1, nl_table_1
groups                  1                         at least 1
group_width             64                        at least 1
squeeze_excite_ratio    0                         at least 0
frozen_batch_norm       False
weights                 ''
adapt                   ()                        names among classes, blocks, images, bat, frames, pixels
block                   ('RegionNonLocal',)
blocks                  ('res3_0', 'res3_2', 'res4_0', 'res4_2', 'res4_4')
dropout                 0.5                       in [0, 1)
dtype_policy            'float32'                 one of float32, mixed_float16, mixed_bfloat16
clip_frames             8                         at least 1
sampling                'dense'                   one of dense, segments
window_frames           64
stride                  0                         at least 0
short_videos            'loop'                    one of loop, hold
consensus_clips         1                         at least 1
fps                     0.0                       in [0, 1000]
short_side              256
crop                    224                       at least 1
mean                    (123.675, 116.28, 103.53)  three numbers
std                     (58.395, 57.12, 57.375)   three numbers above 0
crop_method             'multi_scale'             one of multi_scale, scale_jitter, random_resized
crop_scales             (1.0, 0.875, 0.75, 0.66)  fractions in (0, 1]
jitter_sides            (256, 320)
crop_area               (0.08, 1.25)              two rising numbers above 0, the first of at most 1
flip                    True
rand_augment_layers     0                         at least 0
rand_augment_magnitude  9                         in [0, 30]
colour_jitter           0.0                       in [0, 1]
erasing                 0.0                       in [0, 1]
mixup                   0.0                       at least 0
cutmix                  0.0                       at least 0
repeats                 1                         at least 1
optimizer               'sgd'                     one of sgd, adamw
batch_size              64                        at least 1
epochs                  50                        at least 1
steps                   0                         at least 0
learning_rate           0.01                      above 0
base_batch_size         0                         at least 0
schedule                'cosine'                  one of cosine, steps, constant
decay_epochs            ()
decay_steps             ()
decay_factor            0.1                       in [0, 1]
warmup_epochs           5.0                       at least 0
warmup_steps            0                         at least 0
warmup_start            0.1                       in [0, 1]
warmup_by               'step'                    one of step, epoch
warmup_to               'peak'                    one of peak, curve
cosine_after_warmup     True
rates                   ()
freeze                  ()
momentum                0.9                       in [0, 1)
beta2                   0.999                     in [0, 1)
nesterov                False
weight_decay            0.0001                    at least 0
decayed             ('kernels', 'regions')  some of kernels, regions, biases, norms, block_gammas, block_betas
multi_label             False
label_smoothing         0.0                       in [0, 1)
clip_norm               20.0                      at least 0
accumulation            1                         at least 1
ema                     0.0                       in [0, 1)
synchronized_batch_norm  False
partial_batch_norm      False
precise_batch_norm      0                         at least 0
nan_policy              'stop'                    one of stop, rewind
seed                    0                         in [0, 2147483647]
checkpoint_minutes      15.0                      at least 0
checkpoint_steps        0                         at least 0
keep_checkpoints        2                         at least 1
keep_epoch              'last'                    one of last, best
patience_epochs         0                         at least 0
max_minutes             0.0                       at least 0
test_clips              10                        at least 1
test_crops              3                         one of 1, 3
test_size               256                       at least 1
test_short_side         0                         at least 0
test_crop_places        'ends'                    one of ends, thirds, whole
test_starts             'even'                    one of even, fair, middles
test_pooling            'logits'                  one of logits, probabilities, max
"""
ROWS = [re.split(r"\s{2,}", line) for line in TABLE.strip().splitlines()]
# What its own constraint allows and a relation to another field does not.
BESIDE = {
    "crop": {"short_side": 0},
    "repeats": {"batch_size": 1},
    "epochs": {"warmup_epochs": 0.0},
    "clip_frames": {"temporal": "c2d"},
    "beta2": {"optimizer": "adamw"},
    "warmup_steps": {"warmup_epochs": 0.0},
    "warmup_to": {"cosine_after_warmup": False},
}
BESIDE_VALUE = {"steps": {"decay_epochs": (2.0,)}, "whole": {"test_crops": 1}}


def test_every_default_and_constraint_stands_in_the_table():
    shown = [
        [field.name, repr(field.default), *filter(None, [field.metadata["check"].words])]
        for field in dataclasses.fields(Config)
    ]
    assert shown == ROWS


def ends(name, default, words):
    """Returns (values that the words allow, values that they do not) at the ends of a range."""
    step = 1 if isinstance(default, int) else 1e-9
    if match := re.fullmatch(r"in \[(\d+), (\d+)([])])", words):
        low, high = float(match[1]), float(match[2])
        inner = [low, high] if match[3] == "]" else [low, high - step]
        outer = [low - step, high + step * max(1, high)] if match[3] == "]" else [low - step, high]
    elif match := re.fullmatch(r"at least (\d+)", words):
        inner, outer = [float(match[1])], [float(match[1]) - step, math.inf]
    elif match := re.fullmatch(r"above (\d+)", words):
        inner, outer = [float(match[1]) + step], [float(match[1]), math.inf]
    else:
        return [], []
    return [type(default)(value) if math.isfinite(value) else value for value in inner], outer


@pytest.mark.parametrize(("name", "default", "words"), [row for row in ROWS if len(row) == 3])
def test_the_ends_of_each_range(name, default, words):
    inner, outer = ends(name, getattr(Config(), name), words)
    if words.startswith("one of "):
        inner = [word.replace("empty", "") for word in words.removeprefix("one of ").split(", ")]
        inner = [type(getattr(Config(), name))(word) for word in inner]
        outer = [type(getattr(Config(), name))(7)]
    for value in inner:
        beside = BESIDE_VALUE.get(value, BESIDE.get(name, {}))
        config = Config(**{name: value} | beside)
        assert getattr(config, name) == value
    for value in outer:
        with pytest.raises(ValueError, match=rf"(?s)Expected --{name} to be {re.escape(words)}.*Received "):
            Config(**{name: value} | BESIDE.get(name, {}))
