"""Trains and evaluates on Kinetics-400, -600 or -700: `python -m train` with Kinetics' CSVs as the default.

python -m train.kinetics --data_dir=DIR --workdir=DIR [--FLAG=VALUE ...]
"""

from absl import app

from train.__main__ import main
from train.command_line import define_flags
from train.config.fields import parse_or_end

if __name__ == "__main__":
    define_flags(train_annotations="train.csv", val_annotations="val.csv")
    app.run(main, flags_parser=parse_or_end)
