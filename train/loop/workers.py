"""The workers of a run: processes, often one a machine, that train one model together."""

import contextlib
import functools
import json
import os
import signal
import sys

import numpy as np
import tensorflow as tf

from pipelines.order import Part
from train.loop.stopping import Stopped

_SECONDS = 600  # For which workers wait for each other.


class WorkerError(Exception):
    """Another worker has an error, or differs from this one; or TF_CONFIG describes no workers."""


def open_strategy():
    """Returns the strategy of a run: all devices of the workers that TF_CONFIG lists, or of this machine.

    It has to be called before TensorFlow does anything else, in the main thread. Several workers wait here
    for each other; where one does not come, SIGALRM ends the others.

    Raises:
        WorkerError: TF_CONFIG describes no workers, or not all of them came.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return tf.distribute.MirroredStrategy()
    try:
        described = json.loads(text)
        cluster, task = described.get("cluster") or {}, described.get("task") or {}
        addresses = {kind: len(cluster[kind]) for kind in cluster}
        is_right = set(addresses) <= {"chief", "worker"} and 0 <= task["index"] < addresses[task["type"]]
    except (ValueError, LookupError, TypeError, AttributeError):
        is_right = False
    if not is_right:
        raise WorkerError(
            'Expected TF_CONFIG to be {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": '
            '"worker", "index": NUMBER}}, NUMBER being that of this worker. '
            f"Received {text!r}. Try: no TF_CONFIG for one machine."
        )
    if sum(addresses.values()) == 1:
        return tf.distribute.MirroredStrategy()
    print(f"waiting for {sum(addresses.values())} workers, {_SECONDS} s at most", file=sys.stderr)
    # TensorFlow does not let Python do anything meanwhile, so signals have to end the program by themselves.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.alarm(_SECONDS)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise WorkerError(
            f"Expected all workers of TF_CONFIG, {text}. Received: {str(error).splitlines()[0]}. "
            "Try: start the same command for each of them, at addresses that reach each other."
        ) from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGINT, before)


class Workers:
    """What the workers of a run tell each other. Alone, a worker tells itself.

    Each method is called by all workers, in the same order; they wait for each other there.

    Args:
        strategy: The `tf.distribute.Strategy` of the run.

    Attributes:
        part: The `pipelines.order.Part` of this worker.
    """

    def __init__(self, strategy):
        self._strategy = strategy
        function = functools.partial(tf.function, autograph=False, reduce_retracing=True)
        self._sum = function(lambda values: strategy.reduce("SUM", values, axis=None))
        self._gather = function(lambda values: strategy.gather(values, axis=0))
        resolver = strategy.cluster_resolver
        cluster = resolver.cluster_spec().as_dict() if resolver else {}
        counts = [len(cluster.get(kind, ())) for kind in ("chief", "worker")]
        if sum(counts) < 2:
            self.part = Part()
        else:
            before = counts[0] if resolver.task_type == "worker" else 0
            self.part = Part(before + resolver.task_id, sum(counts))

    @property
    def is_chief(self):
        """Whether this is the worker that writes and prints."""
        return self.part.number == 0

    @property
    def is_alone(self):
        """Whether there is no other worker."""
        return self.part.count == 1

    @property
    def devices(self):
        """The count of devices of this worker."""
        return self._strategy.num_replicas_in_sync // self.part.count

    def sum(self, values):
        """Returns the sum over the workers of an array."""
        if self.is_alone:
            return np.asarray(values)
        return self._sum(self._of_first_device(tf.convert_to_tensor(values))).numpy()

    def gather(self, values):
        """Returns the workers' arrays, which may differ in their length, one after the other."""
        if self.is_alone:
            return np.asarray(values)
        values = tf.convert_to_tensor(values)
        return self._gather(self._of_first_device(values, values[:0])).numpy()

    def _of_first_device(self, value, others=None):
        """Returns a distributed value: `value` at this worker's first device, zeros or `others` elsewhere."""
        if self.devices == 1:
            return value
        others = tf.zeros_like(value) if others is None else others
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: others if context.replica_id_in_sync_group % self.devices else value
        )

    def tell(self, value):
        """Returns the list of the workers' values, which are ready for JSON."""
        if self.is_alone:
            return [value]
        content = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
        ends = np.cumsum(self.gather(np.array([len(content)], np.int32)))
        contents = np.split(self.gather(content).astype(np.uint8), ends[:-1])
        return [json.loads(bytes(content)) for content in contents]

    def give(self, variables):
        """Gives Keras variables the values that they have at the chief."""
        if self.is_alone:
            return
        for is_float in (True, False):  # One sum for each kind.
            kind = np.float32 if is_float else np.int64
            chosen = [v for v in variables if v.value.dtype.is_floating == is_float]
            values = [np.asarray(v.value) for v in chosen]
            values = values if self.is_chief else [np.zeros_like(value) for value in values]
            flat = np.concatenate([value.astype(kind).ravel() for value in values] or [np.zeros(0, kind)])
            parts = np.split(self.sum(flat), np.cumsum([value.size for value in values])[:-1])
            for variable, value, part in zip(chosen, values, parts, strict=True):
                variable.value.assign(part.reshape(value.shape).astype(value.dtype))

    @contextlib.contextmanager
    def together(self):
        """All workers leave the block, or none does: an error of one of them ends the others, too.

        Raises:
            WorkerError: Another worker has an error.
        """
        error = None
        try:
            yield
        except Exception as raised:
            error = raised
        errors = self.tell("" if error is None else str(error) or repr(error))
        if error is not None:
            raise error
        for number, text in enumerate(errors):
            if text:
                raise WorkerError(f"Worker {number} has ended: {text}")

    @contextlib.contextmanager
    def lost(self):
        """Turns what TensorFlow raises where another worker does not answer into `Stopped`."""
        try:
            yield
        except tf.errors.OpError as error:
            gone = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError
            if self.is_alone or not (isinstance(error, gone) or "Collective ops is aborted" in str(error)):
                raise
            raise Stopped("the end of another worker") from error

    def check_same(self, values):
        """Raises WorkerError unless all workers have the same dictionary as the chief."""
        of_chief = self.tell(values)[0]
        differ = [name for name in of_chief | values if of_chief.get(name) != values.get(name)]
        with self.together():
            for name in differ[:1]:
                raise WorkerError(
                    f"Expected {name} as at the chief, {of_chief.get(name)!r}. Received "
                    f"{values.get(name)!r}. Try: the same command and the same files for all workers."
                )
