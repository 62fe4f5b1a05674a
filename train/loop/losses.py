"""Losses of logits, and the accuracies that a training shows beside them."""

import keras
from keras import ops

from train.data import mixes


def has_vectors(config):
    """Returns whether the labels of training clips are vectors: of several classes, or of mixed clips."""
    return mixes(config) or config.multi_label


def loss_of(config):
    """Returns the loss of a configuration, which is the mean over the rows of a batch.

    It is cross-entropy, of the softmax of the logits; or if videos may have several labels, binary
    cross-entropy of their sigmoids, its mean over the classes, where smoothed labels are (1 - s) * y + s / 2.
    """
    if config.multi_label:
        return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    if config.label_smoothing:
        return SmoothedCrossEntropy(config.label_smoothing)
    kind = "Categorical" if has_vectors(config) else "SparseCategorical"
    return getattr(keras.losses, f"{kind}Crossentropy")(from_logits=True)


def accuracies_of(config, classes):
    """Returns the metrics of training batches: top-1 and top-5; none if videos may have several labels.

    The best five of 5 classes or fewer are all of them, so there is no top-5.
    """
    if config.multi_label:
        return []
    kind = "" if mixes(config) else "Sparse"
    top1 = getattr(keras.metrics, f"{kind}CategoricalAccuracy")("top1")
    top5 = getattr(keras.metrics, f"{kind}TopKCategoricalAccuracy")(5, "top5")
    return [top1, top5] if classes > 5 else [top1]


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
