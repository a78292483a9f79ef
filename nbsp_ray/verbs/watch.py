"""`nbsp-ray watch`: films of saved agents."""

import re
from pathlib import Path
from typing import Annotated

import typer

from nbsp_ray import films
from nbsp_ray.errors import NbspError
from nbsp_ray.store import DEFAULT_ROOT
from nbsp_ray.verbs._common import (
    Overrides,
    Root,
    existing_store,
    hint_at_last_overrides,
    load_plan,
    path_option,
    say,
    short,
)
from nbsp_ray.verbs._completion import complete_key_or_sweep


def command(
    target: Annotated[
        str,
        typer.Argument(
            metavar="KEY-OR-SWEEP",
            help="A phase's key, as reports give it, or a sweep.",
            autocompletion=complete_key_or_sweep,
        ),
    ],
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    to: Annotated[Path | None, path_option("Folder for the films; default: beside the report.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="In each film: the first ones of the final evaluation.")] = 1,
    deterministic: Annotated[bool, typer.Option(help="The most likely actions, in place of drawn ones.")] = False,
    most_env_steps: Annotated[int, typer.Option(min=1, help="Of an episode: a game may last half an hour.")] = 5_000,
) -> None:
    """Film saved agents: the first task after each phase, and the second; of a sweep, its first finished trial."""
    store = existing_store(root)
    if re.fullmatch("[0-9a-f]{4,20}", target):
        key = store.find(target)
        shots, folder = films.shots_of_phase(store, key), store.report_folder("films") / key
    else:
        loaded, planned = load_plan(target, overrides, root)
        trial = films.finished_trial(planned, store)
        if trial is None:
            hint_at_last_overrides(store, loaded, nothing_done=True)
            raise NbspError(f"no trial of {loaded.name} is finished yet; `{loaded.command('run', root)}` does that")
        if len(planned.trials) > 1:
            say(f"One of {len(planned.trials)} trials: {trial.label}. Others: methods=..., seeds=..., pairs=...")
        shots, folder = films.shots_of_trial(store, trial), store.report_folder(loaded.name) / "films" / trial.name
    wish = films.FilmOptions(episodes, deterministic, most_env_steps)
    for path in films.film(store, shots, to or folder, wish, say):
        say(f"Film: {short(path)}")
