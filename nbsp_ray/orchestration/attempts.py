"""Whether a phase whose worker died or raised is tried again. Pure; knows neither Ray nor the store."""

from collections import defaultdict
from collections.abc import Callable

EARLY_FAILURES = 3
"""So many phases in a row whose workers died on a machine before they had done anything: it is the machine."""


class Attempts:
    """Failed attempts of phases, and of what machines.

    A phase is given up after `retries` + 1 failures between which it got no further. What a machine is to blame for
    does not count: it has died or is taken away, lacks what a phase needs, or kills all workers before they work.

    Args:
        retries: How often a phase is tried again without getting any further.
        holds: Whether phases can work on a machine now; asked anew at each failure, for a cluster notices a death late.
    """

    def __init__(self, retries: int, holds: Callable[[str], bool]) -> None:
        self._retries, self._holds = retries, holds
        self._machines: defaultdict[str, list[str | None]] = defaultdict(list)
        self._furthest: dict[str, int] = {}
        self._early: defaultdict[str, set[str]] = defaultdict(set)

    def advanced(self, key: str, env_steps: int, machine: str) -> None:
        """A phase works, on a machine."""
        self._early.pop(machine, None)
        if env_steps > self._furthest.get(key, -1):
            self._furthest[key] = env_steps
            self._machines.pop(key, None)

    def failed(self, key: str, machine: str | None) -> bool:
        """A phase has failed on a machine, if it is known on which; whether it is to be tried again."""
        self._machines[key].append(machine)
        return self.counted(key) <= self._retries

    def where(self) -> list[str]:
        """Machines on which phases failed last and have not got any further since, one for each."""
        return [machines[-1] for machines in self._machines.values() if machines[-1] is not None]

    def counted(self, key: str) -> int:
        """Failures since the phase last got further that are its own."""
        return sum(machine is None or self._holds(machine) for machine in self._machines[key])

    def failed_early(self, key: str, machine: str) -> bool:
        """A worker died before it did anything; whether that happened to so many phases that the machine is bad."""
        self._early[machine].add(key)
        return len(self._early[machine]) >= EARLY_FAILURES
