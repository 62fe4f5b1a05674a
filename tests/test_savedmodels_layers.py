"""What every layer must do outside Keras, row by row of `layer_table`: SavedModel and ONNX."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from layer_table import ROWS, ROWS_OF_EACH_LAYER, make, model_of

from keras_nonlocal import affinity


@pytest.fixture(params=ROWS_OF_EACH_LAYER)
def row(request, monkeypatch):
    # So few that most attention maps take several tiles; the released numbers are checked with one.
    monkeypatch.setattr(affinity, "LOGITS_PER_TILE", 100)
    return ROWS[request.param]


def inputs_of_two_sizes(row):
    for extra in (0, 2):
        shape = (3, *(side + extra for side in row.shape[1:-1]), row.shape[-1])
        yield np.random.default_rng(extra).standard_normal(shape).astype("float32")


def test_saved_model(row, tmp_path):
    layer, _, _ = make(row)
    model = model_of(layer, row.shape)
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "exported"))
    for x in inputs_of_two_sizes(row):
        np.testing.assert_allclose(served.serve(x), layer(x), atol=1e-6)


def test_onnx(row, tmp_path):
    layer, _, x = make(row)
    model = model_of(layer, row.shape)
    model(x)  # Keras exports to ONNX what has been called.
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for x in inputs_of_two_sizes(row):
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
        np.testing.assert_allclose(y, layer(x), atol=5e-6)
