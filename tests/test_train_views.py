"""The test protocol: the same scores by every way, and by loops over views, positions and probabilities."""

import contextlib
import dataclasses
import json
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import small_run
import small_trained
import tensorflow as tf
from absl import flags

from pipelines import synthetic
from pipelines.account import Account
from pipelines.augmenting.resizing import scale_short_side
from pipelines.clips import dense_test_clips
from pipelines.decoding.decode import decode_frames
from pipelines.manifest import read_manifest
from pipelines.video_files import VideoFiles
from savedmodels.signatures import classify
from train import evaluate, predict
from train.config.fields import parse
from train.loop.trainer import Trainer
from train.scoring.evaluation import Progress, video_scores
from train.scoring.measures import pooled
from train.scoring.scores import Scores
from train.scoring.trained import read_trained
from train.scoring.views import centre_view, model_of_views, serving_of, view_slots, window_of

CLASSES = small_trained.CLASSES
FRAMES, SHAPES = (5, 9, 7, 12, 6), ((40, 64), (72, 40), (48, 48), (40, 56), (40, 96))
PROTOCOLS = {
    "crops from a larger side": {"test_size": 32, "test_short_side": 40},
    "thirds": {"test_size": 32, "test_short_side": 40, "test_crop_places": "thirds", "test_pooling": "max"},
    "windows": {"test_size": 64, "test_short_side": 72, "test_pooling": "probabilities"},
    "fair": {"test_size": 64, "test_starts": "fair", "test_clips": 3, "test_pooling": "probabilities"},
    "bat": {"test_starts": "middles", "stride": 2, "window_frames": 4, "short_videos": "hold"},
    "whole": {"test_crops": 1, "test_crop_places": "whole", "test_size": 32, "test_short_side": 48},
    "whole in windows": {
        "test_crops": 1, "test_crop_places": "whole", "test_size": 48, "test_clips": 3,
        "test_pooling": "probabilities", "test_starts": "fair",
    },
    "whole, largest": {"test_crops": 1, "test_crop_places": "whole", "test_size": 64, "test_pooling": "max"},
}  # fmt: skip
BASE = {
    **{
        "sampling": "dense",
        "window_frames": 4,
        "test_size": 32,
        "crop": 32,
        "short_side": 32,
        "test_crops": 3,
    },
    **{"mean": (127.0, 127.0, 127.0), "std": (20.0, 25.0, 30.0)},
}
SHORT = ("thirds", "windows", "bat", "whole in windows")
EACH = [pytest.param(name, marks=[] if name in SHORT else pytest.mark.long) for name in PROTOCOLS]


def network(frames=2):
    """Returns a network with the head of a `VideoResNet`, whose features are means of 32 x 32 pixels."""
    clip = keras.Input((frames, None, None, 3))
    x = keras.layers.AveragePooling3D((1, 32, 32), padding="same")(clip)
    x = keras.layers.Concatenate()([x, keras.layers.Multiply()([x, x])])
    x = keras.layers.Dropout(0.5, name="dropout")(keras.layers.GlobalAveragePooling3D(name="pool")(x))
    model = keras.Model(clip, keras.layers.Dense(len(CLASSES), name="fc")(x))
    rng = np.random.default_rng(3)
    model.get_layer("fc").set_weights([2 * rng.normal(size=(6, len(CLASSES))), rng.normal(size=len(CLASSES))])
    return model


def features_of(clip):
    """Returns the features of a normalised clip [T, H, W, 3]: means of 32 x 32 pixels, with their squares."""
    sides = clip.shape[1:3]
    edges = []
    for side in sides:  # What is missing to whole windows is missing on both sides.
        before = (-side % 32) // 2
        edges.append(
            [(max(0, i * 32 - before), min(side, i * 32 - before + 32)) for i in range(-(-side // 32))]
        )
    means = np.array([
        [[frame[a:b, c:d].mean((0, 1)) for c, d in edges[1]] for a, b in edges[0]] for frame in clip
    ])  # fmt: skip
    return np.concatenate([means, means**2], axis=-1)  # [T, H', W', 6]


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def logits_or_probabilities(clip, config, kernel, bias):
    """Returns the logits of a view, or the mean of the probabilities of its windows of the training's map."""
    features = features_of(clip)
    if config.test_pooling == "logits":
        return features.mean((0, 1, 2)) @ kernel + bias
    side = -(-config.crop // 32)
    rows, columns = (count - side + 1 for count in features.shape[1:3])
    return np.mean(
        [
            softmax(features[:, y : y + side, x : x + side].mean((0, 1, 2)) @ kernel + bias)
            for y in range(rows)
            for x in range(columns)
        ],
        axis=0,
    )


def starts_of(n, config):
    clips, window = config.test_clips, config.window_frames
    positions = max(1, n - window + 1)
    if config.test_starts == "fair":
        return [n * j // clips for j in range(clips)]
    if config.test_starts == "middles":
        return [int(positions / clips * (j + 0.5)) if positions > clips else 0 for j in range(clips)]
    return (
        [(positions - 1) // 2] if clips == 1 else [j * (positions - 1) // (clips - 1) for j in range(clips)]
    )


def views_of(path, n, config):
    """Yields the views of a video, normalised, in loops."""
    stride = config.stride or config.window_frames // config.clip_frames
    frames = decode_frames(str(path), np.arange(n)).frames
    frames = scale_short_side(frames, config.test_short_side or config.test_size)
    frames = np.asarray(frames)
    for start in starts_of(n, config):
        numbers = [start + i * stride for i in range(config.clip_frames)]
        hold = config.short_videos == "hold"
        clip = np.stack([frames[min(k, n - 1) if hold else k % n] for k in numbers]).astype(float)
        clip = (clip - config.mean) / config.std
        if config.test_crop_places == "whole":
            yield clip
            continue
        height, width = clip.shape[1:3]
        size, long = config.test_size, 0 if height > width else 1
        slack = (height, width)[long] - size
        places = {"ends": [0, slack // 2, slack], "thirds": [round((slack + 1) * k / 3) for k in range(3)]}
        for place in places[config.test_crop_places] if config.test_crops == 3 else [slack // 2]:
            corner = [(height - size) // 2, (width - size) // 2]
            corner[long] = place
            yield clip[:, corner[0] : corner[0] + size, corner[1] : corner[1] + size]


def expected_probabilities(path, n, config, model):
    weights = model.get_layer("fc").get_weights()
    views = [logits_or_probabilities(view, config, *weights) for view in views_of(path, n, config)]
    if config.test_pooling == "logits":
        return softmax(np.mean(views, axis=0))
    if config.test_pooling == "max":
        return np.max(views, axis=0) / np.max(views, axis=0).sum()
    return np.mean(views, axis=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Videos of other lengths and shapes, the third of which cannot be read, and their manifest."""
    folder = tmp_path_factory.mktemp("views")
    paths = []
    for number, (n, (height, width)) in enumerate(zip(FRAMES, SHAPES, strict=True)):
        frames = np.random.default_rng(number).integers(256, size=(n, height // 8, width // 8, 3))
        paths.append(folder / f"{number}.mp4")
        synthetic.write_video(str(paths[-1]), frames.astype(np.uint8).repeat(8, 1).repeat(8, 2), 10)
    paths[2].write_bytes(b"no video")
    small_trained.write_split(folder / "split.jsonl", paths, [[(name,)] for name in CLASSES[:5]])
    good = {str(path): n for path, n in zip(paths, FRAMES, strict=True) if path != paths[2]}
    return SimpleNamespace(folder=folder, good=good, manifest=str(folder / "split.jsonl"))


def config_of(name, **changes):
    return small_trained.config(**BASE | {"max_bad_fraction": 0.5} | PROTOCOLS[name] | changes)


def run_program(program, *arguments):
    flag_values = flags.FlagValues()
    program.define(flag_values)
    program.main(parse(["program", *map(str, arguments)], flag_values), flag_values)


def write_export(model, serving, directory):
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", classify(model, serving))
    archive.write_out(str(directory), verbose=False)
    (directory / "assets.extra").mkdir()
    (directory / "assets.extra" / "serving.json").write_text(json.dumps(serving))


@pytest.mark.parametrize("name", EACH)
def test_every_way_gives_the_scores_of_the_protocol(name, data, tmp_path, capsys):
    config, model = config_of(name), network()
    expected = np.array([expected_probabilities(path, n, config, model) for path, n in data.good.items()])
    workdir = tmp_path / "run"
    changes = {field: getattr(config, field) for field in {**BASE, **PROTOCOLS[name], "max_bad_fraction": 0}}
    small_trained.write_run(workdir, model, **changes, val_annotations=data.manifest)
    run_program(evaluate, f"--workdir={workdir}", f"--output={tmp_path / 'run_scores'}")
    scores = Scores.load(tmp_path / "run_scores" / "scores.npz")
    assert scores.paths == tuple(data.good)
    np.testing.assert_allclose(scores.probabilities, expected, atol=3e-4)
    assert np.ptp(expected, axis=0).max() > 0.05  # So they can tell.
    results = json.loads((tmp_path / "run_scores" / "results.json").read_text())
    assert results["protocol"].items() >= {k: v for k, v in PROTOCOLS[name].items() if "test_" in k}.items()

    video = [f"--video={path}" for path in data.good]
    run_program(predict, f"--workdir={workdir}", *video, f"--json={tmp_path / 'p.json'}", "--top=6")
    predicted = json.loads((tmp_path / "p.json").read_text())["videos"]
    for path, row in zip(scores.paths, scores.probabilities, strict=True):
        of_class = {found["class"]: found["probability"] for found in predicted[path]}
        np.testing.assert_allclose([of_class[k] for k in CLASSES], row, atol=1e-6)

    write_export(model, serving_of(config, CLASSES), tmp_path / "export")
    where = f"--workdir={workdir}", f"--savedmodel={tmp_path / 'export'}"
    run_program(evaluate, *where, f"--output={tmp_path / 'export_scores'}")
    exported = Scores.load(tmp_path / "export_scores" / "scores.npz")
    np.testing.assert_allclose(exported.probabilities, scores.probabilities, atol=1e-5)
    capsys.readouterr()


@pytest.mark.parametrize("name", EACH)
def test_a_server_gives_a_clip_what_an_evaluation_of_its_single_view_gives(name, data):
    single = {"test_clips": 1, "test_crops": 1, "test_starts": "even"}
    places = {"test_crop_places": "ends"} if PROTOCOLS[name].get("test_crop_places") == "thirds" else {}
    config, model = config_of(name), network()
    serve = classify(model, json.loads(json.dumps(serving_of(config, CLASSES))))
    alone = dataclasses.replace(config, **single, **places)
    source = VideoFiles(read_manifest(data.manifest))
    scores = video_scores(model_of_views(model, alone), source, alone, Account(source.manifest, 0.5), False)
    for (path, n), expected in zip(data.good.items(), scores.probabilities, strict=True):
        more = {"short": alone.short_videos, "stride": alone.stride}
        (numbers,) = dense_test_clips(n, 2, 1, alone.window_frames, **more)
        shown, places = np.unique(numbers, return_inverse=True)
        clip = decode_frames(path, shown).frames[places]
        np.testing.assert_allclose(serve(tf.constant(clip[None]))["probabilities"][0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["whole in windows", pytest.param("whole", marks=pytest.mark.long)])
@pytest.mark.parametrize("batch_size", [1, pytest.param(2, marks=pytest.mark.long), 64])
def test_whole_frames_have_the_same_scores_in_any_batches(name, batch_size, data):
    config, model = config_of(name), network()
    source = VideoFiles(read_manifest(data.manifest))
    network_of_views = model_of_views(model, config)
    whole = video_scores(network_of_views, source, config, Account(source.manifest, 0.5), False)
    config = dataclasses.replace(config, batch_size=batch_size)
    account = Account(source.manifest, 0.5)
    parts = video_scores(network_of_views, source, config, account, False)
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-5)
    assert len(account) == 1


def test_the_trainer_of_a_run_evaluates_by_windows(data):
    config, plain = config_of("whole in windows"), network()
    trainer, source = Trainer(plain.inputs, plain.outputs), VideoFiles(read_manifest(data.manifest))
    found = [
        video_scores(model_of_views(model, config), source, config, Account(source.manifest, 0.5), False)
        for model in (trainer, plain)
    ]
    assert type(model_of_views(trainer, config)) is type(trainer)
    np.testing.assert_allclose(found[0].probabilities, found[1].probabilities, atol=1e-6)
    centre = centre_view(config)  # Each epoch is validated with one square, whatever the protocol is.
    assert model_of_views(trainer, centre) is trainer
    scores = video_scores(trainer, source, centre, Account(source.manifest, 0.5), False)
    assert scores.paths == tuple(data.good)


DEVICES = """
import keras, numpy as np, sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
import test_train_views as views
from pipelines.account import Account
from pipelines.manifest import read_manifest
from pipelines.video_files import VideoFiles
source = VideoFiles(read_manifest(sys.argv[1]))
found = []
for devices in (1, 2, 3):
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{n}" for n in range(devices)], tf.distribute.HierarchicalCopyAllReduce()
    )
    config = views.config_of("whole in windows", batch_size=2)
    with strategy.scope():
        model = views.network()
    model = views.model_of_views(model, config)
    scores = views.video_scores(model, source, config, Account(source.manifest, 0.5), False)
    found.append(scores.logits)
    print("devices", devices, views.view_slots(config, devices), np.abs(scores.logits - found[0]).max())
"""


@pytest.mark.long
def test_whole_frames_have_the_same_scores_on_any_devices(data):
    process = small_run.run_python("-c", f"import sys; sys.path.append('tests'){DEVICES}", data.manifest)
    assert process.returncode == 0, process.stderr[-3000:]
    lines = re.findall(r"^devices (\d) (\(\d, \d\)) (.*)$", process.stdout, re.MULTILINE)
    assert [line[:2] for line in lines] == [("1", "(4, 2)"), ("2", "(4, 2)"), ("3", "(3, 3)")]
    assert all(float(difference) < 1e-5 for *_, difference in lines)


def test_whole_frames_go_on_with_the_next_video(data):
    config = config_of("whole in windows", batch_size=2)  # Its three clips are in two batches of two.
    source, model = VideoFiles(read_manifest(data.manifest)), model_of_views(network(), config)
    assert view_slots(config) == (4, 2) and view_slots(config, devices=3) == (3, 3)
    expected = video_scores(model, source, config, Account(source.manifest, 0.5), False)

    class Stops(Progress):
        def __init__(self, batches):
            super().__init__()
            self.left = batches

        def on_predict_batch_end(self, batch, logs=None):
            super().on_predict_batch_end(batch, logs)
            self.left -= 1
            if not self.left:
                raise InterruptedError

    for stop, views in ((1, 2), (3, 5)):
        begun, account = Stops(stop), Account(source.manifest, 0.5)
        with contextlib.suppress(InterruptedError):
            video_scores(model, source, config, account, False, begun)
        assert begun.count == views
        ended = Progress(begun.scores)
        other = dataclasses.replace(config, batch_size=3)  # As of another count of devices.
        found = video_scores(model, source, other, account, False, ended)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
        assert found.paths == expected.paths


def probabilities_of(logits, activation):
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    return np.array([softmax(row) for row in logits.reshape(-1, logits.shape[-1])]).reshape(logits.shape)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_pooled_logits_give_the_pooled_probabilities_again(activation):
    views = np.random.default_rng(0).normal(size=(7, 4, 5)).astype("float32") * 4
    of_views = probabilities_of(views.astype(float), activation)
    found = probabilities_of(pooled(views, "probabilities", activation), activation)
    np.testing.assert_allclose(found, of_views.mean(0), rtol=1e-9)
    np.testing.assert_allclose(pooled(views, "logits", activation), views.mean(0), atol=1e-6)
    largest = probabilities_of(pooled(views, "max", activation), activation)
    most = of_views.max(0)
    most = most / most.sum(-1, keepdims=True) if activation == "softmax" else most
    np.testing.assert_allclose(largest, most, rtol=1e-9)
    # Videos are ranked by the largest probability itself, also where it is one of a softmax.
    ranks = np.argsort(pooled(views, "max", activation)[:, 0])
    assert ranks.tolist() == np.argsort(of_views.max(0)[:, 0]).tolist()


@pytest.mark.parametrize("pooling", ["probabilities", "max"])
def test_a_logit_that_is_not_finite_is_not_hidden_by_other_views(pooling, data):
    config = config_of("fair", test_pooling=pooling, test_size=32)
    clip = keras.Input((2, 32, 32, 3))
    level = keras.layers.GlobalAveragePooling3D()(clip)
    model = keras.Model(clip, keras.layers.Concatenate()([level, -1 / keras.ops.relu(level)]))
    source, words = VideoFiles(read_manifest(data.manifest)), []
    for each in ("logits", pooling):
        run = dataclasses.replace(config, test_pooling=each)
        with pytest.raises(FloatingPointError, match=r"infinity or NaN for \d of 4 videos") as caught:
            video_scores(model, source, run, Account(source.manifest, 0.5), False)
        words.append(str(caught.value))
    assert words[0] == words[1]


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({"crop": 224, "test_size": 256}, 0),
        ({"crop": 224, "test_size": 256, "test_pooling": "probabilities"}, 7),
        ({"crop": 224, "test_size": 224, "test_short_side": 256, "test_pooling": "probabilities"}, 0),
        ({"crop": 288, "test_size": 320, "short_side": 0, "test_pooling": "max"}, 9),
        ({"crop": 224, "test_size": 256, "test_crop_places": "whole", "test_crops": 1}, 0),
        ({"test_size": 256, "test_crop_places": "whole", "test_crops": 1, "test_pooling": "max"}, 7),
        ({"test_size": 128, "test_crop_places": "whole", "test_crops": 1, "test_pooling": "max"}, 4),
    ],
)
def test_windows_are_of_the_map_of_a_training_clip(changes, window):
    changes = {"crop": 224, "short_side": 0} | changes
    assert window_of(small_trained.config(**changes)) == window


@pytest.mark.parametrize(
    ("name", "flag", "words"),
    [
        ("crops from a larger side", "--test_short_side=48", None),
        ("crops from a larger side", "--test_crop_places=thirds", None),
        ("crops from a larger side", "--test_pooling=max", None),
        ("crops from a larger side", "--test_size=40", "squares of 40 pixels, with softmax. Received .* 32"),
        (
            "windows",
            "--test_pooling=logits",
            "squares of 64 pixels, with softmax. Received .* windows of 1x1",
        ),
        ("whole", "--test_crop_places=ends", "squares of 32 pixels.* whole frames of a short side of 48"),
        ("whole", "--test_short_side=32", "whole frames of a short side of 32.* whole frames .* of 48"),
    ],
)
def test_savedmodels_of_other_views_alone_are_refused(name, flag, words, data, tmp_path, capsys):
    config, model = config_of(name), network()
    changes = {field: getattr(config, field) for field in {**BASE, **PROTOCOLS[name], "max_bad_fraction": 0}}
    small_trained.write_run(tmp_path / "run", model, **changes, val_annotations=data.manifest)
    write_export(model, serving_of(config, CLASSES), tmp_path / "export")
    found = {}
    for where, more in (("run", ()), ("export", [f"--savedmodel={tmp_path / 'export'}"])):
        arguments = f"--workdir={tmp_path / 'run'}", flag, *more, f"--output={tmp_path / ('of_' + where)}"
        if words and more:
            with pytest.raises(SystemExit) as caught:
                run_program(evaluate, *arguments)
            text = str(caught.value)
            assert re.search(words, text) and "\n" not in text and "Try: leave out --test_size, " in text
        else:
            run_program(evaluate, *arguments)
            found[where] = Scores.load(tmp_path / f"of_{where}" / "scores.npz").probabilities
    if not words:
        np.testing.assert_allclose(found["export"], found["run"], atol=1e-5)
    capsys.readouterr()


def test_older_exports_and_runs_have_their_serving_json_in_the_workdir_alone(data, tmp_path, capsys):
    model = network()
    small_trained.write_run(
        tmp_path / "run", model, **BASE, max_bad_fraction=0.5, val_annotations=data.manifest
    )
    path = tmp_path / "run" / "serving.json"
    old = {
        k: v
        for k, v in json.loads(path.read_text()).items()
        if k in ["classes", "frames", "size", "mean", "std"]
    }
    path.write_text(json.dumps(old))
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", classify(model, old))
    archive.write_out(str(tmp_path / "export"), verbose=False)
    found = []
    for where, more in (("run", ()), ("export", [f"--savedmodel={tmp_path / 'export'}"])):
        run_program(
            evaluate, f"--workdir={tmp_path / 'run'}", *more, f"--output={tmp_path / ('of_' + where)}"
        )
        found.append(Scores.load(tmp_path / f"of_{where}" / "scores.npz").probabilities)
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    where = (
        f"--workdir={tmp_path / 'run'}",
        f"--savedmodel={tmp_path / 'export'}",
        f"--output={tmp_path / 'x'}",
    )
    with pytest.raises(SystemExit, match="Expected a SavedModel of the views"):
        run_program(evaluate, *where, "--test_size=64")
    capsys.readouterr()


def test_a_block_that_refuses_whole_frames_is_told_before_a_video_is_read(data, tmp_path):
    block = {
        "block": ("BilinearAttentionTransform(size=8, temporal_groups=0)",),
        "max_bad_fraction": 0.5,
        **dict.fromkeys(("crop", "short_side", "test_size"), 64),
    }
    changes = BASE | block
    small_trained.write_run(tmp_path / "run", network(), **changes, val_annotations=data.manifest)
    arguments = (
        f"--workdir={tmp_path / 'run'}",
        f"--output={tmp_path / 'x'}",
        "--test_crops=1",
    )
    words = r"--block refuses maps of whole frames, as of 64 x 96.*Try: --test_crop_places=ends"
    with pytest.raises(SystemExit, match=words):
        run_program(evaluate, *arguments, "--test_crop_places=whole")
    assert read_trained(small_trained.config(workdir=str(tmp_path / "run"), **changes))
