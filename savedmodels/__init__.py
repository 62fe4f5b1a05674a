"""Trained models as TensorFlow SavedModels, for TF Serving and every other runtime that loads them.

`signatures` says what goes in and what comes out; `export` writes the model and proves that it loads
without Keras; `freeze` makes it faster on a CPU.
"""

import quiet_tensorflow

quiet_tensorflow.in_programs()
