"""The programs: training, evaluation and prediction, each run as `python -m train.<name>`.

`config` says what a run is, `loop` runs it from top to bottom, `optim` and `evaluate` are its parts,
and the mains (`kinetics`, `predict`, `demo`) turn flags into calls.
"""
