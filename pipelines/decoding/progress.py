"""Word that reading a video goes on, for whoever waits for it."""

import contextlib
import contextvars

_report = contextvars.ContextVar("report", default=None)


def goes_on():
    """Tells who listens that one more packet or frame was read."""
    if report := _report.get():
        report()


@contextlib.contextmanager
def reporting(report):
    """Calls the function `report` for each packet and frame that is read within the block, in this thread."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)
