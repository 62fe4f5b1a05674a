"""`python -m train.profile`: what the program prints of a run's network."""

import os
import subprocess
import sys
from pathlib import Path

import keras

from train.profile import print_count

ROOT = Path(__file__).parents[1]


def test_count_of_any_model(capsys):
    x = keras.Input((1000,))
    print_count(keras.Model(x, keras.layers.Dense(4, use_bias=False)(x)))
    assert "Dense  4            4,000" in capsys.readouterr().out


def run(*arguments):
    command = [sys.executable, "-m", "train.profile", *arguments]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_network_of_a_flag_file():
    process = run("--flagfile=train/flagfiles/demo.flags", "--blocks=res4_0", "--num_classes=10", "--side=64")
    assert process.returncode == 0, process.stderr
    assert "video_resnet18, one clip of 8x64x64, 10 classes" in process.stdout
    assert "RegionNonLocal      8x4x4x256 " in process.stdout
    # torchvision's ResNet-18 with another head, and the block of count(RegionNonLocal) on 256 channels.
    assert f"parameters {11_689_512 - 513_000 + 5_130 + 85_248:>15,} " in process.stdout


def test_flags_that_describe_no_network():
    process = run("--depth=18", "--temporal=i3d_3x1x1", "--blocks=")
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith("error: VideoResNet: Expected a depth with bottlenecks")
