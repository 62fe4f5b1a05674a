"""The loop of a run, from the manifests to `results.json`, and from any step on.

`run` goes the whole way. `workdir` claims the directory, `state` is how far a run is, and `checkpoints` keep
it. `fitting` trains with the step of `trainer` and the optimizer of `optim`; `precise_norms` makes norms
precise for an evaluation; `ending` says when it is done, and which epoch is kept; `watching` reports on it,
and `stopping` hears signals. `workers` is what the processes of several machines tell each other, and
`service` watches a tf.data service.
"""

from train.loop.run import DeviceError, check_devices, train_and_evaluate

__all__ = ["DeviceError", "check_devices", "train_and_evaluate"]
