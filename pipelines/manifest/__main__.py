"""Runs the command `python -m pipelines.manifest`."""

import sys

from pipelines.manifest.command import main

if __name__ == "__main__":
    sys.exit(main())
