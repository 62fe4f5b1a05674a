"""Scores of an evaluation: the same for any number of devices, videos left over and sizes of batches."""

import ast
import dataclasses
import re
import time

import keras
import numpy as np
import pytest
import small_run
import tensorflow as tf

from pipelines.account import Account
from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import Clip
from pipelines.manifest import Label, Manifest, Video
from pipelines.order import Part
from pipelines.video_files import VideoFiles
from train.config import Config
from train.data import evaluation_clips, samplers
from train.loop import DeviceError, check_devices
from train.scoring.evaluation import Progress, evaluate, video_logits
from train.scoring.measures import accuracy, cross_entropy

# One program for all counts of devices, as TensorFlow is told of them once. Its network has a Conv3D, whose
# CPU kernel gives an empty batch a wrong shape.
DEVICES = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
from pipelines.account import Account
from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import Clip
from pipelines.manifest import Label, Manifest, Video
from pipelines.video_files import VideoFiles
from train.config import Config
from train.scoring.evaluation import evaluate

def decode(path, choose, transform):
    if path == "1":
        raise BadVideo(path, "made to fail")
    chosen = choose(np.arange(9) / 10)
    frames = np.random.default_rng([int(path), *chosen]).integers(256, size=(len(chosen), 12, 16, 3))
    return Clip(np.stack([transform(frame) for frame in frames.astype(np.uint8)]), chosen / 10)

config = Config(clip_frames=2, test_size=8, crop=8, test_clips=1, test_crops=1, batch_size=6)
for devices in (1, 2, 3):
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{n}" for n in range(devices)], tf.distribute.HierarchicalCopyAllReduce()
    )
    with strategy.scope():
        keras.utils.set_random_seed(1)
        clip = keras.Input((2, 8, 8, 3))
        hidden = keras.layers.GlobalMaxPooling3D()(keras.layers.Conv3D(8, 3, padding="same")(clip))
        model = keras.Model(clip, keras.layers.Dense(7)(hidden))
    for videos in (2, *range(7, 13)):
        manifest = Manifest(tuple(Video(str(n), (Label(n % 7),)) for n in range(videos)), tuple("abcdefg"))
        scores = evaluate(model, VideoFiles(manifest, decode), config, Account(manifest), verbose=0)
        print("scores", devices, videos, scores["videos"], scores["top1"], scores["top5"], scores["loss"])
"""


@pytest.mark.long
def test_scores_do_not_depend_on_the_number_of_devices():
    process = small_run.run_python("-c", DEVICES)
    assert process.returncode == 0, process.stderr[-3000:]
    found = {}
    for line in re.findall(r"^scores (.*)$", process.stdout, re.MULTILINE):
        devices, videos, *scores = map(ast.literal_eval, line.split())
        found[devices, videos] = scores
    assert len(found) == 3 * 7
    assert len({found[1, videos][-1] for videos in (2, *range(7, 13))}) == 7  # So they can tell.
    for (_, videos), scores in found.items():
        assert scores[0] == videos - 1  # One is bad, and what fills up the batches does not count.
        assert scores[:3] == found[1, videos][:3]
        np.testing.assert_allclose(scores[3], found[1, videos][3], rtol=1e-6)


def grey(path, choose, transform):
    """Decodes a video of nine frames whose grey level is 20 times the frame, plus the video's number."""
    if path == "1":
        raise BadVideo(path, "made to fail")
    chosen = choose(np.arange(9) / 10)
    frames = [np.full((12, 16, 3), 20 * frame + int(path), np.uint8) for frame in chosen]
    return Clip(np.stack([transform(frame) for frame in frames]), chosen / 10)


def squares_model(kernel):
    """A model whose logits are the squares of a clip's mean level, times a kernel."""
    clip = keras.Input((2, 8, 8, 3))
    level = keras.layers.GlobalAveragePooling3D()(clip)[:, :1]
    dense = keras.layers.Dense(len(kernel), use_bias=False)
    model = keras.Model(clip, dense(level * level))
    dense.kernel.assign([kernel])
    return model


def test_logits_are_the_means_over_the_views():
    config = Config(
        clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=2, test_crops=3, batch_size=5
    )
    config = dataclasses.replace(config, mean=(100.0,) * 3, std=(50.0,) * 3)
    manifest = Manifest(tuple(Video(str(n), (Label(n % 3),)) for n in range(4)), tuple("abc"))
    account, kernel = Account(manifest), np.array([1.0, -1.0, 0.5])
    source = VideoFiles(manifest, grey)
    logits, labels = video_logits(squares_model(kernel), source, config, account, verbose=0)
    assert labels.tolist() == [0, 2, 0] and 1 in account  # Of videos 0, 2 and 3.
    clips = np.asarray(samplers(config)[1](9, 2, 2))
    assert len(set(map(tuple, clips))) == 2
    for video, found in zip((0, 2, 3), logits, strict=True):
        views = [((20 * frames + video).mean() - 100) / 50 for frames in clips]
        np.testing.assert_allclose(found, np.square(views).mean() * kernel, rtol=1e-5)


@pytest.mark.parametrize("workers", [2, 3, 7])  # There are four videos.
def test_workers_evaluate_a_range_each(workers, monkeypatch):
    config = Config(
        clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=2, test_crops=3, batch_size=14
    )
    manifest = Manifest(tuple(Video(str(n), (Label(n % 3),)) for n in range(4)), tuple("abc"))
    model, source = squares_model(np.array([1.0, -1.0, 0.5])), VideoFiles(manifest, grey)
    whole, labels = video_logits(model, source, config, Account(manifest), verbose=0)
    told = []

    class Strategy:  # This process's device is one of as many as there are workers.
        num_replicas_in_sync = workers

        def __getattr__(self, name):
            return getattr(tf.distribute.get_strategy(), name)

    class Share(Progress):
        def __init__(self, number):
            super().__init__()
            self.part, self.own = Part(number, workers), []

        def joined(self, values):
            self.own.append(values)
            if self.part.number < workers - 1:
                return np.zeros((4, *values.shape[1:]), values.dtype) + np.ones(1, values.dtype)
            return np.concatenate([share.own[len(self.own) - 1] for share in told])

    monkeypatch.setattr(keras.Model, "distribute_strategy", Strategy())
    for number in range(workers):
        told.append(Share(number))
        found = video_logits(model, source, config, Account(manifest), verbose=0, progress=told[-1])
    np.testing.assert_allclose(found[0], whole, rtol=1e-6)
    assert found[1].tolist() == labels.tolist()
    assert {values.dtype for share in told for values in share.own[:1]} == {np.dtype("float32")}


def test_scores_are_those_of_the_logits():
    config = Config(
        clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=2, test_crops=1, batch_size=2
    )
    labels = {0: 1, 3: 2, 4: 4, 5: 5}
    manifest = Manifest(tuple(Video(str(n), (Label(k),)) for n, k in labels.items()), tuple("abcdefg"))
    model, source = (
        squares_model(np.arange(7.0)),
        VideoFiles(manifest, grey),
    )  # The best class is the last one.
    logits, labels = video_logits(model, source, config, Account(manifest), verbose=0)
    start = time.monotonic()
    scores = evaluate(model, source, config, Account(manifest), verbose=0)
    assert 0 < scores.pop("seconds_per_video") <= (time.monotonic() - start) / 4
    assert scores == {
        "top1": 0.0,
        "top5": 0.75,  # All but the label 1, which comes sixth.
        "loss": pytest.approx(cross_entropy(logits, labels)),
        "videos": 4,
        "clips": 2,
        "crops": 1,
    }


@pytest.mark.parametrize(
    ("devices", "batch_size", "sizes"),
    [(1, 5, [5, 5, 5, 5, 5]), (1, 24, [24]), (1, 100, [24]), (2, 5, [6, 6, 6, 6]), (3, 7, [6] * 4)],
)
def test_sizes_of_the_batches(devices, batch_size, sizes):
    config = Config(clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=2, test_crops=3)
    manifest = Manifest(tuple(Video(str(n), (Label(0),)) for n in (0, 3, 4, 5)), ("a",))
    config = dataclasses.replace(config, batch_size=batch_size)
    batches = evaluation_clips(config, VideoFiles(manifest, grey), Account(manifest), devices)
    assert [len(clips) for clips, _, _ in batches] == sizes


def test_logits_that_are_not_finite_are_counted_and_named():
    config = Config(clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=1, test_crops=1)
    manifest = Manifest(tuple(Video(str(n), (Label(0),)) for n in (0, 40, 3)), ("a",))
    source, model = VideoFiles(manifest, grey), squares_model([1.0])
    logits, _ = video_logits(model, source, config, Account(manifest), verbose=0)
    assert logits[0] > logits[2] > logits[1]
    bound = float(logits[0, 0] + logits[2, 0]) / 2
    infinite = keras.Model(model.input, 1 / keras.ops.relu(model.output - bound))
    words = r"infinity or NaN for 2 of 3 videos, first for 40\. Try: --learning_rate=0\.001, in"
    with pytest.raises(FloatingPointError, match=words):
        video_logits(infinite, source, config, Account(manifest), verbose=0)


def test_the_loss_is_that_of_keras():
    logits = np.array([[3, 2, 1, 0], [0, 1000, 2, 3], [1, 0, -1e4, 2]], np.float32)
    labels = np.array([0, 1, 3])
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    np.testing.assert_allclose(cross_entropy(logits, labels), expected, rtol=1e-6)


def test_accuracy():
    logits = np.array([[3, 2, 1, 0], [0, 1, 2, 3], [1, 0, 3, 2]])
    assert accuracy(logits, np.array([0, 0, 3]), 1) == 1 / 3
    assert accuracy(logits, np.array([0, 0, 3]), 2) == 2 / 3
    assert accuracy(logits, np.array([0, 0, 3]), 5) == 1


@pytest.mark.parametrize(
    ("batch_size", "repeats", "videos", "devices", "remedy"),
    [
        (8, 1, 100, 3, 6),
        (64, 1, 40, 3, 39),
        (1, 1, 5, 2, 2),
        (10, 2, 100, 3, 6),
        (9, 3, 100, 2, 6),
        (7, 1, 6, 8, None),
        (3, 3, 1, 2, None),
    ],
)
def test_batches_that_devices_do_not_divide_are_refused(batch_size, repeats, videos, devices, remedy):
    config = Config(batch_size=batch_size, repeats=repeats)
    with pytest.raises(
        DeviceError, match=rf"multiple of {devices}, .*Received {batch_size}\. Try: "
    ) as caught:
        check_devices(config, videos, devices)
    hint = str(caught.value).rsplit("Try: ", 1)[1]
    if remedy is None:
        assert hint.startswith("CUDA_VISIBLE_DEVICES=0")
    else:
        assert hint == f"--batch_size={remedy}"
        check_devices(dataclasses.replace(config, batch_size=remedy), videos, devices)
        assert remedy <= videos * repeats
