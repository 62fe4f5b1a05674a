"""The programs: `python -m train` trains and evaluates; every other one runs as `python -m train.<name>`.

`config` says what a run is, and `fields` what its fields may be; `parts` names the parts of a network. `data`
and `network` make the two halves of a run from it, and `loop` trains and evaluates. The programs turn flags
into calls: `__main__` and `kinetics` (a run), `convert`, `predict`, `profile` and `demo`.
"""

import quiet_tensorflow

quiet_tensorflow.in_programs()
