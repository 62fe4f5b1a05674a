"""What every layer must do on every Keras backend, row by row of `layer_table`."""

import copy
import inspect

import backends
import keras
import numpy as np
import pytest
from keras import ops
from layer_table import ROWS, ROWS_OF_EACH_LAYER, make, model_of
from oracles import path_inside

from keras_nonlocal import ConvBlockAttention, affinity

HALF = ("mixed_float16", "mixed_bfloat16")


@pytest.fixture(params=ROWS)
def row(request, monkeypatch):
    # So few that most attention maps take several tiles; the released numbers are checked with one.
    monkeypatch.setattr(affinity, "LOGITS_PER_TILE", 100)
    return ROWS[request.param]


def test_equation(row):
    layer, weights, x = make(row)
    expected = row.oracle(x, weights, **row.arguments)
    np.testing.assert_allclose(layer(x.astype("float32")), expected, atol=2e-5)


def test_gradients_against_differences_of_the_equation(row):
    layer, weights, x = make(row)
    x, generator, step = x.astype("float32").astype("float64"), np.random.default_rng(8), 1e-6
    names = [path_inside(w) for w in layer.trainable_weights]
    state = [w.value for w in layer.non_trainable_variables]
    cotangent = generator.standard_normal(layer.compute_output_shape(row.shape))

    def total(x, *values):
        y, _ = layer.stateless_call(values, state, x)
        return ops.sum(ops.multiply(y, cotangent.astype("float32")))

    found = backends.gradients(total, x, *(weights[name] for name in names))
    for name, gradient in zip(["x", *names], found, strict=True):
        direction = generator.standard_normal(gradient.shape)

        def total_at(scale, name=name, direction=direction):
            moved = {"x": x} | weights
            moved[name] = moved[name] + scale * direction
            return np.sum(row.oracle(moved.pop("x"), moved, **row.arguments) * cotangent)

        expected = (total_at(step) - total_at(-step)) / (2 * step)
        # phi's bias adds the same to all logits of a query: its gradient is zero up to rounding.
        along = np.sum(gradient.astype("float64") * direction)
        np.testing.assert_allclose(along, expected, rtol=1e-4, atol=1e-4, err_msg=name)


def test_config_round_trip(row):
    layer = row.layer(**row.arguments, name="named")
    config = layer.get_config()
    again = type(layer).from_config(copy.deepcopy(config))  # Keras's Wrapper empties what it is given
    assert again.get_config() == config
    parameters = inspect.signature(type(layer).__init__).parameters.values()
    own = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {"self"}
    assert own <= config.keys()
    for argument, value in row.arguments.items():
        default = inspect.signature(row.layer).parameters[argument].default
        assert value != default, f"{argument} is at its default, which would hide a lost argument"
        if not argument.endswith("initializer"):
            assert config[argument] == value
    assert type(layer).__module__.startswith("keras_nonlocal")
    assert keras.saving.get_registered_name(type(layer)) == f"keras_nonlocal>{type(layer).__name__}"


def test_keras_file(row, tmp_path):
    layer, _, x = make(row)
    model = model_of(layer, row.shape)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [w.path for w in reloaded.weights] == [w.path for w in model.weights]
    np.testing.assert_array_equal(reloaded(x), model(x))


@pytest.mark.parametrize("row", ROWS_OF_EACH_LAYER, indirect=True)
def test_unknown_sides(row):
    layer, weights, _ = make(row)
    model = model_of(layer, row.shape)
    assert model.output_shape == (*[None] * (len(row.shape) - 1), layer.compute_output_shape(row.shape)[-1])
    for extra in (0, 2):
        shape = (3, *(side + extra for side in row.shape[1:-1]), row.shape[-1])
        x = np.random.default_rng(extra).standard_normal(shape)
        expected = row.oracle(x, weights, **row.arguments)
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=2e-5)


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_one_position(row):
    """The smallest map; it leaves nothing to sub-sample."""
    arguments = row.arguments | ({"subsample": None} if "subsample" in row.arguments else {})
    sides = row.smallest or (1,) * (len(row.shape) - 2)
    layer, weights, x = make(row._replace(arguments=arguments, shape=(2, *sides, row.shape[-1])))
    expected = row.oracle(x, weights, **arguments)
    np.testing.assert_allclose(layer(x.astype("float32")), expected, atol=2e-5)


@pytest.mark.parametrize(("policy", "error"), [("mixed_float16", 0.05), ("mixed_bfloat16", 0.4)])
def test_mixed_precision(row, policy, error):
    layer, weights, x = make(row, dtype=policy)
    assert {child.dtype_policy.name for child in layer._flatten_layers()} == {policy}
    assert {w.dtype for w in layer.weights} <= {"float32"}
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype != "float32"
    expected = row.oracle(x, weights, **row.arguments)
    y = ops.convert_to_numpy(ops.cast(y, "float32"))
    assert np.abs(y - expected).max() < error * max(1, np.abs(expected).max() / 8)


@pytest.mark.parametrize("policy", HALF)
def test_large_logits_stay_finite(row, policy):
    layer, _, x = make(row, dtype=policy)
    if row.arguments.get("pairwise") == "dot_product" and hasattr(layer, "theta"):
        # Theta and phi alone: with x, values and output would grow as well, beyond what float16 can hold.
        for child in (layer.theta, layer.phi):
            child.kernel.assign(30 * child.kernel)
    else:
        x *= 30
    assert np.isfinite(ops.convert_to_numpy(ops.cast(layer(x), "float32"))).all()


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize("policy", HALF)
@pytest.mark.parametrize("row", ROWS_OF_EACH_LAYER, indirect=True)
def test_training_stays_finite(row, policy, request):
    two_dimensional = row.layer is ConvBlockAttention and len(row.shape) == 4
    if two_dimensional and policy == "mixed_float16" and not backends.differentiates_half_convolutions():
        reason = "on this processor torch has no float16 gradient by a kernel of channels-last images"
        request.applymarker(pytest.mark.xfail(raises=RuntimeError, reason=reason, strict=True))
    layer, weights, x = make(row, dtype=policy)
    model = model_of(layer, row.shape)
    model.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    target = np.ones(layer.compute_output_shape(row.shape), "float32")
    with backends.recording():
        losses = [model.train_on_batch(x, target) for _ in range(2)]
    assert np.isfinite(losses).all()
    after = {path_inside(w): w.numpy() for w in layer.weights}
    assert all(np.isfinite(value).all() for value in after.values())
    trained = [path_inside(w) for w in layer.trainable_weights]
    moved = [path for path in trained if (after[path] != weights[path]).any()]
    assert bool(moved) == bool(trained), "every step was skipped"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.identity_at_start])
def test_identity_at_start(name):
    row = ROWS[name]
    x = np.random.default_rng(9).standard_normal(row.shape).astype("float32")
    for training in (False, True):
        np.testing.assert_array_equal(row.layer(**row.arguments)(x, training=training), x)


def test_every_weight_has_a_clear_name(row):
    layer, _, _ = make(row, name="here")
    children = {"theta", "phi", "g", "region", "out", "norm", "layer"}
    children |= {"mask", "reduce", "expand", "conv", "channel"}
    children |= {"p", "q", "t", "context", "mix", "reduce_norm", "context_norm", "mix_norm"}
    for path in (w.path for w in layer.weights):
        head, *child, _ = path.split("/")
        assert head == "here" and set(child) <= children, path


@pytest.mark.parametrize(
    ("shape", "received"),
    [((None, 8), r"\(None, 8\) of rank 2"), ((1, 2, 2, 2, 2, 8), "rank 6"), (None, r"None\)")],
)
def test_wrong_shapes_name_the_layer_and_the_remedy(row, shape, received):
    shape = shape or (*row.shape[:-1], None)
    with pytest.raises(ValueError, match=rf"here: Expected .*Received .*{received}.*Try"):
        row.layer(**row.arguments, name="here").build(shape)


def test_channels_first_is_refused(row):
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match=r"here: Expected .*'channels_last'.*'channels_first'.*Try"):
            row.layer(**row.arguments, name="here").build(row.shape)
    finally:
        keras.config.set_image_data_format("channels_last")
