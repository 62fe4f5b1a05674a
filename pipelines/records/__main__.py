"""The command `python -m pipelines.records`."""

import sys

from pipelines.records.prepare import main

sys.exit(main())
