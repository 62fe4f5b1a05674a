"""BatchNormalization: Keras's own, by TensorFlow's fused operation where that trains faster."""

import keras
from keras import backend, ops


@keras.saving.register_keras_serializable("keras_nonlocal")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, whose names, weights, arguments and numbers it has.

    The class has Keras's name, as Keras names the groups of a weights file by it.

    Keras trains it by nine plain operations, each of which reads or writes the whole map. On TensorFlow, a
    norm over all but the last axis that is neither synchronised nor renormalised takes one fused operation
    for them and one for their gradients. The statistics are float32 in mixed precision, too.

    Cost:
        As Keras's in evaluation; `benchmarks/training.py` prints that of a training step.

    Differs:
        The fused operation gives the unbiased variance for the running one; here it is the biased one, as
        Keras's is. PyTorch keeps the unbiased one.
    """

    def call(self, inputs, training=None, mask=None):
        """Normalises by the statistics of the batch in training, and else by the running ones."""
        if not (training and self.trainable and mask is None and self._is_fused(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        shape = ops.shape(inputs)
        # [N, H, W, C]: the operation takes no other ranks, and the split of N, H and W does not matter.
        folded = ops.reshape(
            inputs, (-1, 1, shape[-2], shape[-1]) if len(shape) > 2 else (-1, 1, 1, shape[-1])
        )
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=folded,
            scale=ops.cast(self.gamma, "float32") if self.scale else tf.ones(shape[-1:]),
            offset=ops.cast(self.beta, "float32") if self.center else tf.zeros(shape[-1:]),
            mean=tf.zeros((0,)),
            variance=tf.zeros((0,)),
            epsilon=self.epsilon,
            is_training=True,
        )
        count = ops.cast(tf.size(folded) // shape[-1], "float32")
        variance = variance * ((count - 1) / count)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + ops.cast(value, moving.dtype) * (1.0 - self.momentum))
        return ops.cast(ops.reshape(outputs, shape), self.compute_dtype)

    def _is_fused(self, inputs):
        """Returns whether the fused operation can do what this norm has to."""
        is_last = self.axis in (-1, len(inputs.shape) - 1)
        plain = not (self.synchronized or self.renorm) and is_last and inputs.shape[-1] is not None
        is_taken = backend.standardize_dtype(inputs.dtype) in ("float32", "bfloat16", "float16")
        return backend.backend() == "tensorflow" and plain and is_taken
