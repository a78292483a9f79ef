"""`nbsp-ray show`: a phase by its key: settings, numbers, episodes, curve, neurons, films, and how to have it again."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from nbsp_ray.config.schema import Resources
from nbsp_ray.specs import PhaseSpec, Plan, PlannedPhase, arrows
from nbsp_ray.status import PhaseStatus, sweep_status
from nbsp_ray.store import DEFAULT_ROOT, PhaseFolder, Store
from nbsp_ray.store.places import evaluation_file, files_of
from nbsp_ray.sweepfile import command as sweep_command
from nbsp_ray.terminal.output import Column, Rows, plain_console, print_command, print_prose
from nbsp_ray.units import duration
from nbsp_ray.verbs._common import AsJson, Root, existing_store, print_json
from nbsp_ray.verbs._completion import complete_key
from nbsp_ray.verbs._origin import Origin, find_origin

CURVE_ROWS = 12
"""Evaluations of the curve that people are shown; JSON has all."""


def command(
    key: Annotated[
        str,
        typer.Argument(help="A phase's key, or its first digits.", autocompletion=complete_key),
    ],
    root: Root = DEFAULT_ROOT,
    as_json: AsJson = False,
) -> None:
    """Show a phase: settings, numbers, episodes, curve, neurons, films, folder, and the command that runs it again."""
    store = existing_store(root)
    folder = store.phase(store.find(key))
    data = folder.spec()
    if data is None:
        raise store.damaged_phase(folder.key)
    spec = PhaseSpec.model_validate(data)
    found = describe(store, folder, spec, find_origin(store, folder.key, spec), root)
    if as_json:
        print_json(found)
    else:
        _print(found)


def describe(store: Store, folder: PhaseFolder, spec: PhaseSpec, origin: Origin | None, root: str) -> dict[str, Any]:
    """All there is of a phase, as JSON."""
    phase = origin.phase if origin else PlannedPhase(folder.key, spec, Resources(), label=_label(spec))
    (status,) = sweep_status(Plan("", "", {folder.key: phase}, ()), store).phases
    result, manifest = folder.result() or {}, folder.manifest() or {}
    others = store.snapshot(store.phases(), parts=("spec.json",))
    curve = [row for row in folder.curve() if row["kind"] == "evaluation"]
    return {
        "key": folder.key,
        "label": phase.label,
        "state": status.state,
        "imported": folder.imported(),
        "sweep": origin.loaded.name if origin else None,
        "trials": [trial.label for trial in origin.trials] if origin else [],
        "result": result,
        "progress": _progress(status),
        "error": status.error,
        "made": manifest,
        "evaluations": [_evaluation(store, folder, spec, record) for record in folder.evaluations()],
        "curve": curve,
        "neurons": result.get("neurons") or {},
        "settings": spec.model_dump(mode="json"),
        "starts_from": spec.previous,
        "reads": spec.auxiliary,
        "started_by": [
            key for key in others.phases() if (others.phase(key).spec() or {}).get("previous") == folder.key
        ],
        "films": [str(path) for path in _films(store, folder.key, origin)],
        "watch": sweep_command("watch", folder.key[:8], (), root),
        "folder": folder.called,
        "root": store.address,
        "files": list(files_of(store.files, folder.key)),
        "rerun": origin.rerun if origin else None,
    }


def _label(spec: PhaseSpec) -> str:
    """Of a phase of no sweep that is known here: the method is not told, but what it is made of is."""
    made_of = " and ".join(str(one["kind"]) for one in spec.ingredients) or "nothing added"
    what = f"{spec.task}, first phase" if spec.index == 0 else arrows(spec.tasks)
    return f"{what}, {made_of}, seed {spec.seed}"


def _progress(status: PhaseStatus) -> dict[str, Any]:
    return {
        "env_steps": status.env_steps,
        "budget": status.budget,
        "env_steps_per_second": status.env_steps_per_second,
        "eta_seconds": status.eta_seconds,
        "host": status.host,
    }


def _evaluation(store: Store, folder: PhaseFolder, spec: PhaseSpec, record: str) -> dict[str, Any]:
    found = folder.evaluation(record) or {}
    success, returns = found.get("success") or [], [one for one in found.get("env_return") or [] if one is not None]
    return {
        "number": _called(spec, found),
        "task": found["task"],
        "mode": found["mode"],
        "goals": found["goals"],
        "episodes": len(success) or len(returns),
        "succeeded": sum(success) if success else None,
        "success_rate": found.get("success_rate"),
        "mean_return": found.get("mean_return"),
        "file": evaluation_file(store.files, folder.key, record) or "-",
    }


def _called(spec: PhaseSpec, found: Mapping[str, Any]) -> str:
    """What tables call it."""
    own = found["task"] == spec.task
    if spec.index == 0:
        name = "first task before"
    elif own:
        name = "second task" if spec.index == 1 else "last task"
    else:
        name = "first task after" if found["task"] == spec.earlier_tasks[0] else "an earlier task after"
    drawn = ", most likely actions" if found["mode"] == "deterministic" else ""
    return f"{name}{drawn}{', held-out goals' if found['goals'] == 'heldout' else ''}"


def _films(store: Store, key: str, origin: Origin | None) -> Iterator[Path]:
    folders = [store.report_folder("films") / key]
    if origin:
        own = store.report_folder(origin.loaded.name) / "films"
        folders += [own / trial.name for trial in origin.trials if key in trial.phases]
    for folder in folders:
        yield from sorted(folder.glob("*.mp4"))


# For people


def _print(found: Mapping[str, Any]) -> None:
    console = plain_console()
    console.print(Text(found["key"], style="bold"), soft_wrap=True)
    of = f" (sweep {found['sweep']})" if found["sweep"] else ""
    print_prose(console, f"{found['label']}{of}: {_state(found)}", indent=2)
    if found["evaluations"]:
        _heading(console, "Final evaluations")
        console.print(_evaluations(found["evaluations"]))
        episodes = "has every episode: `success` is 1 or 0, `env_return` null where it ended at its success"
        print_prose(console, f"Each file, in {found['root']}, {episodes}.", indent=2)
    if found["curve"]:
        _heading(console, "While learning")
        _print_curve(console, found["curve"])
    if found["neurons"]:
        _heading(console, "Neurons selected")
        console.print(Rows(NEURON_COLUMNS, [_neurons(name, one) for name, one in found["neurons"].items()]))
        if found["result"].get("score_undefined"):
            print_prose(console, "Score undefined: all scoring steps were alike, and the neurons were drawn at random.")
    _heading(console, "Settings")
    console.print(Rows([Column("", whole=True), Column("")], list(_settings(found["settings"]))))
    _heading(console, "Where")
    console.print(Rows([Column("", whole=True), Column("")], list(_places(found))))
    print_command(console, "folder       ", found["folder"])
    for film in found["films"]:
        print_command(console, "film         ", film)
    if any(file.endswith("agent.safetensors") for file in found["files"]):
        print_command(console, "film it      ", found["watch"])
    elif found["imported"]:
        print_prose(console, "It came from an archive: its agent, buffer and env steps are elsewhere.")
    if found["rerun"]:
        print_command(console, "run it again ", found["rerun"])
    else:
        print_prose(console, "No sweep that was run here, or is known by name, has it: spec.json in its folder is all.")


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _state(found: Mapping[str, Any]) -> str:
    result, made, progress = found["result"], found["made"], found["progress"]
    if not result:
        speed = progress["env_steps_per_second"]
        words = f"{found['state']}, {progress['env_steps']:,} of {progress['budget']:,} env steps"
        words += f" at {speed:.0f} a second" if speed else ""
        return words + (f" on {progress['host']}" if progress["host"] else "") + _error(found)
    words = f"{found['state']}, {result['env_steps']:,} env steps"
    if "updates" in result:
        words += f" and {result['updates']:,} updates, ended by: {result['stop_reason']}"
        words += f"; {duration(result['seconds'])} at {result['env_steps_per_second']:.0f} env steps/s"
    if made.get("host"):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(made["finished"])) if "finished" in made else ""
        words += f", on {made['host']} ({made['device']}) {when}".rstrip()
    return words + _error(found)


def _error(found: Mapping[str, Any]) -> str:
    return f"; {found['error']}" if found["error"] else ""


def _evaluations(evaluations: Sequence[Mapping[str, Any]]) -> Rows:
    columns = [Column("", whole=True), Column("task"), Column("number", right=True), Column("episodes"), Column("file")]
    rows: list[list[str]] = []
    for one in evaluations:
        rate, succeeded = one["success_rate"], one["succeeded"]
        number = (
            f"{rate:.3f}" if rate is not None else "-" if one["mean_return"] is None else f"{one['mean_return']:.1f}"
        )
        episodes = f"{succeeded} of {one['episodes']} succeeded" if succeeded is not None else f"{one['episodes']}"
        rows.append([one["number"], one["task"], number, episodes, one["file"]])
    return Rows(columns, sorted(rows, key=lambda row: ("likely" in row[0], row[0])))


def _print_curve(console: Console, curve: Sequence[Mapping[str, Any]]) -> None:
    by_step: dict[int, dict[str, str]] = {}
    for row in curve:
        value = row.get("success") if row.get("success") is not None else row.get("env_return")
        by_step.setdefault(row["env_steps"], {})[row["task"]] = "-" if value is None else f"{value:.2f}"
    tasks = list(dict.fromkeys(row["task"] for row in curve))
    steps = list(by_step)
    places = dict.fromkeys(round(n * (len(steps) - 1) / max(1, CURVE_ROWS - 1)) for n in range(CURVE_ROWS))
    shown = steps if len(steps) <= CURVE_ROWS else [steps[place] for place in places]
    rows = [[f"{step:,}", *(by_step[step].get(task, "-") for task in tasks)] for step in shown]
    columns = [Column("env steps", whole=True, right=True), *(Column(task, right=True) for task in tasks)]
    console.print(Rows(columns, rows))
    if len(shown) < len(steps):
        print_prose(console, f"{len(shown)} of {len(steps)} evaluations; curve.jsonl has all", indent=2)


NEURON_COLUMNS = (
    Column("network", whole=True),
    *(
        Column(name, right=True)
        for name in (
            *("selected", "by layer", "constant", "near-constant", "below constant"),
            *("parameters frozen", "scores"),
        )
    ),
)


def _neurons(network: str, one: Mapping[str, Any]) -> list[str]:
    low, high, frozen = one.get("score_lowest"), one.get("score_highest"), one.get("frozen_parameters")
    return [
        network,
        str(one.get("selected", "-")),
        " + ".join(map(str, one.get("selected_per_layer") or ())) or "-",
        *(str(one.get(f"selected_{what}", "-")) for what in ("constant", "near_constant")),
        "-" if one.get("selected_below_constant") is None else str(one["selected_below_constant"]),
        "-" if frozen is None else f"{frozen:.0%}",
        "-" if low is None or high is None else f"{low:.2f} to {high:.2f}",
    ]


def _settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "benchmark", f"{settings['benchmark']} ({settings['revision']})"
    yield "tasks", " > ".join([*settings["earlier_tasks"], settings["task"]])
    yield "seed", str(settings["seed"])
    for section in ("sac", "learning"):
        yield section, _values(settings[section])
    for one in settings["ingredients"]:
        yield one["kind"], _values({name: value for name, value in one.items() if name != "kind"})


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items() if value is not None)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "/".join(f"{name} {_value(one)}" for name, one in value.items())
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _places(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if found["starts_from"]:
        yield "starts from", f"{found['starts_from']}"
    for method, key in found["reads"].items():
        yield "reads", f"{key} ({method})"
    if found["started_by"]:
        yield "starts", ", ".join(key[:8] for key in found["started_by"])
    if found["trials"]:
        yield "trials", "; ".join(found["trials"])
