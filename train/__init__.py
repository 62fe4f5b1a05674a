"""The programs: `python -m train` trains and evaluates; every other one runs as `python -m train.<name>`.

`config` says what a run is, and `fields` says what its fields may be. `data` and `network` make the two
halves of a run from it. `scoring` says what a model is worth, and `loop` trains. The programs turn flags
into calls: `__main__` and `kinetics` (a run), `evaluate`, `predict`, `convert`, `profile` and `demo`.
"""
