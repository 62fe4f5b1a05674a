"""The optimiser against the recursion of Caffe2 and PyTorch, written out in NumPy."""

import keras
import numpy as np
import pytest

from keras_nonlocal import NonLocal
from train.loop import optim
from train.origin import NetworkError


def quadratic_model(seed):
    """One kernel, one bias, one norm; the gradients are whatever the test says."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(seed).normal(size=variable.shape))
    return model


def test_decay_is_a_term_of_the_gradient_and_spares_biases_and_norms():
    model, generator = quadratic_model(0), np.random.default_rng(1)
    optimizer = optim.SGD(0.1, momentum=0.9, l2=0.05)
    weights = {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables}
    velocities = {path: np.zeros_like(w) for path, w in weights.items()}
    for _ in range(4):
        gradients = [generator.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)
        for (path, weight), gradient in zip(weights.items(), gradients, strict=True):
            decay = 0.05 * weight if path.endswith("kernel") else 0.0
            velocities[path] = 0.9 * velocities[path] - 0.1 * (gradient + decay)
            weights[path] = weight + velocities[path]
    for variable in model.trainable_variables:
        np.testing.assert_allclose(variable, weights[variable.path], rtol=1e-5, err_msg=variable.path)
    assert {path.rsplit("/", 1)[-1] for path in weights} == {"kernel", "bias", "gamma", "beta"}


def test_clipping_comes_before_the_decay():
    model = quadratic_model(2)
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    optimizer = optim.SGD(1.0, l2=0.5, global_clipnorm=1e-9)
    optimizer.apply(
        [np.ones(v.shape, "float32") for v in model.trainable_variables], model.trainable_variables
    )
    np.testing.assert_allclose(model.layers[0].kernel, 0.5 * kernel, atol=1e-6)


def test_optimizer_round_trip():
    optimizer = optim.SGD(0.1, momentum=0.9, l2=0.05, rates={"fc": 5.0}, global_clipnorm=20.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, optim.SGD)
    assert again.get_config() == optimizer.get_config()
    assert (optim.SGD(0.1).l2, optim.SGD(0.1).rates) == (0, {})


def network_of_parts():
    """A network with layers of several parts, of one step each."""
    inputs = keras.Input((2, 2, 2, 3))
    x = keras.layers.Dense(4, name="stem_conv")(inputs)
    x = keras.layers.BatchNormalization(name="stem_norm")(x)
    x = NonLocal(name="res2_0_block")(x)
    x = keras.layers.Dense(4, name="res3_0_conv1")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="fc")(keras.layers.GlobalAveragePooling3D()(x)))


def test_a_part_has_its_own_rate_in_every_step():
    """The rate falls meanwhile, so the velocity has to hold the multiplier as it holds the rate."""
    model, generator = network_of_parts(), np.random.default_rng(4)
    schedule = optim.cosine_with_warmup(0.1, steps_per_epoch=4, epochs=2, warmup_epochs=0.5)
    optimizer = optim.SGD(schedule, momentum=0.9, l2=0.05, rates={"stem": 0.1, "blocks": 3.0, "fc": 10.0})
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
            velocities[path] = 0.9 * velocities[path] - rate * (gradient + decay)
            weights[path] = weights[path] + velocities[path]
    for variable in variables:
        np.testing.assert_allclose(variable, weights[variable.path], rtol=1e-4, atol=1e-6)
    assert {path.split("/")[0] for path in weights} == set(multipliers)


def test_frozen_parts_keep_weights_and_statistics():
    model = network_of_parts()
    optim.freeze(model, ("stem", "blocks"))
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {"res3_0_conv1", "fc"}
    model.compile(optim.SGD(0.1, l2=0.1), loss="mse", jit_compile=False)
    before = {v.path: v.numpy() for v in model.weights}
    clips = np.random.default_rng(5).normal(size=(8, 2, 2, 2, 3))
    model.fit(clips, np.ones((8, 2)), epochs=2, verbose=0)
    moved = {v.path.split("/")[0] for v in model.weights if (v.numpy() != before[v.path]).any()}
    assert moved == {"res3_0_conv1", "fc"}
    assert {path.rpartition("/")[2] for path in before} >= {"moving_mean", "moving_variance", "gamma"}


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


@pytest.mark.parametrize("warmup_epochs", [0, 0.5, 2])
def test_schedule(warmup_epochs):
    steps, epochs, peak = 10, 6, 0.3
    schedule = optim.cosine_with_warmup(peak, steps, epochs, warmup_epochs)
    warmup = int(warmup_epochs * steps)
    for step in range(steps * epochs + 1):
        if step < warmup:
            expected = peak / 10 + (peak - peak / 10) * step / warmup
        else:
            expected = peak * (1 + np.cos(np.pi * (step - warmup) / (steps * epochs - warmup))) / 2
        np.testing.assert_allclose(float(schedule(step)), expected, atol=1e-7)


@pytest.mark.parametrize(("steps", "epochs", "warmup_epochs"), [(1, 1, 0.9), (1, 2, 1.5), (3, 1, 0.9)])
def test_a_warm_up_leaves_a_step_for_the_cosine(steps, epochs, warmup_epochs):
    schedule = optim.cosine_with_warmup(0.3, steps, epochs, warmup_epochs)
    rates = [float(schedule(step)) for step in range(steps * epochs)]
    assert np.isfinite(rates).all() and rates[-1] == pytest.approx(0.3)
