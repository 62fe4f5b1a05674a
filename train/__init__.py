"""The programs: `python -m train` trains and evaluates; every other one runs as `python -m train.<name>`.

`config` says what a run is, and `fields` what its fields may be; `parts` names the parts of a network. `data`
(with `augmentation`) and `network` make the two halves of a run from it. `scoring` says what a model is
worth, `reporting` makes pages and pictures, `loop` trains, and `planning` chooses flags. The programs turn
flags into calls: `__main__` and `kinetics` (a run), `finetune`, `evaluate`, `predict`, `browse`, `convert`,
`preset`, `profile` and `demo`.
"""

import quiet_tensorflow

quiet_tensorflow.in_programs()
