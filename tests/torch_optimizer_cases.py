"""Writes tests/fixtures/torch_optimizer.json: where PyTorch leads with the parameter groups of released code.

python tests/torch_optimizer_cases.py, in an environment with PyTorch; the tests read what it wrote.

The rate rises over three steps and drops to a tenth at the eighth of twelve. The groups are spelt out as the
code of TSM, RNL, CGNL, BAT's video and FAIR's video-nonlocal-net has them, so that our kinds and parts are
held against them; AdamW has those of TSM.
"""

import fnmatch
import json
import pathlib
from typing import NamedTuple

import numpy as np

STEPS = 12
SHAPES = {
    "stem_conv/kernel": (3, 4),
    "stem_conv/bias": (4,),
    "stem_norm/gamma": (4,),
    "stem_norm/beta": (4,),
    "res3_0_block/g/kernel": (4, 2),
    "res3_0_block/g/bias": (2,),
    "res3_0_block/region/kernel": (1, 3, 3, 2, 1),
    "res3_0_block/out/kernel": (2, 4),
    "res3_0_block/out/bias": (4,),
    "res3_0_block/norm/gamma": (4,),
    "res3_0_block/norm/beta": (4,),
    "fc/kernel": (4, 2),
    "fc/bias": (2,),
}


class Case(NamedTuple):
    """A training: our flags, and PyTorch's groups, of which the first that fits a path counts.

    groups: (pattern of paths, multiplier of the rate, whether it decays), ...
    """

    learning_rate: float
    weight_decay: float
    flags: dict
    groups: tuple
    optimizer: str = "SGD"
    momentum: float = 0.9


ALL = ("kernels", "regions", "biases", "norms", "block_gammas", "block_betas")
_FC = ("fc/kernel", 5, True), ("fc/bias", 10, False)
_REST = ("*/bias", 2, False), ("*/gamma", 1, False), ("*/beta", 1, False), ("*", 1, True)
_RNL = ("*_block/norm/gamma", 1, True), ("*_block/norm/beta", 2, False), ("*/region/kernel", 2, False)
CASES = {
    "tsm": Case(0.02, 1e-4, {"rates": ("biases=2", "fc=5")}, (*_FC, *_REST)),
    "rnl": Case(
        0.02,
        2e-4,
        {"rates": ("biases=2", "fc=5", "regions=2", "block_betas=2"), "decayed": ("kernels", "block_gammas")},
        (*_FC, *_RNL, *_REST),
    ),
    "fair": Case(
        0.01,
        1e-4,
        {"decayed": ("kernels", "regions", "biases"), "nesterov": True},
        (("*/gamma", 1, False), ("*/beta", 1, False), ("*", 1, True)),
    ),
    "cgnl": Case(0.01, 1e-4, {"decayed": ALL}, (("*", 1, True),)),
    "bat": Case(0.01, 1e-4, {"rates": ("biases=2",)}, _REST),
    "adamw": Case(0.02, 0.05, {"rates": ("biases=2", "fc=5")}, (*_FC, *_REST), "AdamW"),
    "adamw_betas": Case(0.02, 0.05, {"beta2": 0.95}, (("*/kernel", 1, True), ("*", 1, False)), "AdamW", 0.8),
}


def rate(step, peak):
    return peak * (0.1 + 0.9 * step / 3) if step < 3 else peak * (0.1 if step >= 8 else 1.0)


def drawn(name):
    """Returns the weights of the beginning, and the gradients of each step: dictionaries by path."""
    rng = np.random.default_rng(list(CASES).index(name))
    return [{path: rng.normal(size=shape) for path, shape in SHAPES.items()} for _ in range(STEPS + 1)]


def optimizer_of(case, torch, groups):
    if case.optimizer == "AdamW":
        betas = (case.momentum, case.flags.get("beta2", 0.999))
        return torch.optim.AdamW(groups, lr=case.learning_rate, betas=betas, eps=1e-8)
    nesterov = case.flags.get("nesterov", False)
    return torch.optim.SGD(groups, lr=case.learning_rate, momentum=case.momentum, nesterov=nesterov)


def main():
    import torch

    found = {"torch": torch.__version__}
    for name, case in CASES.items():
        start, *gradients = drawn(name)
        weights = {path: torch.tensor(value, requires_grad=True) for path, value in start.items()}
        fits = [next(g for g in case.groups if fnmatch.fnmatchcase(path, g[0])) for path in weights]
        groups = [
            {"params": [weight], "weight_decay": case.weight_decay * decays}
            for weight, (_, _, decays) in zip(weights.values(), fits, strict=True)
        ]
        optimizer = optimizer_of(case, torch, groups)
        for step, gradient in enumerate(gradients):
            for group, (_, factor, _) in zip(optimizer.param_groups, fits, strict=True):
                group["lr"] = rate(step, case.learning_rate) * factor
            for path, weight in weights.items():
                weight.grad = torch.tensor(gradient[path])
            optimizer.step()
        found[name] = {path: weight.detach().tolist() for path, weight in weights.items()}
    path = pathlib.Path(__file__).parent / "fixtures" / "torch_optimizer.json"
    path.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
