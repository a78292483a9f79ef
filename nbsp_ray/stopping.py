"""Signals as a wish to stop: the first one saves and stops, a second one stops at once."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """Takes the stop signals within a `with` block, and gives them back at its end.

    A handler may not print, so the wish is told to `say` by `heard`, which the main loop calls.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked = False
        self.say = say
        self._told = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self.install()
        return self

    def install(self) -> None:
        """Take the signals (again: Ray and Tune install handlers of their own). Only the main thread may."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):  # nohup
                continue
            before = signal.signal(number, self._handle)
            self._before.setdefault(number, before)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def heard(self) -> bool:
        """Whether to stop; says so the first time."""
        if self.asked and not self._told:
            self._told = True
            self.say("saving and stopping (a second Ctrl-C stops at once)")
        return self.asked

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            for taken in self._before:
                signal.signal(taken, signal.SIG_IGN)
            raise KeyboardInterrupt
        self.asked = True
