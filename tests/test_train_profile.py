"""`python -m train.profile`: what the program prints of a run's network."""

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from keras_nonlocal.counting import count
from train.config import Config
from train.network import NetworkError, build_network
from train.profile import network_costs, print_count

ROOT = Path(__file__).parents[1]


def test_count_of_any_model(capsys):
    x = keras.Input((1000,))
    print_count(keras.Model(x, keras.layers.Dense(4, use_bias=False)(x)))
    assert "Dense  4            4,000" in capsys.readouterr().out


def test_costs_without_memory_are_those_of_the_network_that_a_run_builds():
    block = ("BilinearAttentionTransform(size=(2, 4), spatial_groups=2)", "res4=PlainResidual(channels=48)")
    fields = {"depth": 18, "temporal": "c2d", "blocks": ("res3_0", "res4_1"), "block": block, "crop": 64}
    config = Config(**fields, weights="nowhere")
    costs = network_costs(config, 7)
    built = build_network(dataclasses.replace(config, weights=""), 7)
    assert costs == count(built, (8, 64, 64, 3)) and not costs.uncounted
    assert costs.total.parameters == sum(math.prod(w.shape) for w in built.trainable_weights)
    assert network_costs(config, 7, side=128).total.macs == count(built, (8, 128, 128, 3)).total.macs
    with pytest.raises(NetworkError, match="Expected residual blocks of --depth=18"):
        network_costs(dataclasses.replace(config, blocks=("res3_7",)), 7)


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
