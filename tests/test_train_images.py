"""Images as clips of one frame, from the files of CUB to an export, are what an image network takes."""

import dataclasses
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

from keras_nonlocal import ImageResNet, NonLocal
from pipelines.account import Account
from pipelines.augmenting.resizing import square_views
from pipelines.dataset.clip_format import normalise
from pipelines.manifest import read_manifest
from pipelines.manifest.command import main as manifest_main
from pipelines.order import Schedule
from pipelines.records.command import main as records_main
from savedmodels.export import export
from train import predict as prediction
from train.config import Config
from train.config.fields import parse
from train.data import open_data, open_split, training_batches
from train.loop import train_and_evaluate
from train.scoring.scores import Scores

CLASSES = ("001.Albatross", "002.Auklet", "003.Blackbird")
FLAGS = {
    **{"clip_frames": 1, "temporal": "c2d", "topology": "torchvision", "sampling": "segments"},
    **{"train_annotations": "cub.jsonl#train", "val_annotations": "cub.jsonl#test", "depth": 18},
    **{"blocks": ("res3_0",), "block": ("NonLocal",), "short_side": 0, "crop": 32, "test_size": 40},
    **{"crop_method": "random_resized", "crop_area": (0.3, 1.0), "test_clips": 1, "test_crops": 1},
    **{"batch_size": 6, "epochs": 1, "warmup_epochs": 0.0},
}


@pytest.fixture(scope="module")
def cub(tmp_path_factory):
    """CUB-200-2011's files, of three classes: JPEGs of all sizes, PNGs, and a grey one."""
    folder = tmp_path_factory.mktemp("cub")
    texts = {name: [] for name in ("images", "image_class_labels", "train_test_split", "classes")}
    generator, number = np.random.default_rng(0), 0
    for class_, name in enumerate(CLASSES, 1):
        (folder / "images" / name).mkdir(parents=True)
        texts["classes"].append(f"{class_} {name}")
        for place in range(4):
            number += 1
            pixels = generator.integers(60, size=(*generator.integers(48, 90, 2), 3)).astype(np.uint8)
            pixels[:, :, class_ - 1] += 150
            file = f"{name}/bird_{place}.{'png' if place == 1 else 'jpg'}"
            picture = Image.fromarray(pixels).convert("L" if place == 2 else "RGB")
            picture.save(folder / "images" / file, quality=95)
            texts["images"].append(f"{number} {file}")
            texts["image_class_labels"].append(f"{number} {class_}")
            texts["train_test_split"].append(f"{number} {int(place % 2 == 0)}")
    for name, lines in texts.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    flags = ["--format=cub200", f"--data_dir={folder}", "--split=train", "--split=test"]
    assert manifest_main(["import", *flags, f"--output={folder / 'cub.jsonl'}"]) == 0
    return folder


def config(cub, **changes):
    return Config(**FLAGS | {"data_dir": str(cub), "workdir": "run"} | changes)


def batches(run):
    source = open_split(run, run.train_annotations)
    schedule = Schedule(len(source.manifest), run.batch_size, run.epochs, run.seed)
    account = Account(source.manifest)
    return [
        tuple(map(np.asarray, batch)) for batch in training_batches(run, source, account, schedule)
    ], account


def test_files_folders_and_records_give_the_same_images(cub, tmp_path):
    ((clips, labels),), account = batches(config(cub))
    assert clips.shape == (6, 1, 32, 32, 3) and sorted(labels) == [0, 0, 1, 1, 2, 2] and not account
    # A window of frames is the image, too.
    ((dense, _),), _ = batches(config(cub, sampling="dense"))
    np.testing.assert_array_equal(dense, clips)
    flags = ["--format=folders", f"--data_dir={cub / 'images'}", f"--output={tmp_path / 'folders.jsonl'}"]
    assert manifest_main(["import", *flags]) == 0
    folders, whole = read_manifest(tmp_path / "folders.jsonl"), read_manifest(cub / "cub.jsonl")
    assert folders.classes == whole.classes == CLASSES
    assert {(v.path, v.label) for v in folders.videos} == {(v.path, v.label) for v in whole.videos}
    flags = [f"--manifest={cub / 'cub.jsonl'}", f"--output={tmp_path / 'records'}", "--split=train"]
    assert not records_main([*flags, "--quality=100"])
    ((stored, same),), _ = batches(config(cub, train_annotations=str(tmp_path / "records")))
    np.testing.assert_array_equal(same, labels)
    assert np.abs(stored - clips).mean() * 57 < 4  # Grey levels: the JPEGs differ a little.


@pytest.fixture(scope="module")
def trained(cub, tmp_path_factory):
    """A run that starts from an image network of other classes, without blocks."""
    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("trained")
    ImageResNet(18, input_shape=(32, 32, 3), num_classes=10).save_weights(folder / "start.weights.h5")
    start = {"weights": str(folder / "start.weights.h5"), "adapt": ("classes", "blocks", "images")}
    run = config(cub, workdir=str(folder / "run"), **start)
    results = train_and_evaluate(run, open_data(run))
    scores = Scores.load(folder / "run" / "scores_val.npz")
    return SimpleNamespace(workdir=folder / "run", results=results, scores=scores, config=run)


def test_the_network_is_that_for_images_with_its_weights(trained):
    video = keras.saving.load_model(trained.workdir / "model.keras")
    image = ImageResNet(
        18, input_shape=(None, None, 3), num_classes=3, blocks={"res3": (0,)}, make_block=NonLocal
    )
    assert image.count_params() == video.count_params() == trained.results["parameters"]
    image.set_weights(
        [np.reshape(w, v.shape) for w, v in zip(video.get_weights(), image.weights, strict=True)]
    )
    run = trained.config
    for path, logits in zip(trained.scores.paths, trained.scores.logits, strict=True):
        pixels = tf.constant(np.asarray(Image.open(path).convert("RGB")))[None]
        square = tf.reshape(square_views(pixels, run.test_size, 1), (1, run.test_size, run.test_size, 3))
        found = np.asarray(image(normalise(square, run.mean, run.std)))[0]
        np.testing.assert_allclose(
            found, logits, atol=0.05 * np.abs(logits).max()
        )  # Decoders of JPEG differ.


@pytest.mark.long
def test_each_image_of_a_folder_is_predicted_as_evaluated_and_served(trained, cub, tmp_path, capsys):
    assert export(str(trained.workdir), str(tmp_path / "served")) <= 1e-5
    for more in ((), (f"--savedmodel={tmp_path / 'served'}",)):
        flag_values = flags.FlagValues()
        prediction.define(flag_values)
        words = [f"--workdir={trained.workdir}", f"--video={cub / 'images'}", "--json=-", *more]
        prediction.main(parse(["predict", *words], flag_values), flag_values)
        rows = json.loads(capsys.readouterr().out)["videos"]
        assert len(rows) == 12
        for path, expected in zip(trained.scores.paths, trained.scores.probabilities, strict=True):
            of_class = {place["class"]: place["probability"] for place in rows[path]}
            np.testing.assert_allclose([of_class[name] for name in CLASSES], expected, atol=1e-5)


def test_a_network_of_more_frames_takes_a_folder_of_images_for_a_video(cub):
    folder = str(cub / "images" / CLASSES[0])
    assert prediction.find_videos([folder]) == [folder]
    apart = prediction.images_apart([folder, "x.mp4"])
    assert apart == [f"{folder}/bird_{n}.{'png' if n == 1 else 'jpg'}" for n in range(4)] + ["x.mp4"]


def test_crops_have_the_area_that_the_flag_says(cub):
    """Of a whole area, the crop of a nearly square image is all of it but for the aspect."""
    whole = config(cub, crop_area=(0.999, 1.0), flip=False)
    small = dataclasses.replace(whole, crop_area=(0.02, 0.03))
    deviations = [np.std(batches(run)[0][0][0], axis=(2, 3)).mean() for run in (whole, small)]
    assert deviations[0] < 0.8 * deviations[1]  # Noise that is scaled down is averaged away.
