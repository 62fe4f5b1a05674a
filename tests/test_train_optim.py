"""The optimiser against the recursion of Caffe2 and PyTorch, written out in NumPy."""

import dataclasses
import functools
import json
import math

import keras
import numpy as np
import pytest
import small_run
import torch_optimizer_cases

from keras_nonlocal import DepthwiseConv3D, NonLocal, RegionNonLocal, VideoResNet
from train.config import Config
from train.config.parts import kind_of
from train.loop import optim
from train.loop.losses import SmoothedCrossEntropy
from train.loop.run import optimizer_of
from train.loop.schedules import Schedule, schedule_of
from train.network import BLOCKS
from train.origin import NetworkError

OF_TORCH = json.loads((small_run.ROOT / "tests" / "fixtures" / "torch_optimizer.json").read_text())


def quadratic_model(seed):
    """One kernel, one bias, one norm; the gradients are whatever the test says."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(seed).normal(size=variable.shape))
    return model


def test_decay_is_a_term_of_the_gradient_and_spares_biases_and_norms():
    model, generator = quadratic_model(0), np.random.default_rng(1)
    optimizer = optim.SGD(0.1, momentum=0.9, decay=0.05)
    weights = {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables}
    velocities = {path: np.zeros_like(w) for path, w in weights.items()}
    for _ in range(4):
        gradients = [generator.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)
        for (path, weight), gradient in zip(weights.items(), gradients, strict=True):
            decay = 0.05 * weight if path.endswith("kernel") else 0.0
            velocities[path] = 0.9 * velocities[path] + gradient + decay
            weights[path] = weight - 0.1 * velocities[path]
    for variable in model.trainable_variables:
        np.testing.assert_allclose(variable, weights[variable.path], rtol=1e-5, err_msg=variable.path)
    assert {path.rsplit("/", 1)[-1] for path in weights} == {"kernel", "bias", "gamma", "beta"}


def test_clipping_comes_before_the_decay():
    model = quadratic_model(2)
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    optimizer = optim.SGD(1.0, decay=0.5, global_clipnorm=1e-9)
    optimizer.apply(
        [np.ones(v.shape, "float32") for v in model.trainable_variables], model.trainable_variables
    )
    np.testing.assert_allclose(model.layers[0].kernel, 0.5 * kernel, atol=1e-6)


def test_optimizer_round_trip():
    optimizer = optim.SGD(0.1, momentum=0.9, decay=0.05, rates={"fc": 5.0}, global_clipnorm=20.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, optim.SGD)
    assert again.get_config() == optimizer.get_config()
    assert (optim.SGD(0.1).decay, optim.SGD(0.1).rates) == (0, {})


def network_of_parts():
    """A network with layers of several parts, of one step each."""
    inputs = keras.Input((2, 2, 2, 3))
    x = keras.layers.Dense(4, name="stem_conv")(inputs)
    x = keras.layers.BatchNormalization(name="stem_norm")(x)
    x = NonLocal(name="res2_0_block")(x)
    x = keras.layers.Dense(4, name="res3_0_conv1")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="fc")(keras.layers.GlobalAveragePooling3D()(x)))


def test_a_part_has_its_own_rate_in_every_step():
    """The rate falls meanwhile: it acts on the velocity at once."""
    model, generator = network_of_parts(), np.random.default_rng(4)
    schedule = Schedule("cosine", 0.1, steps=8, warmup_steps=2)
    optimizer = optim.SGD(schedule, momentum=0.9, decay=0.05, rates={"stem": 0.1, "blocks": 3.0, "fc": 10.0})
    variables = model.trainable_variables
    weights = {v.path: np.asarray(v, "float64") for v in variables}
    velocities = {path: np.zeros_like(w) for path, w in weights.items()}
    multipliers = {"stem_conv": 0.1, "stem_norm": 0.1, "res2_0_block": 3.0, "res3_0_conv1": 1.0, "fc": 10.0}
    for step in range(6):
        gradients = [generator.normal(size=v.shape).astype("float32") for v in variables]
        optimizer.apply(gradients, variables)
        for path, gradient in zip(weights, gradients, strict=True):
            rate = multipliers[path.split("/")[0]] * float(schedule(step))
            decay = 0.05 * weights[path] if path.endswith("kernel") else 0.0
            velocities[path] = 0.9 * velocities[path] + gradient + decay
            weights[path] = weights[path] - rate * velocities[path]
    for variable in variables:
        np.testing.assert_allclose(variable, weights[variable.path], rtol=1e-4, atol=1e-6)
    assert {path.split("/")[0] for path in weights} == set(multipliers)


def test_frozen_parts_keep_weights_and_statistics():
    model = network_of_parts()
    optim.freeze(model, ("stem", "blocks"))
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {"res3_0_conv1", "fc"}
    model.compile(optim.SGD(0.1, decay=0.1), loss="mse", jit_compile=False)
    before = {v.path: v.numpy() for v in model.weights}
    clips = np.random.default_rng(5).normal(size=(8, 2, 2, 2, 3))
    model.fit(clips, np.ones((8, 2)), epochs=2, verbose=0)
    moved = {v.path.split("/")[0] for v in model.weights if (v.numpy() != before[v.path]).any()}
    assert moved == {"res3_0_conv1", "fc"}
    assert {path.rpartition("/")[2] for path in before} >= {"moving_mean", "moving_variance", "gamma"}


def test_partial_batch_norm_keeps_all_norms_but_the_first_and_those_of_blocks():
    blocks = {"res3": {0: NonLocal}, "res4": {0: functools.partial(NonLocal, frozen_batch_norm=True)}}
    network = VideoResNet(18, input_shape=(2, None, None, 3), blocks=blocks, num_classes=3, weights=None)
    norms = [x for x in network._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 20 + 2 and sum(norm.trainable for norm in norms) == 21
    optim.freeze_norms(network)
    trains = {v.path for v in network.trainable_variables if v.path.rpartition("/")[2] in ("gamma", "beta")}
    of = ("stem_norm", "res3_0_block/norm")
    assert trains == {f"{layer}/{name}" for layer in of for name in ("gamma", "beta")}
    kernels = [v for v in network.trainable_variables if v.path.endswith("kernel")]
    assert len(kernels) == 20 + 1 + 2 * 4


def test_a_block_that_could_not_learn_is_refused():
    inputs = keras.Input((2, 2, 2, 4))
    block = NonLocal(name="res2_0_block", frozen_batch_norm=True)
    model = keras.Model(inputs, block(inputs))
    optim.freeze(model, ())
    block.norm.gamma.assign([0.0] * 4)  # As weights have it of a new block whose norm trains.
    optim.freeze(model, ("blocks",))
    model.trainable = True
    block.norm.trainable = False
    with pytest.raises(NetworkError, match=r"the frozen batch norms of res2_0_block .*gamma of 0.*Try: --bl"):
        optim.freeze(model, ())


def expected_rate(step, kind, steps, warmup, start, drops, factor, held=1, first=None, joined=False):
    """Returns the rate of a step for a peak of 0.3."""

    def after(step):
        if kind == "cosine":
            begin = warmup if first is None else first
            return (1 + math.cos(math.pi * min(1, (step - begin) / (steps - begin)))) / 2
        return factor ** sum(drop <= step for drop in drops) if kind == "steps" else 1.0

    if step < warmup:
        end = after(warmup) if joined else 1.0
        return 0.3 * (start + (end - start) * (step - step % held) / warmup)
    return 0.3 * after(step)


@pytest.mark.parametrize("kind", ["cosine", "steps", "constant"])
@pytest.mark.parametrize("warmup, start", [(0, 0.1), (5, 0.1), (20, 0.0), (7, 1 / 3)])
@pytest.mark.parametrize(
    "form", [{}, {"held": 3}, {"first": 0}, {"first": 0, "joined": True, "held": 2}], ids=str
)
def test_schedules(kind, warmup, start, form):
    drops = (15, 40) if kind == "steps" else ()
    schedule = Schedule(kind, 0.3, 60, warmup, start, drops, 0.2, **form)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    steps = np.arange(62)
    found = keras.ops.vectorized_map(schedule, steps)
    expected = [expected_rate(step, kind, 60, warmup, start, drops, 0.2, **form) for step in steps]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert again.get_config() == schedule.get_config() and float(again(7)) == float(schedule(7))


def test_the_schedules_of_releases():
    """CGNL's warm-up has ten whole-epoch values, BAT's cosine a step down, PySlowFast's none."""
    cgnl = Config(
        epochs=110, schedule="steps", decay_epochs=(41, 71, 91), warmup_epochs=9, warmup_start=0.001,
        warmup_by="epoch",
    )  # fmt: skip
    rates = [float(schedule_of(cgnl, 3)(step)) for step in range(330)]
    drops = [0.01 * 0.1 ** sum(epoch >= drop for drop in (41, 71, 91)) for epoch in range(10, 110)]
    np.testing.assert_allclose(rates, np.repeat([*np.linspace(1e-5, 0.01, 10), *drops], 3), rtol=1e-5)
    bat = Config(warmup_epochs=2, warmup_start=0, cosine_after_warmup=False)
    rates = [float(schedule_of(bat, 100)(step)) for step in (0, 199, 200, 2500)]
    np.testing.assert_allclose(rates, [0, 0.00995, 0.00996057, 0.005], rtol=1e-5)
    slowfast = {"epochs": 196, "learning_rate": 0.1, "warmup_epochs": 34, "warmup_to": "curve"}
    rates = [
        float(schedule_of(dataclasses.replace(bat, warmup_start=0.1, **slowfast), 10)(s))
        for s in (0, 339, 340)
    ]
    top = 0.05 * (1 + math.cos(math.pi * 34 / 196))
    np.testing.assert_allclose(rates, [0.01, 0.01 + (top - 0.01) * 339 / 340, top], rtol=1e-5)


def test_a_schedule_by_steps():
    config = Config(
        steps=40, epochs=1, schedule="steps", decay_steps=(15, 30), warmup_epochs=0, warmup_steps=5,
        warmup_start=0.0, learning_rate=0.1, decay_factor=0.5,
    )  # fmt: skip
    rates = [float(schedule_of(config, 7)(step)) for step in range(40)]
    expected = [0.1 * step / 5 for step in range(5)] + [0.1] * 10 + [0.05] * 15 + [0.025] * 10
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    half = dataclasses.replace(config, schedule="cosine", decay_steps=())
    assert float(schedule_of(half, 7)(5 + 35 / 2)) == pytest.approx(0.05)


def test_the_schedule_of_a_configuration():
    config = Config(
        schedule="steps", decay_epochs=(1.5, 3), epochs=4, learning_rate=0.1, batch_size=32,
        base_batch_size=64, warmup_epochs=0.5, warmup_start=0.0, decay_factor=0.5,
    )  # fmt: skip
    rates = [float(schedule_of(config, 10)(step)) for step in range(40)]
    expected = [0.05 * step / 5 for step in range(5)] + [0.05] * 10 + [0.025] * 15 + [0.0125] * 10
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    plain = schedule_of(Config(warmup_epochs=5.0, epochs=50), 3).get_config()
    assert plain | {"drops": ()} == {
        "kind": "cosine", "peak": 0.01, "steps": 150, "warmup_steps": 15, "warmup_start": 0.1, "drops": (),
        "factor": 0.1, "held": 1, "first": 15, "joined": False,
    }  # fmt: skip


@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (2, 2), (3, 3)])
def test_a_warm_up_leaves_a_step_for_the_cosine(steps, warmup):
    rates = [float(Schedule("cosine", 0.3, steps, warmup)(step)) for step in range(steps)]
    assert np.isfinite(rates).all() and rates[-1] == pytest.approx(0.3)


@pytest.mark.parametrize("nesterov", [False, True])
def test_rates_and_decay_of_kinds(nesterov):
    """Biases, the classifier, their product, and the norms of blocks, gammas apart from betas."""
    model, generator = network_of_parts(), np.random.default_rng(6)
    schedule = Schedule("steps", 0.1, 9, warmup_steps=2, drops=(4,))
    groups = {"decayed": ("kernels", "block_gammas"), "rates": {"fc": 5.0, "biases": 2.0, "block_betas": 3.0}}
    optimizer = optim.SGD(schedule, momentum=0.9, nesterov=nesterov, decay=0.05, **groups)
    variables = model.trainable_variables
    weights = {v.path: np.asarray(v, "float64") for v in variables}
    velocities = {path: np.zeros_like(w) for path, w in weights.items()}
    for step in range(7):
        gradients = [generator.normal(size=v.shape).astype("float32") for v in variables]
        optimizer.apply(gradients, variables)
        for path, gradient in zip(weights, gradients, strict=True):
            name = path.rpartition("/")[2]
            rate = float(schedule(step)) * (5 if path.startswith("fc") else 1) * (2 if name == "bias" else 1)
            rate *= 3 if name == "beta" and "block" in path else 1
            is_decayed = name == "kernel" or (name == "gamma" and "block" in path)
            gradient = gradient + 0.05 * weights[path] * is_decayed
            velocities[path] = 0.9 * velocities[path] + gradient
            moved = gradient + 0.9 * velocities[path] if nesterov else velocities[path]
            weights[path] = weights[path] - rate * moved
    for variable in variables:
        np.testing.assert_allclose(variable, weights[variable.path], rtol=1e-4, atol=1e-6)
    assert {path.rpartition("/")[2] for path in weights} == {"kernel", "bias", "gamma", "beta"}


@pytest.mark.parametrize("name", torch_optimizer_cases.CASES)
def test_twelve_steps_are_those_of_pytorch(name):
    """What PyTorch 2.13 gives with the groups of released code: `python tests/torch_optimizer_cases.py`."""
    case = torch_optimizer_cases.CASES[name]
    config = Config(
        optimizer=case.optimizer.lower(),
        learning_rate=case.learning_rate,
        momentum=case.momentum,
        weight_decay=case.weight_decay,
        steps=torch_optimizer_cases.STEPS,
        schedule="steps",
        decay_steps=(8,),
        warmup_epochs=0.0,
        warmup_steps=3,
        **case.flags,
    )
    optimizer = optimizer_of(config, steps_per_epoch=5)
    start, *gradients = torch_optimizer_cases.drawn(name)
    inputs = keras.Input((1, 3, 3, 3))
    x = keras.layers.BatchNormalization(name="stem_norm")(keras.layers.Dense(4, name="stem_conv")(inputs))
    x = RegionNonLocal(kernel_size=(1, 3, 3), name="res3_0_block")(x)
    variables = keras.Model(inputs, keras.layers.Dense(2, name="fc")(x)).trainable_variables
    assert {v.path: tuple(v.shape) for v in variables} == torch_optimizer_cases.SHAPES
    for variable in variables:
        variable.assign(start[variable.path])
    for gradient in gradients:
        optimizer.apply([gradient[v.path].astype("float32") for v in variables], variables)
    for variable in variables:
        np.testing.assert_allclose(variable, OF_TORCH[name][variable.path], atol=1e-5, err_msg=variable.path)


@pytest.mark.parametrize("name", BLOCKS)
def test_regions_are_the_kernels_of_f_theta_alone(name):
    block = BLOCKS[name](name="res3_0_block")
    block.build((None, 4, 14, 14, 32))
    layers = [layer for layer in block._flatten_layers() if isinstance(layer, DepthwiseConv3D)]
    of_regions = [layer for layer in block._flatten_layers() if isinstance(layer, RegionNonLocal)]
    found = [v.path for v in block.trainable_variables if kind_of(v.path) == "regions"]
    assert found == [layer.f_theta.kernel.path for layer in of_regions]
    assert bool(found) == (name in ("RegionNonLocal", "AttentionChain")) and len(found) <= len(layers)
    assert kind_of("res3_0_region/kernel") == "kernels"  # No block.


def test_smoothed_labels():
    logits = np.random.default_rng(7).normal(size=(5, 4)).astype("float32")
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    labels = np.array([0, 3, 1, 1, 2])
    expected = -(0.9 * log[np.arange(5), labels] + 0.1 * log.mean(axis=1)).mean()
    loss = SmoothedCrossEntropy(0.1)
    np.testing.assert_allclose(float(loss(labels, logits)), expected, rtol=1e-6)
    np.testing.assert_allclose(float(loss(np.eye(4)[labels], logits)), expected, rtol=1e-6)
    of_keras = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    np.testing.assert_allclose(float(of_keras(np.eye(4)[labels], logits)), expected, rtol=1e-6)
    assert SmoothedCrossEntropy.from_config(loss.get_config()).smoothing == 0.1
