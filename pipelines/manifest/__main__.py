"""The command `python -m pipelines.manifest`."""

import sys

from pipelines.manifest.checking import main

sys.exit(main())
