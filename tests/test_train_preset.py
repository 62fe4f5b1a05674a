"""A finished run becomes a preset, which gives the run's logits, classes and preprocessing."""

import json
import os

import keras
import numpy as np
import pytest
import small_run

from keras_nonlocal import VideoResNet
from keras_nonlocal.presets import read_preset
from train.preset import preset


def test_a_run_becomes_a_preset(finished_run, tmp_path):
    process = small_run.run_module(
        "train.preset", f"--workdir={finished_run.workdir}", f"--output={tmp_path / 'p'}"
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f"wrote {tmp_path / 'p'}; VideoResNet.from_preset(")
    network = VideoResNet.from_preset(tmp_path / "p")
    model = keras.saving.load_model(finished_run.workdir / "model.keras", compile=False)
    clips = np.random.default_rng(0).standard_normal((2, 4, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(network(clips, training=False), model(clips, training=False))
    found = read_preset(tmp_path / "p")
    serving = json.loads((finished_run.workdir / "serving.json").read_text())
    assert found.labels == serving.pop("classes")
    said = {"sampling": "segments", "window_frames": 64, "stride": 0, "fps": 0.0, "short_videos": "loop"}
    assert found.preprocessing == serving | said
    texts = [path for path in (tmp_path / "p").iterdir() if path.suffix != ".h5"]
    results = json.loads((finished_run.workdir / "results.json").read_text())
    assert f"| top1 | {results['top1']} |" in found.card and "--sampling=segments" in found.card
    assert str(finished_run.workdir.parent) not in "".join(path.read_text() for path in texts)


def test_what_is_no_finished_run(finished_run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected the directory of a run.*Try"):
        preset(str(tmp_path), str(tmp_path / "p"))
    (tmp_path / "run.flags").write_text((finished_run.workdir / "run.flags").read_text())
    with pytest.raises(ValueError, match=r"Expected a run that has ended. .*without model.keras. Try"):
        preset(str(tmp_path), str(tmp_path / "p"))
    (tmp_path / "card.md").write_text("# Mine")
    preset(str(finished_run.workdir), str(tmp_path / "p"), str(tmp_path / "card.md"))
    assert read_preset(tmp_path / "p").card == "# Mine\n"
    with pytest.raises(FileExistsError, match=r"Expected a new directory.*Try"):
        preset(str(finished_run.workdir), str(tmp_path / "p"))
    assert sorted(os.listdir(tmp_path)) == ["card.md", "p", "run.flags"]
