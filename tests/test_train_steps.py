"""Every step of short trainings against NumPy: schedules, groups, clipping, parts of a batch, devices."""

import keras
import numpy as np
import pytest
import small_run
import tensorflow as tf
from test_train_optim import expected_rate

from pipelines.order import WHOLE
from train.config import Config
from train.loop.run import optimizer_of
from train.loop.trainer import Trainer
from train.scoring.evaluation import shared_out

STEPS, BATCH, PEAK = 12, 8, 0.3
FACTORS = {"stem_conv/kernel": 1, "stem_conv/bias": 2, "fc/kernel": 5, "fc/bias": 10}  # Of fc=5,biases=2.
STEPWISE = {"schedule": "steps", "decay_steps": (6, 10)}
# name -> (flags, what `expected_rate` needs to know of them).
CASES = {
    "cosine": ({}, {"kind": "cosine"}),
    "its first steps left out": ({"cosine_after_warmup": False}, {"kind": "cosine", "first": 0}),
    "drops": (STEPWISE | {"nesterov": True, "warmup_by": "epoch"}, {"kind": "steps", "held": 2}),
    "constant": ({"schedule": "constant", "momentum": 0.0}, {"kind": "constant"}),
    "adamw": (STEPWISE | {"optimizer": "adamw", "beta2": 0.95}, {"kind": "steps"}),
}


def drawn():
    """Returns weights by path, and the inputs and classes of all batches."""
    rng = np.random.default_rng(3)
    shapes = {"stem_conv/kernel": (3, 4), "stem_conv/bias": (4,), "fc/kernel": (4, 3), "fc/bias": (3,)}
    weights = {path: rng.normal(size=shape) for path, shape in shapes.items()}
    return weights, rng.normal(size=(STEPS, BATCH, 3)).astype("float32"), rng.integers(3, size=(STEPS, BATCH))


def gradients_of(weights, x, classes):
    """Returns the gradients of the mean cross-entropy of fc(relu(stem(x)))."""
    before = x @ weights["stem_conv/kernel"] + weights["stem_conv/bias"]
    hidden = np.maximum(before, 0)
    logits = hidden @ weights["fc/kernel"] + weights["fc/bias"]
    wrong = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(3)[classes]
    wrong /= len(x)
    back = wrong @ weights["fc/kernel"].T * (before > 0)
    of_fc = {"fc/kernel": hidden.T @ wrong, "fc/bias": wrong.sum(axis=0)}
    return {"stem_conv/kernel": x.T @ back, "stem_conv/bias": back.sum(axis=0)} | of_fc


def expected(config, about):
    """Yields (rate, weights by path) of each step."""
    weights, inputs, classes = drawn()
    first = {path: np.zeros_like(value) for path, value in weights.items()}
    second = {path: np.zeros_like(value) for path, value in weights.items()}
    for step in range(STEPS):
        rate = expected_rate(step, steps=STEPS, warmup=4, start=0.1, drops=(6, 10), factor=0.1, **about)
        gradients = gradients_of(weights, inputs[step], classes[step])
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        for path, gradient in gradients.items():
            gradient = gradient * min(1, config.clip_norm / norm)
            own, decay = rate * FACTORS[path], config.weight_decay * path.endswith("kernel")
            if config.optimizer == "adamw":
                weights[path] = weights[path] * (1 - own * decay)
                first[path] = 0.9 * first[path] + 0.1 * gradient
                second[path] = 0.95 * second[path] + 0.05 * gradient**2
                mean, square = first[path] / (1 - 0.9 ** (step + 1)), second[path] / (1 - 0.95 ** (step + 1))
                weights[path] = weights[path] - own * mean / (np.sqrt(square) + 1e-8)
                continue
            gradient = gradient + decay * weights[path]
            first[path] = config.momentum * first[path] + gradient
            moved = gradient + config.momentum * first[path] if config.nesterov else first[path]
            weights[path] = weights[path] - own * moved
        yield rate, dict(weights)


def check(name, accumulation, strategy=None):
    """Trains, and compares rate and weights with NumPy's after each step."""
    flags, about = CASES[name]
    about = {"held": 1} | about
    config = Config(
        steps=STEPS, warmup_epochs=0.0, warmup_steps=4, learning_rate=PEAK, weight_decay=0.01, clip_norm=0.4,
        rates=("fc=5", "biases=2"), batch_size=BATCH, accumulation=accumulation, **flags,
    )  # fmt: skip
    strategy = strategy or tf.distribute.MirroredStrategy(["CPU:0"])
    weights, inputs, classes = drawn()
    with strategy.scope():
        x = keras.Input((3,))
        hidden = keras.layers.Dense(4, activation="relu", name="stem_conv")(x)
        model = Trainer(x, keras.layers.Dense(3, name="fc")(hidden))
        model.accumulation, model.clip_norm = config.accumulation, config.clip_norm
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer_of(config, steps_per_epoch=2), loss=loss, jit_compile=False)
        model.build_for(None)
        for variable in model.trainable_variables:
            variable.assign(weights[variable.path])
    data = tf.data.Dataset.from_tensor_slices((inputs, classes.astype("int32")))
    model.make_train_function()
    batches = iter(shared_out(data, model, WHOLE))
    for step, (rate, wanted) in enumerate(expected(config, about)):
        logs = model.train_function(batches)
        assert float(logs["learning_rate"]) == pytest.approx(rate, rel=1e-5, abs=1e-8), (name, step)
        for variable in model.trainable_variables:
            for value in strategy.experimental_local_results(variable.value):
                message = f"{name}, step {step}, {variable.path}"
                np.testing.assert_allclose(
                    value, wanted[variable.path], rtol=2e-4, atol=2e-5, err_msg=message
                )


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_that_of_numpy(name):
    check(name, accumulation=1 if name == "constant" else 4)


def test_adamw_leaves_out_steps_that_overflow_in_float16():
    """Neither its averages nor its count of steps know of them; others train at the scale of the loss."""
    weights, inputs, classes = drawn()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        x = keras.Input((3,))
        logits = keras.layers.Dense(3, name="fc", dtype="float32")(keras.layers.Dense(4, name="stem_conv")(x))
        model, config = Trainer(x, logits), Config(optimizer="adamw", warmup_epochs=0.0, rates=("fc=5",))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer_of(config, 9), loss=loss, jit_compile=False)
        model.build_for(None)
    finally:
        keras.config.set_dtype_policy("float32")
    for variable in model.trainable_variables:
        variable.assign(weights[variable.path])
    inner, step = model.optimizer.inner_optimizer, tf.function(model.train_step, autograph=False)
    assert not np.isfinite(step((1e30 * inputs[0], classes[0].astype("int32")))["gradient_norm"])
    for variable in model.trainable_variables:
        np.testing.assert_array_equal(variable, weights[variable.path].astype("float32"))
    assert int(inner.iterations) == 0 and not any(np.any(v) for v in inner._momentums)
    step((inputs[0], classes[0].astype("int32")))
    assert int(inner.iterations) == 1
    for variable in model.trainable_variables:  # The first step of AdamW is the rate, by the gradient's sign.
        own = 0.01 * (5 if variable.path.startswith("fc") else 1)
        decayed = weights[variable.path] * (1 - own * 1e-4 * variable.path.endswith("kernel"))
        np.testing.assert_allclose(np.abs(variable - decayed), own, rtol=2e-2)


def test_the_logits_of_a_consensus_are_averaged_before_the_loss():
    """Of each video of a batch; the metrics take the mean logits, too, and parts of a batch are videos."""
    rng = np.random.default_rng(5)
    clips, classes = rng.normal(size=(4, 3 * 2, 5, 5, 3)).astype("float32"), np.array([0, 3, 1, 1], "int32")
    inputs = keras.Input((2, None, None, 3))
    x = keras.layers.Conv3D(4, (2, 3, 3), activation="relu")(inputs)
    model = Trainer(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling3D()(x)))
    model.consensus, model.accumulation = 3, 2
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer_of(Config(), 1), loss=loss, metrics=["accuracy"], jit_compile=False)
    model.build_for(None)
    alone = np.stack([model(clips[:, 2 * c : 2 * c + 2]) for c in range(3)])  # [S, B, K]
    logits = alone.mean(axis=0)
    wanted = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[range(4), classes])
    logs = tf.function(model.train_step, autograph=False)((clips, classes))
    assert float(logs["batch_loss"]) == pytest.approx(wanted, rel=1e-5)
    assert float(logs["accuracy"]) == (logits.argmax(axis=1) == classes).mean()


# TensorFlow is told of devices once a process.
ON_TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, "tests")
from test_train_steps import CASES, check
reduce = tf.distribute.HierarchicalCopyAllReduce()
for name in CASES:
    check(name, 2, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduce))
"""


@pytest.mark.long
def test_every_step_of_two_devices_is_that_of_numpy():
    process = small_run.run_python("-c", ON_TWO_DEVICES)
    assert process.returncode == 0, process.stderr[-3000:]
