"""The loss of smoothed labels."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_nonlocal")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy with smoothed labels (Szegedy et al. 2016), of logits and classes or vectors of labels.

        -sum_k ((1 - s) * y_k + s / K) * log softmax(logits)_k

    Args:
        smoothing: The part s of each label that is spread over all K classes, in [0, 1).
    """

    def __init__(self, smoothing, name="smoothed_cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.smoothing = smoothing

    def call(self, labels, logits):
        """Returns the loss of each row: labels [B] or [B, K], logits [B, K] -> [B]."""
        logits = ops.cast(logits, "float32")
        classes = logits.shape[-1]
        if len(labels.shape) < 2:
            labels = ops.one_hot(ops.cast(labels, "int32"), classes)
        spread = (1 - self.smoothing) * ops.cast(labels, "float32") + self.smoothing / classes
        return -ops.sum(spread * ops.log_softmax(logits, axis=-1), axis=-1)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "smoothing": self.smoothing}
