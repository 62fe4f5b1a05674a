"""The training step: parts of a batch one after the other, gradients that all devices share, and averages."""

import contextlib

import keras
import tensorflow as tf


@contextlib.contextmanager
def exact_sums():
    """Within the block, what a step adds up is added up in the same order each time, on a CPU.

    TensorFlow's AddN begins with whichever term's memory it may write over, so a sum of three or more terms
    rounds in one way or another. `Trainer` adds gradients in pairs; here TensorFlow may not join the pairs.
    """
    before = tf.config.optimizer.get_experimental_options().get("arithmetic_optimization", True)
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": before})


class Trainer(keras.Model):
    """A network with a training step of its own.

    Keras clips the gradients of each device, before they are summed. Here they are summed first, so that many
    devices do what one does. A batch may be cut into parts, whose gradients are averaged: it then takes the
    memory of a part, and batch norms see parts.

    The logs of a step hold values that are no metrics: `batch_loss`, the loss of this batch alone;
    `gradient_norm`, the norm of all gradients together before they are clipped; `learning_rate`; and
    `waited`, the seconds for which the step waited for its batch.

    Attributes:
        accumulation: The count of parts A; it divides the clips that a device gets of a batch.
        consensus: The count S of clips that each video of a batch has, one after the other along time, as in
            [B, S * T, H, W, 3]. Their logits are averaged before the loss (Wang et al. 2016, TSN).
        clip_norm: The largest norm of all gradients together; they are scaled down to it.

    The optimizer must neither sum nor clip gradients itself, see `train.loop.optim.SGD`.

    Keras 3 cannot train under `MultiWorkerMirroredStrategy` (keras issue 20585): it averages a batch to learn
    its shape, and the logs along an axis that they lack. So this class has functions of its own for a batch,
    and learns shapes from `build_for`.
    """

    accumulation, consensus, clip_norm = 1, 1, float("inf")

    def build_for(self, classes):
        """Builds metrics and loss; `classes` is the length of the labels, or None if they are numbers."""
        clips = keras.KerasTensor((1, *self.input_shape[1:]))
        kind = ((1,), "int32") if classes is None else ((1, classes), "float32")
        self._symbolic_build(data_batch=(clips, keras.KerasTensor(*kind)))

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing, as `build_for` did it."""

    def make_train_function(self, force=False):
        """Makes the function that trains on the next batch of an iterator, and returns the logs."""
        if self.train_function is not None and not force:
            return
        strategy = self.distribute_strategy

        @tf.function(autograph=False, reduce_retracing=True)
        def train(iterator):
            batch, waited = _timed_next(iterator)
            logs = strategy.run(self.train_step, args=(batch,))
            logs = {name: strategy.experimental_local_results(value)[0] for name, value in logs.items()}
            return logs | {"waited": waited}

        self.train_function = train

    def make_predict_function(self, force=False):
        """Makes the function from [batch] to the scores of this worker's devices."""
        if self.predict_function is not None and not force:
            return
        strategy = self.distribute_strategy

        @tf.function(autograph=False, reduce_retracing=True)
        def predict(batches):
            scores = strategy.run(self.predict_step, args=(batches[0],))
            return tf.concat(strategy.experimental_local_results(scores), axis=0)

        self.predict_function = predict

    def train_step(self, data):
        """Trains on a batch (clips, labels); returns the logs."""
        weights, parts = self.trainable_weights, self.accumulation
        clips, labels = (tf.split(values, parts) for values in data)
        sums, losses = None, []
        for part in zip(clips, labels, strict=True):
            loss, gradients, logits = self._gradients(*part, weights)
            if sums is not None:
                gradients = [tf.add(*pair) for pair in zip(sums, gradients, strict=True)]
            sums = gradients
            losses.append(loss)
            logs = self.compute_metrics(part[0], part[1], logits)
        gradients = _all_reduce(tf.distribute.ReduceOp.SUM, sums)
        rate = tf.identity(self.optimizer.learning_rate)  # Before the step, which counts on.
        norm = tf.linalg.global_norm(gradients) / self.optimizer.scale_loss(tf.constant(1.0))
        kept = tf.minimum(1.0, self.clip_norm / norm)
        gradients = [gradient * kept for gradient in gradients]
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        logs |= {"batch_loss": tf.reduce_mean(tf.stack(losses)), "gradient_norm": norm, "learning_rate": rate}
        means = _all_reduce(tf.distribute.ReduceOp.MEAN, tf.stack(list(logs.values())))
        return dict(zip(logs, tf.unstack(means), strict=True))

    def share_statistics(self):
        """Gives all devices the mean of the running statistics that each has gathered from its own clips.

        Running means are linear, so that it does not matter how often this is done.
        """
        if self.distribute_strategy.num_replicas_in_sync > 1:
            self._share()

    @tf.function(autograph=False)
    def _share(self):
        self.distribute_strategy.run(self._share_on_device)

    def _share_on_device(self):
        statistics = [v.value for v in self.non_trainable_weights if v.value.dtype.is_floating]
        if not statistics:
            return
        means = _all_reduce(tf.distribute.ReduceOp.MEAN, [tf.identity(value) for value in statistics])
        for variable, mean in zip(statistics, means, strict=True):
            variable.assign(mean)

    @property
    def norms(self):
        """The batch norms that train."""
        layers = self._flatten_layers()  # Keras has no public way to those within layers.
        return [x for x in layers if isinstance(x, keras.layers.BatchNormalization) and x.trainable]

    @property
    def seeds(self):
        """The variables by which dropout draws."""
        return [v for v in self.non_trainable_variables if v.path.endswith("seed_generator_state")]

    @tf.function(autograph=False)
    def statistics(self, batch, states):
        """Shows a batch as in training, and changes no variable.

        Args:
            batch: (clips, labels), as for a step.
            states: The values of `seeds`.

        Returns:
            (float64 [2, C], states): for all channels of `norms`, one after the other, the mean of their
            inputs and the mean of the squares, over devices and parts of a batch; and the next states.
        """
        found = self.distribute_strategy.run(self._statistics_on_device, args=(batch[0], states))
        local = self.distribute_strategy.experimental_local_results
        return tf.nest.map_structure(lambda value: local(value)[0], found)

    def _statistics_on_device(self, clips, states):
        found, norms = [], self.norms
        for part in tf.split(clips, self.accumulation):
            # Beside zeros, a moving average gets the statistics of the batch times 1 - momentum.
            zeros = [(v, tf.zeros(v.shape)) for x in norms for v in (x.moving_mean, x.moving_variance)]
            with keras.StatelessScope([*zeros, *zip(self.seeds, states, strict=True)]) as scope:
                self.logits(part)
            states = [scope.get_current_value(seed) for seed in self.seeds]
            value = scope.get_current_value
            scaled = [(value(x.moving_mean), value(x.moving_variance), 1 - x.momentum) for x in norms]
            means = tf.concat([tf.cast(mean, tf.float64) / scale for mean, _, scale in scaled], 0)
            variances = tf.concat([tf.cast(variance, tf.float64) / scale for _, variance, scale in scaled], 0)
            found.append(tf.stack([means, variances + means**2]))
        return _all_reduce(tf.distribute.ReduceOp.MEAN, tf.reduce_mean(tf.stack(found), axis=0)), states

    def logits(self, clips):
        """Returns the logits [B, K] of a training for clips [B, S * T, H, W, 3]."""
        if self.consensus == 1:
            return self(clips, training=True)
        shape = tf.shape(clips)
        clips = tf.reshape(clips, [-1, *self.input_shape[1:2], *tf.unstack(shape[2:])])  # [B * S, T, H, W, 3]
        logits = self(clips, training=True)  # [B * S, K]
        return tf.reduce_mean(tf.reshape(logits, [-1, self.consensus, logits.shape[-1]]), axis=1)

    def _gradients(self, clips, labels, weights):
        """Returns the loss of a part, its share of the gradients, scaled as the loss is, and its logits."""
        logits = self.logits(clips)
        # It is divided by the count of devices, as gradients are summed over them.
        shared = self.compute_loss(clips, labels, logits)
        scaled = self.optimizer.scale_loss(shared / self.accumulation)
        loss = shared * tf.distribute.get_strategy().num_replicas_in_sync
        is_finite = tf.math.is_finite(loss)  # A batch that overflows leaves the mean of the others alone.
        for metric in self.metrics:
            if metric.name == "loss":
                count = tf.where(is_finite, tf.shape(clips)[0], 0)
                metric.update_state(tf.where(is_finite, loss, 0.0), sample_weight=count)
        # A softmax over a single key depends on no weight of theta and phi. For the method, see `exact_sums`.
        gradients = tf.gradients(
            scaled,
            [weight.value for weight in weights],
            aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE,
            unconnected_gradients="zero",
        )
        return loss, gradients, logits


def _timed_next(iterator):
    """Returns the next batch of an iterator, and the seconds that it took, in a graph."""
    with tf.device("CPU:0"):
        start = tf.timestamp()
    with tf.control_dependencies([start]):
        batch = next(iterator)
    with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)), tf.device("CPU:0"):
        return batch, tf.cast(tf.timestamp() - start, tf.float32)


def _all_reduce(operation, values):
    """Returns the sum or mean of all devices' values; for one device these are not copied."""
    context = tf.distribute.get_replica_context()
    return values if context.num_replicas_in_sync == 1 else context.all_reduce(operation, values)


class MovingAverage:
    """The exponential moving average of a model's trainable weights, beside them.

        average <- d * average + (1 - d) * weight,  d = min(decay, (1 + steps) / (10 + steps))

    The smaller decay of the first steps forgets the random start, as in TensorFlow's own average.

    Args:
        model: A built model; the constructor is called in the scope of its strategy.
        decay: In [0, 1); with 0 there is no average, and the weights stand for it.
    """

    def __init__(self, model, decay):
        self._weights, self._decay = [v.value for v in model.trainable_weights] if decay else [], decay
        self.variables = [
            keras.Variable(keras.ops.copy(v), trainable=False, name=f"average_of_{v.name}")
            for v in (model.trainable_weights if decay else ())
        ]

    @tf.function
    def update(self, steps):
        """Moves the averages after a step; `steps` is the count of those before it, a float tensor."""
        decay = tf.minimum(self._decay, (1 + steps) / (10 + steps))
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.value.assign(decay * average.value + (1 - decay) * weight)

    @contextlib.contextmanager
    def shown(self):
        """Within the block the model has the averages for its weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self):
        for average, weight in zip(self.variables, self._weights, strict=True):
            value = weight.numpy()
            weight.assign(average.value)
            average.value.assign(value)
