"""Writes the report of a run again, also of one that is not done.

python -m train.reporting --workdir=RUN
"""

import sys

from absl import app, flags

from train.config.fields import parse_or_end, refuse_words
from train.reporting import write_report


def main(argv):
    """Writes the page and prints where it is, or ends with the reason why there is none."""
    try:
        refuse_words(argv)
        print(f"wrote {write_report(flags.FLAGS.workdir)}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "directory of a run", required=True)
    app.run(main, flags_parser=parse_or_end)
