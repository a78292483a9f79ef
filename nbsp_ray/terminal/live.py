"""Drawing a sweep while it runs: a quiet live table on a terminal, plain lines elsewhere.

A thread reads the store and draws; it knows nothing of who does the work, and whatever goes wrong in it stays in it.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from nbsp_ray.specs import Plan
from nbsp_ray.states import AT_WORK, State
from nbsp_ray.status import PhaseStatus, StatusReader, SweepStatus
from nbsp_ray.store import Store
from nbsp_ray.terminal.output import plain_console
from nbsp_ray.terminal.status import render, summary
from nbsp_ray.units import clock

log = logging.getLogger(__name__)
SECONDS = 1.0
SUMMARY_SECONDS = 30.0
COST_SHARE = 20
"""Reading the store may take one part in so many of this process's time."""


class LiveStatus:
    """Draws how far `plan` is until the `with` block ends.

    Args:
        plan: What to show.
        store: Where it is read.
        concurrent: Phases that can work at a time, for the ETA (default: as many as do).
        whole: A larger plan that this one is a part of, for the ETA.
        console: Where to draw (default: the standard error, so that the standard output has results only).
        on_status: Gets each status in place of a drawing.
        seconds: Between two looks at the store.
        summary_seconds: Between two lines of summary, without a terminal.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        *,
        concurrent: int | None = None,
        whole: Plan | None = None,
        console: Console | None = None,
        on_status: Callable[[SweepStatus], None] | None = None,
        seconds: float = SECONDS,
        summary_seconds: float = SUMMARY_SECONDS,
    ) -> None:
        self._reader = StatusReader(plan, store, concurrent=concurrent, whole=whole)
        self._console = console or plain_console(stderr=True)
        self._on_status = on_status
        self._seconds, self._summary_seconds = max(seconds, store.files.pace), summary_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nbsp-status", daemon=True)
        self._drawing: _Table | _Lines | _Callback | None = None
        self.status: SweepStatus | None = None

    def __enter__(self) -> "LiveStatus":
        with _harmless():
            self._drawing = self._make_drawing()
            self._draw()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=10)
        with _harmless():
            self._draw()
        with _harmless():
            if self._drawing:
                self._drawing.close()

    @property
    def concurrent(self) -> int | None:
        """Phases that can work at a time, for the ETA."""
        return self._reader.concurrent

    @concurrent.setter
    def concurrent(self, phases: int | None) -> None:
        self._reader.concurrent = phases

    def say(self, text: str) -> None:
        """Print one sentence, above the table if there is one."""
        if self._on_status:
            log.info("%s", text)
            return
        with _harmless():
            self._console.print(Text(f"{_now()} {text}"), soft_wrap=True)

    def _run(self) -> None:
        cost = 0.0
        while not self._over.wait(max(self._seconds, COST_SHARE * cost)):
            began = time.monotonic()
            with _harmless():
                self._draw()
            cost = time.monotonic() - began

    def _make_drawing(self) -> "_Table | _Lines | _Callback":
        if self._on_status:
            return _Callback(self._on_status)
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            return _Table(self._console)
        return _Lines(self._console, self._summary_seconds)

    def _draw(self) -> None:
        self.status = self._reader.read()
        if self._drawing:
            self._drawing.draw(self.status)


class _harmless(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads as a statement
    """A failed drawing is no reason to lose a run."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            log.debug("the status could not be drawn", exc_info=error)
            return True
        return False


class _Callback:
    """Tells somebody else."""

    def __init__(self, on_status: Callable[[SweepStatus], None]) -> None:
        self.draw = on_status

    def close(self) -> None:
        """Nothing is left open."""


class _Table:
    """A table that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live.start()
        self._attempts: dict[str, int] = {}

    def draw(self, status: SweepStatus) -> None:
        """Show `status` in place of what was shown, and above it each attempt that has failed since."""
        for phase in status.phases:
            if phase.attempts > self._attempts.get(phase.key, phase.attempts) and phase.state is not State.FAILED:
                self._live.console.print(_line(_tried_again(phase), phase), soft_wrap=True)
        self._attempts = {phase.key: phase.attempts for phase in status.phases}
        self._live.update(render(status, most=max(2, self._live.console.height // 3)), refresh=True)

    def close(self) -> None:
        """Leave the last table standing."""
        self._live.stop()


class _Lines:
    """A line for each phase that starts, ends or fails, and now and then a summary."""

    def __init__(self, console: Console, summary_seconds: float) -> None:
        self._console = console
        self._seconds = summary_seconds
        self._told_at = time.monotonic()
        self._before: dict[str, PhaseStatus] = {}
        self._noted: set[str] = set()
        self._last: SweepStatus | None = None

    def draw(self, status: SweepStatus) -> None:
        """Print what has changed."""
        first = not self._before
        for phase in status.phases:
            change = None if first else _change(self._before[phase.key], phase)
            if change:
                self._console.print(_line(change, phase), soft_wrap=True)
            for note in (note for note in phase.notes if note not in self._noted):
                self._noted.add(note)
                self._print(f"noted: {phase.label}: {note}")
        self._before = {phase.key: phase for phase in status.phases}
        self._last = status
        if first or time.monotonic() - self._told_at >= self._seconds:
            self._told_at = time.monotonic()
            shown = status.running if len(status.running) <= 2 else ()
            self._print("; ".join([*(f"{phase.label}{_detail(phase)}" for phase in shown), summary(status)]))

    def close(self) -> None:
        """End with a summary."""
        if self._last:
            self._print(summary(self._last))

    def _print(self, text: str) -> None:
        self._console.print(Text(f"{_now()} {text}"), soft_wrap=True)


def _line(change: str, phase: PhaseStatus) -> Text:
    return Text(f"{_now()} {change}: {phase.label}{_detail(phase)}")


def _tried_again(phase: PhaseStatus) -> str:
    return f"attempt {phase.attempts} failed, it is tried again"


def _change(before: PhaseStatus, now: PhaseStatus) -> str | None:
    if now.attempts > before.attempts and now.state is not State.FAILED:
        return _tried_again(now)
    if now.state == before.state:
        return None
    if now.state is State.LEARNING and before.state in (State.WAITING, State.STOPPED):
        return "started" if before.state is State.WAITING else "going on"
    return now.state if now.state in (State.DONE, State.FAILED, State.BLOCKED, State.STOPPED) else None


def _detail(phase: PhaseStatus) -> str:
    if phase.error and phase.state in (State.FAILED, State.WAITING):
        return f": {phase.error} ({phase.failures})"
    if not phase.env_steps:
        return ""
    success = "" if phase.success is None else f", success {phase.success:.2f}"
    learnt = "" if phase.env_steps == phase.budget else f" of {phase.budget:,}"
    return f": {phase.env_steps:,}{learnt} env steps{success}"


def _now() -> str:
    now = time.time()
    return clock(now, now=now)


def print_status(status: SweepStatus) -> None:
    """Print how far a sweep is."""
    console = plain_console()
    console.print(render(status))
    console.print(Text(f"read from {status.root}", style="dim"), soft_wrap=True)


def watch_status(plan: Plan, store: Store) -> None:
    """Draw how far a sweep is until nothing of it is left to do, or Ctrl-C."""
    console = plain_console()
    console.print(Text(f"read from {store.address}", style="dim"), soft_wrap=True)
    live = LiveStatus(plan, store, console=console, seconds=2.0, summary_seconds=60.0)
    with live, contextlib.suppress(KeyboardInterrupt):
        while live.status is None or live.status.keys(*AT_WORK, State.WAITING, State.STOPPED):
            time.sleep(0.2)
