"""Signals that ask a run to stop: it saves what it has, and ends."""

import signal
import threading

STATUS = 75  # EX_TEMPFAIL of sysexits.h: what is started again goes on.


class Stopped(Exception):
    """A signal asked the run to stop, and it has saved what it had."""


class StopRequest:
    """Remembers, within a `with` block, that SIGTERM or SIGINT asked to stop.

    A second signal ends the program at once, as it would without this.
    """

    def __init__(self):
        self.name = None  # Of the signal.
        self._before = {}

    def __bool__(self):
        return self.name is not None

    def __enter__(self):
        of_main = threading.current_thread() is threading.main_thread()  # No other thread gets signals.
        for number in (signal.SIGTERM, signal.SIGINT) if of_main else ():
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.name = signal.Signals(number).name
        self.__exit__()
