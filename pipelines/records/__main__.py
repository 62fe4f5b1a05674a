"""The command `python -m pipelines.records`."""

import sys

from pipelines.records.command import main

if __name__ == "__main__":
    sys.exit(main())
