"""What a page of results is about: a whole sweep, a part of it, or the same with other settings."""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nbsp_ray.errors import ConfigError
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import LoadedSweep, command, load_sweep

LONGEST = 120
"""Characters of a folder's name."""


@dataclass(frozen=True)
class Scope:
    """A sweep as it was asked for: with these overrides, in this results root."""

    name: str
    """Of the sweep."""
    title: str
    given: str
    """The sweep as it is named on the command line."""
    overrides: tuple[str, ...]
    root: str | Path
    trials: int
    """Trials of the plan."""
    whole: int | None
    """Trials of the whole sweep, of which these are all or a part; None if some of these are none of its own."""

    @classmethod
    def of_all(cls, name: str, title: str, root: str | Path, trials: int) -> "Scope":
        """The whole sweep `name`."""
        return cls(name, title, name, (), root, trials, trials)

    @property
    def is_whole(self) -> bool:
        """True if these are all trials of the sweep as its file has it, whatever was set to run them."""
        return self.trials == self.whole

    @property
    def folder(self) -> str:
        """Of its report: the sweep's name, and behind it the overrides of what is not the whole sweep."""
        if self.is_whole:
            return self.name
        changes = "+".join(re.sub(r"[^\w.,=-]+", "-", one) for one in sorted(self.overrides))
        if len(changes) > LONGEST - len(self.name):
            changes = sha256(changes.encode()).hexdigest()[:12]
        return f"{self.name}@{changes}"

    def sentence(self) -> str:
        """That it is not the whole sweep, and which part it is; empty of the whole."""
        if self.is_whole:
            return ""
        changes = " ".join(self.overrides)
        if self.whole is None:
            return f"This is `{self.name}` with other settings than its file has: `{changes}`."
        return f"This is a part of the sweep `{self.name}`, {self.trials} of its {self.whole} trials: `{changes}`."

    def command(self, verb: str) -> str:
        """The command that does `verb` with just this."""
        return command(verb, self.given, self.overrides, self.root)


def scope_of(loaded: LoadedSweep, plan: Plan, store: Store, root: str | Path) -> Scope:
    """The scope of a loaded sweep's plan; `root` is the results root as it was given."""
    whole: int | None = len(plan.trials)
    if loaded.overrides:
        try:
            everything = {_identity(trial) for trial in load_sweep(loaded.given).plan(store).trials}
        except ConfigError:  # a file that is nothing without overrides
            everything = set()
        whole = len(everything) if {_identity(trial) for trial in plan.trials} <= everything else None
    return Scope(
        loaded.name, loaded.title or loaded.name, loaded.given, loaded.overrides, root, len(plan.trials), whole
    )


def _identity(trial: Trial) -> tuple[object, ...]:
    return trial.method, trial.phases, trial.finals
