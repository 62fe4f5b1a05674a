"""The programs: `python -m train` trains and evaluates; each other one is run as `python -m train.<name>`.

`config` says what a run is, and `fields` what its fields may be; `data` and `network` make the two halves of
a run from it; `loop` runs it from top to bottom, with `optim` and `evaluate` as its parts. The mains turn
flags into calls: `__main__` and `kinetics` (a run), `convert`, `predict`, `profile` and `demo`.
"""
