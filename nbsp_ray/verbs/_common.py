"""What several verbs share: their options, exit codes, and words. Imports nothing that is slow to load."""

import contextlib
import errno
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from nbsp_ray.errors import NbspError
from nbsp_ray.folders import is_address, local, place
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import LoadedSweep, load_sweep, sweep_names
from nbsp_ray.terminal.output import wrapped
from nbsp_ray.verbs._completion import complete_override, complete_sweep

DONE, FAILED, USAGE, UNFINISHED = 0, 1, 2, 3
"""Exit codes: all done; some phases failed; bad usage; not finished, the same command goes on."""


Sweep = Annotated[
    str, typer.Argument(help="A file of tune_configs by its name, or a path to one.", autocompletion=complete_sweep)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings to change: seeds=0-1 sac.gamma=0.98",
        autocompletion=complete_override,
    ),
]


def path_option(help: str) -> Any:
    """An option that takes a path of this machine's file system."""
    return typer.Option(parser=local, metavar="PATH", help=help)


Root = Annotated[
    str,
    typer.Option(
        "--root",
        envvar="NBSP_RAY_ROOT",
        parser=place,
        metavar="FOLDER",
        help="The results root: all that is written goes there; a folder, or s3://bucket/prefix.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for scripts.")]


def load_plan(sweep: str, overrides: list[str] | None, root: str) -> tuple[LoadedSweep, Plan]:
    """The sweep and its plan; of a search, what it has tried by now."""
    loaded = load_sweep(sweep, overrides or [])
    return loaded, loaded.plan(Store(root))


def remember(store: Store, loaded: LoadedSweep) -> None:
    """Keep in the results root which sweep was run there, and with which settings."""
    given = loaded.given if loaded.given in sweep_names() else str(local(loaded.given).absolute())
    store.write_sweep(loaded.name, {"title": loaded.title, "overrides": list(loaded.overrides), "given": given})


def print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=1) + "\n")


def existing_store(root: str, loaded: LoadedSweep | None = None) -> Store:
    """What is kept in a results root, for who only reads.

    Raises:
        NbspError: there is no such folder; of a sweep, how to begin.
    """
    store = Store(root)
    if not store.files.is_there():
        begin = f"; `{loaded.command('run', root)}` starts it" if loaded else ""
        raise NbspError(f"{nothing_there(store)}{begin}")
    return store


def nothing_there(store: Store) -> str:
    return f"There is no folder {short(store.address)}: nothing was run there yet (--root names another)"


def check_begun(store: Store, planned: Plan, loaded: LoadedSweep, root: str) -> None:
    """There is something of the plan to show.

    Raises:
        NbspError: there is not; how to begin.
    """
    if not any(key in planned.phases for key in store.phases()):
        raise NbspError(f"{store.address} has nothing of {loaded.name} yet: `{loaded.command('run', root)}` starts it")


def hint_at_last_overrides(store: Store, loaded: LoadedSweep, *, nothing_done: bool) -> None:
    """Settings given on the command line make other phases: say so if the ones asked for are not there."""
    last = store.read_sweep(loaded.name)
    if nothing_done and last and last["overrides"] and last["overrides"] != list(loaded.overrides):
        say(f"Nothing is done with these settings; {loaded.name} was last run with: {' '.join(last['overrides'])}")


def short(path: str | Path) -> str:
    """A path as one would type it here; in backticks if it has blanks, as then it is not broken between lines."""
    if is_address(path):
        return str(path)
    path = Path(path)
    with contextlib.suppress(OSError):  # The folder that one works in may be gone.
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"`{path}`" if " " in str(path) else str(path)


@contextlib.contextmanager
def work_is_done(command: str) -> Iterator[None]:
    """Whatever goes wrong in here is said, and no reason to call the work before it failed."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        from nbsp_ray.terminal.output import drop_output

        drop_output()
    except Exception as error:
        if not isinstance(error, NbspError | OSError):
            traceback.print_exc()
        why = of_the_machine(error) if isinstance(error, OSError) else error
        say(f"The report is not whole: {why}. What was learnt is stored; `{command}` writes it")


def of_the_machine(error: OSError) -> str:
    """What is wrong with a file, and the way out."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    way_out = "make room" if full else "use what you may read, and write elsewhere with --to or --root"
    where = error.filename or "a file or the output"
    return f"{where}: {os.strerror(error.errno or 0)}; {way_out} (all that is stored is kept)"


def say(text: str) -> None:
    """Say something beside the results, on the standard error: on a terminal broken between words.

    Where nobody can hear it (a log on a disk that is full) it is not said, which is no reason to end.
    """
    with contextlib.suppress(OSError, ValueError):
        width = shutil.get_terminal_size().columns if sys.stderr.isatty() else sys.maxsize
        for line in text.split("\n"):
            sys.stderr.writelines(f"{part}\n" for part in wrapped(line, width))
        sys.stderr.flush()
