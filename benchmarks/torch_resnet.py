"""A plain ResNet-50 in PyTorch, with or without TSM's shift: inference.py compares ours with it.

Its parts have the names of VideoResNet's layers: "res3_0.conv1" here is "res3_0_conv1" there.
"""

import numpy as np
import torch
from torch import nn

from keras_nonlocal.checkpoints.names import TORCH_NORM

STAGES = (("res2", 64, 3), ("res3", 128, 4), ("res4", 256, 6), ("res5", 512, 3))


class Bottleneck(nn.Module):
    """A residual block with its stride on the 3x3 convolution."""

    def __init__(self, channels, width, stride, shifted_frames):
        super().__init__()
        self.shifted_frames = shifted_frames
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(4 * width)
        self.shortcut_conv = self.shortcut_norm = None
        if channels != 4 * width:
            self.shortcut_conv = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        """Returns [B*T, 4 * width, H', W'] for [B*T, C, H, W]."""
        y = shift(x, self.shifted_frames) if self.shifted_frames else x
        y = self.relu(self.norm1(self.conv1(y)))
        y = self.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        y += self.shortcut_norm(self.shortcut_conv(x)) if self.shortcut_conv else x
        return self.relu(y)


class ResNet50(nn.Module):
    """A network from frames [B*T, 3, H, W] to the logits of each frame."""

    def __init__(self, num_classes, shifted_frames=None):
        super().__init__()
        self.stem_conv = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.stem_norm = nn.BatchNorm2d(64)
        self.stem_relu = nn.ReLU(inplace=True)
        self.stem_pool = nn.MaxPool2d(3, 2, padding=1)
        channels, self.block_names = 64, []
        for stage, width, count in STAGES:
            for index in range(count):
                stride = 2 if index == 0 and stage != "res2" else 1
                self.block_names.append(f"{stage}_{index}")
                self.add_module(self.block_names[-1], Bottleneck(channels, width, stride, shifted_frames))
                channels = 4 * width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        """Returns the logits [B*T, num_classes]."""
        x = self.stem_pool(self.stem_relu(self.stem_norm(self.stem_conv(x))))
        for name in self.block_names:
            x = getattr(self, name)(x)
        return self.fc(torch.flatten(self.pool(x), 1))


def shift(x, frames, divisor=8):
    """Returns TSM's shift of [B*T, C, H, W], as its authors wrote it, with zeros at both ends of a clip."""
    clips = x.view(-1, frames, *x.shape[1:])  # [B, T, C, H, W]
    part = x.shape[1] // divisor
    shifted = torch.zeros_like(clips)
    shifted[:, :-1, :part] = clips[:, 1:, :part]
    shifted[:, 1:, part : 2 * part] = clips[:, :-1, part : 2 * part]
    shifted[:, :, 2 * part :] = clips[:, :, 2 * part :]
    return shifted.view(x.shape)


def load_weights(network, model):
    """Copies the variables of a VideoResNet into a ResNet50 and returns it, for inference, channels last."""
    values = {variable.path: np.array(variable) for variable in model.variables}
    state = {}
    for name in network.state_dict():
        layer, _, part = name.replace(".", "_", name.count(".") - 1).partition(".")
        if part == "num_batches_tracked":
            continue
        if "conv" in layer:
            value = values[f"{layer}/conv/kernel"].transpose(3, 2, 0, 1)  # [out, in, h, w]
        elif layer == "fc":
            value = values[f"fc/{'kernel' if part == 'weight' else 'bias'}"].T
        else:
            value = values[f"{layer}/{TORCH_NORM[part]}"]
        state[name] = torch.tensor(value)
    network.load_state_dict(state, strict=False)
    return network.eval().to(memory_format=torch.channels_last)
