"""The command line: every file of this folder is a verb, and nothing else is here.

A verb is a module with a `command`: a function for typer, or a `typer.Typer` with commands of its own. It is called as
its file is (`try_` is `try`). Its text and its JSON are in that file too. What is slow to load (torch, Ray, pandas) is
imported within the functions that use it.
"""

import contextlib
import errno
import importlib
import pkgutil
import sys
from typing import Annotated

import typer

import nbsp_ray
from nbsp_ray import verbs
from nbsp_ray.errors import NbspError, StorageAwayError
from nbsp_ray.folders import spare_home
from nbsp_ray.namesake import take_name
from nbsp_ray.terminal.output import spare_outputs
from nbsp_ray.verbs._common import UNFINISHED, USAGE, of_the_machine

OF_THE_MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)
"""Errors of files that are the machine's and not ours."""

ORDER = tuple(
    "plan run status show try report claims explore advise probe watch import export clean explain doctor".split()
)
"""Of the verbs in the help; any others come after them."""


app = typer.Typer(
    name="nbsp-ray",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"nbsp-ray {nbsp_ray.__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda value: _print_version(wanted=value),
            help="Say which version this is.",
        ),
    ] = False,
) -> None:
    """Sweeps of two-phase continual reinforcement learning trials: plan them, run them, tabulate them."""


def _add_verbs() -> None:
    names = [module.name for module in pkgutil.iter_modules(verbs.__path__) if not module.name.startswith("_")]
    files = {name.rstrip("_"): name for name in names if name != "main"}
    for verb in (*ORDER, *sorted(set(files) - set(ORDER))):
        command = importlib.import_module(f"nbsp_ray.verbs.{files[verb]}").command
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=verb)
        else:
            app.command(verb)(command)


def main() -> None:
    """Entry point: an `NbspError` is one clear message and exit code 2, and so is a file that cannot be used.

    Storage that stays away is exit code 3, as when a run is stopped: the same command goes on.
    """
    spare_outputs()
    spare_home()
    take_name()
    try:
        app(prog_name="nbsp-ray")
    except StorageAwayError as error:
        _complain(str(error))
        sys.exit(UNFINISHED)
    except NbspError as error:
        _complain(str(error))
        sys.exit(USAGE)
    except KeyboardInterrupt:
        _complain("stopped")
        sys.exit(UNFINISHED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(USAGE)
    except OSError as error:
        if error.errno is not None and error.errno not in OF_THE_MACHINE:
            raise
        # Without a number, the words are a library's own: matplotlib, say, finds no folder at all to write in.
        _complain(str(error) if error.errno is None else of_the_machine(error))
        sys.exit(USAGE)


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):  # Nobody may be able to hear it.
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


_add_verbs()

if __name__ == "__main__":
    main()
