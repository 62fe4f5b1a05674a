"""Writes tests/fixtures/torch_sgd.json: where PyTorch's SGD leads with the parameter groups of released code.

python tests/torch_sgd_cases.py, in an environment with PyTorch; the tests read what it wrote.

The rate rises over three steps and drops to a tenth at the eighth of twelve. The groups are those of TSM, of
FAIR's video-nonlocal-net, of CGNL and of BAT's video code; RNL's are TSM's but for its blocks.
"""

import json
import pathlib

import numpy as np

STEPS, MOMENTUM = 12, 0.9
SHAPES = {
    "stem_conv/kernel": (3, 4),
    "stem_conv/bias": (4,),
    "stem_norm/gamma": (4,),
    "stem_norm/beta": (4,),
    "fc/kernel": (4, 2),
    "fc/bias": (2,),
}
# name -> peak of the rate, decay, on which kinds it acts, multipliers, Nesterov.
SETTINGS = {
    "tsm": (0.02, 1e-4, ("kernels",), {"biases": 2.0, "fc": 5.0}, False),
    "fair": (0.01, 1e-4, ("kernels", "biases"), {}, True),
    "cgnl": (0.01, 1e-4, ("kernels", "biases", "norms", "block_norms"), {}, False),
    "bat": (0.01, 1e-4, ("kernels",), {"biases": 2.0}, False),
}


def rate(step, peak):
    return peak * (0.1 + 0.9 * step / 3) if step < 3 else peak * (0.1 if step >= 8 else 1.0)


def drawn(seed):
    """Returns the weights of the beginning, and the gradients of each step: dictionaries by path."""
    rng = np.random.default_rng(seed)
    return [{path: rng.normal(size=shape) for path, shape in SHAPES.items()} for _ in range(STEPS + 1)]


def kind(path):
    name = path.rpartition("/")[2]
    return {"kernel": "kernels", "bias": "biases"}.get(name, "norms")


def main():
    import torch

    found = {"torch": torch.__version__}
    for seed, (name, (peak, decay, decayed, multipliers, nesterov)) in enumerate(SETTINGS.items()):
        start, *gradients = drawn(seed)
        weights = {path: torch.tensor(value, requires_grad=True) for path, value in start.items()}
        groups, factors = [], []
        for path, weight in weights.items():
            groups.append({"params": [weight], "weight_decay": decay if kind(path) in decayed else 0.0})
            of_part = multipliers.get(path.partition("_")[0].partition("/")[0], 1.0)
            factors.append(of_part * multipliers.get(kind(path), 1.0))
        optimizer = torch.optim.SGD(groups, lr=peak, momentum=MOMENTUM, nesterov=nesterov)
        for step, gradient in enumerate(gradients):
            for group, factor in zip(optimizer.param_groups, factors, strict=True):
                group["lr"] = rate(step, peak) * factor
            for path, weight in weights.items():
                weight.grad = torch.tensor(gradient[path])
            optimizer.step()
        found[name] = {path: weight.detach().tolist() for path, weight in weights.items()}
    path = pathlib.Path(__file__).parent / "fixtures" / "torch_sgd.json"
    path.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
