"""NonLocal against the released code of TSM and of the authors, and its sub-sampling."""

import keras
import numpy as np
import oracles
import pytest
import released

from keras_nonlocal import NonLocal
from keras_nonlocal.affinity import softmax_aggregate


def test_pooling_after_as_in_tsm():
    name = "block_nl_tsm_softmax_sub122"
    activations, w = released.load_block(name)
    layer = NonLocal()
    layer.build(activations["x"].shape)
    parts = {"theta": "theta", "phi": "phi.0", "g": "g.0", "out": "W.0"}
    parts = {k: released.projection(w[f"{v}.weight"], w[f"{v}.bias"]) for k, v in parts.items()}
    released.assign(layer, parts | {"norm": released.norm(w, "W.1")})
    released.check_block(layer, name, activations)
    released.check_running_statistics(layer, w, "W.1", positions=2 * 4 * 8 * 8)


def test_pooling_before_and_scale_as_in_the_authors_code():
    name = "block_nl_fair_softmax_sub122"
    activations, w = released.load_block(name)
    layer = NonLocal(pool_order="before", scaled=True)
    layer.build(activations["x"].shape)
    parts = {k: f"conv_{k}" for k in ("theta", "phi", "g", "out")}
    parts = {k: released.projection(w[f"{v}.weight"], w[f"{v}.bias"]) for k, v in parts.items()}
    released.assign(layer, parts | {"norm": released.norm(w, "bn")})
    released.check_block(layer, name, activations)


@pytest.mark.parametrize("shape", [(2, 7, 4), (2, 5, 7, 4), (2, 3, 5, 7, 4)])
def test_incomplete_windows_are_dropped_at_every_rank(shape):
    layer, w = oracles.randomise(NonLocal(subsample=(2, 3, 2)), shape)
    x = np.random.default_rng(0).standard_normal(shape)
    expected = oracles.non_local(x, w, subsample=(2, 3, 2))
    np.testing.assert_allclose(layer(x.astype("float32")), expected, atol=1e-5)


def test_a_window_larger_than_the_map_is_refused():
    with pytest.raises(ValueError, match=r"small_map: Expected .* Received window \(1, 4, 4\).* Try"):
        NonLocal(subsample=(1, 4, 4), name="small_map").build((None, 8, 4, 3, 16))
    NonLocal(subsample=(1, 4, 4)).build((None, 8, 4, None, 16))  # width unknown: nothing to refuse


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pairwise": "cosine"}, "`pairwise`.*'embedded_gaussian'.*Received 'cosine'"),
        ({"pool_order": "both"}, "`pool_order`.*'after', 'before'.*Received 'both'"),
        ({"channels": 0}, "`channels`.*Received 0.*Try None"),
        ({"subsample": (2, 2)}, r"`subsample`.*Received \(2, 2\).*Try"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected {words}"):
        NonLocal(name="odd_one", **arguments)


@pytest.mark.parametrize("initializer", ["he_normal", keras.initializers.HeNormal()])
def test_theta_and_phi_do_not_start_equal(initializer):
    layer = NonLocal(kernel_initializer=initializer)
    layer.build((None, 4, 4, 8))
    assert np.abs(layer.theta.kernel.numpy() - layer.phi.kernel.numpy()).max() > 0.01


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_logits_and_softmax_are_float32_under_mixed_precision(dtype):
    # Logits 90000 and 90032: beyond float16, and one and the same number in bfloat16.
    queries = keras.ops.convert_to_tensor([[[300.0, 1.0]]], dtype)
    keys = keras.ops.convert_to_tensor([[[300.0, 0.0], [300.0, 32.0]]], dtype)
    values = keras.ops.convert_to_tensor([[[1.0], [-1.0]]], dtype)
    y = softmax_aggregate(queries, keys, values)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    assert float(y[0, 0, 0]) == -1.0
