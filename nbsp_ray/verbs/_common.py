"""What several verbs share: their options, exit codes, and words. Imports nothing that is slow to load."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nbsp_ray.specs import Plan
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import LoadedSweep, load_sweep, sweep_names

DONE, FAILED, USAGE, UNFINISHED = 0, 1, 2, 3
"""Exit codes: all done; some phases failed; bad usage; not finished, the same command goes on."""


def _complete_sweep(begun: str) -> list[str]:
    return [name for name in sweep_names() if name.startswith(begun)]


Sweep = Annotated[
    str, typer.Argument(help="A file of tune_configs by its name, or a path to one.", autocompletion=_complete_sweep)
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change: seeds=0-1 sac.gamma=0.98")
]
Root = Annotated[
    Path, typer.Option("--root", envvar="NBSP_RAY_ROOT", help="The results root: all that is written goes there.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for scripts.")]


def load_plan(sweep: str, overrides: list[str] | None, root: Path) -> tuple[LoadedSweep, Plan]:
    """The sweep and its plan; of a search, what it has tried by now."""
    loaded = load_sweep(sweep, overrides or [])
    return loaded, loaded.plan(Store(root))


def print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=1) + "\n")


def hint_at_last_overrides(store: Store, loaded: LoadedSweep, *, nothing_done: bool) -> None:
    """Settings given on the command line make other phases: say so if the ones asked for are not there."""
    last = store.read_sweep(loaded.name)
    if nothing_done and last and last["overrides"] and last["overrides"] != list(loaded.overrides):
        say(f"Nothing is done with these settings; {loaded.name} was last run with: {' '.join(last['overrides'])}")


def short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
