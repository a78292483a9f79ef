"""Storage that fails: for a test to put under a store."""

import errno
import random
from collections.abc import Callable
from typing import Any

import pytest

from nbsp_ray.store import Files
from nbsp_ray.store import files as module

CALLS = ("_write", "_create", "_read", "_names", "_exists", "_remove", "_local")


def fail_at_random(monkeypatch: pytest.MonkeyPatch, share: float, seed: int) -> list[str]:
    """Let that share of all calls fail, half of them after they have done what they were to do; which."""
    rng, failed = random.Random(seed), list[str]()

    def failing(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def act_or_fail(self: Files, *args: Any, **options: Any) -> Any:
            fails, late = rng.random() < share, rng.random() < 0.5
            answer = act(self, *args, **options) if late or not fails else None
            if fails:
                failed.append(name)
                raise OSError(rng.choice([errno.EIO, errno.ESTALE, errno.ETIMEDOUT]), "storage fails")
            return answer

        return act_or_fail

    for name in CALLS:
        monkeypatch.setattr(Files, name, failing(name, getattr(Files, name)))
    monkeypatch.setattr(module, "FIRST_WAIT", 1e-4)
    return failed


class Clock:
    """A clock that goes on by sleeping, until `back` storage is away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, back: float) -> None:
        self.now, self.back = 0.0, back
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(module.time, "sleep", self.sleep)
        for name in CALLS:
            monkeypatch.setattr(Files, name, self._away(getattr(Files, name)))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def _away(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def act_if_there(*args: Any, **options: Any) -> Any:
            if self.now < self.back:
                raise OSError(errno.ESTALE, "Stale file handle")
            return act(*args, **options)

        return act_if_there
