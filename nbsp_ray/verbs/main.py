"""The command line: the verbs, and nothing else. Whatever is slow to import is imported inside the verb.

Exit codes: 0 all done, 1 some phases failed, 2 bad usage, 3 not finished (run the same command again).
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbsp_ray.errors import NbspError

if TYPE_CHECKING:
    from nbsp_ray.specs import Plan
    from nbsp_ray.store import Store
    from nbsp_ray.sweepfile import LoadedSweep

app = typer.Typer(
    name="nbsp-ray",
    help="Sweeps of two-phase continual reinforcement learning trials: plan them, run them, tabulate them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DONE, FAILED, USAGE, UNFINISHED = 0, 1, 2, 3


def _complete_sweep(begun: str) -> list[str]:
    from nbsp_ray.sweepfile import sweep_names

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
DEFAULT_ROOT = Path("results")


def main() -> None:
    """Entry point: an `NbspError` is one clear message and exit code 2."""
    try:
        app()
    except NbspError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(UNFINISHED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(USAGE)


def _planned(sweep: str, overrides: list[str] | None, root: Path) -> tuple[LoadedSweep, Plan]:
    """The sweep and its plan; of a search, what it has tried by now."""
    from nbsp_ray.plan.build import make_plan
    from nbsp_ray.plan.search import tried_sweeps
    from nbsp_ray.store import Store
    from nbsp_ray.sweepfile import load_sweep

    loaded = load_sweep(sweep, overrides or [])
    return loaded, make_plan(loaded.name, tried_sweeps(loaded.sweeps, Store(root)))


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=1) + "\n")


@app.command()
def plan(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    as_json: AsJson = False,
    measure: Annotated[
        bool, typer.Option(help="Time a few hundred env steps here first: seconds, a minute if it compiles.")
    ] = False,
) -> None:
    """List and price a sweep; start nothing."""
    from nbsp_ray.plan.build import make_plan
    from nbsp_ray.plan.memory import available_bytes, memory_note
    from nbsp_ray.plan.price import price, speed_kind
    from nbsp_ray.plan.search import budget_sweeps, searches
    from nbsp_ray.status import sweep_status
    from nbsp_ray.store import Store
    from nbsp_ray.sweepfile import load_sweep
    from nbsp_ray.verbs.listing import plan_json, print_plan, search_lines

    loaded = load_sweep(sweep, overrides or [])
    store = Store(root, create=measure)
    planned, found = make_plan(loaded.name, budget_sweeps(loaded.sweeps, store)), searches(loaded.sweeps, store)
    if measure:
        from nbsp_ray.learning.timing import measure_speed

        for kind, phase in {speed_kind(phase): phase for phase in planned.phases.values()}.items():
            store.write_speed(kind, measure_speed(phase.spec, phase.resources, store))
    status = sweep_status(planned, store)
    cost = price(planned, store, status.left)
    if as_json:
        _print_json(plan_json(planned, status, cost, found))
    else:
        notes = search_lines(found)
        if status.left:
            notes.append(memory_note(planned, status.left, available_bytes(), cost.side_by_side))
        run_it = _command("run", loaded, root)
        print_plan(planned, status, cost, command=run_it, title=loaded.title, notes=notes)


@app.command()
def run(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster (`auto`, or host:port); else one is started here.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of the local cluster; default: all.")] = None,
    autoscaling: Annotated[
        bool, typer.Option(help="The cluster grows on demand: do not refuse what no node can give yet.")
    ] = False,
) -> None:
    """Run what is left of a sweep; the same command again goes on."""
    from nbsp_ray.orchestration.launch import Outcome, run_plan
    from nbsp_ray.plan.search import searches
    from nbsp_ray.store import Store

    loaded, planned = _planned(sweep, overrides, root)
    store = Store(root, create=True)
    store.write_sweep(loaded.name, {"title": loaded.title, "overrides": list(loaded.overrides)})

    def run_all(wanted: Plan) -> Outcome:
        return run_plan(wanted, store, address=address, cpus=cpus, autoscaling=autoscaling)

    if searches(loaded.sweeps, store):
        from nbsp_ray.orchestration.choose_count import run_search

        outcome = run_search(loaded.name, loaded.sweeps, store, run_all, _say)
        _, planned = _planned(sweep, overrides, root)
    else:
        outcome = run_all(planned)
    _report(planned, store, loaded)
    again = _command("run", loaded, root)
    if outcome.failed or outcome.blocked:
        _say(f"{outcome.failed} phases failed and {outcome.blocked} wait for them; `{again}` tries them again")
    if outcome.left:
        _say(f"Not finished, {outcome.left} phases are left, and all done so far is kept: `{again}` goes on")
    raise typer.Exit(outcome.exit_code)


@app.command()
def status(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    watch: Annotated[bool, typer.Option(help="Draw it anew every few seconds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a sweep is; reads the results root only, so it works from anywhere and after a crash."""
    from nbsp_ray.plan.search import searches
    from nbsp_ray.status import sweep_status
    from nbsp_ray.store import Store
    from nbsp_ray.terminal.live import print_status, watch_status
    from nbsp_ray.verbs.listing import search_lines

    loaded, planned = _planned(sweep, overrides, root)
    store = Store(root)
    if watch:
        watch_status(planned, store)
        return
    now, found = sweep_status(planned, store), searches(loaded.sweeps, store)
    if as_json:
        _print_json(now.to_json())
    else:
        print_status(now)
        for line in search_lines(found):
            _say(line)
        _hint_at_last_overrides(store, loaded, nothing_done=not now.done)
    unfinished = now.left or any(search.left for search in found)
    raise typer.Exit(FAILED if now.failed else UNFINISHED if unfinished else DONE)


@app.command(name="try")
def try_(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Run the first trial of a sweep in this process, without Ray: a debugger works."""
    loaded, planned = _planned(sweep, overrides, root)
    trial = planned.trials[0]
    if len(planned.trials) > 1:
        _say(f"Trial 1 of {len(planned.trials)}: {trial.label}. Others: methods=..., seeds=..., pairs=...")
    from nbsp_ray.plan.memory import available_bytes, fits_side_by_side
    from nbsp_ray.status import is_complete
    from nbsp_ray.store import Store

    store = Store(root)
    if left := [key for key in trial.phases if not is_complete(planned.phases[key], store)]:
        fits_side_by_side(planned, left, available_bytes())
    from nbsp_ray.local import run_trial

    store = Store(root, create=True)
    finished = run_trial(planned, trial, store, lambda label, progress: _say(_progress_line(label, progress)))
    if not finished:
        _say("Saved; the same command goes on from here")
        raise typer.Exit(UNFINISHED)
    _report(planned, store, loaded, write=False)


@app.command()
def report(sweep: Sweep, overrides: Overrides = None, root: Root = DEFAULT_ROOT) -> None:
    """Write a page, tables, figures and tidy data of what there is, done or half done."""
    from nbsp_ray.store import Store

    loaded, planned = _planned(sweep, overrides, root)
    store = Store(root)
    _hint_at_last_overrides(store, loaded, nothing_done=not any(store.phase(key).done() for key in planned.phases))
    if not any(key in planned.phases for key in store.phases()):
        raise NbspError(f"{store.root} has nothing of {loaded.name} yet: `{_command('run', loaded, root)}` starts it")
    _report(planned, store, loaded)


@app.command()
def explore(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    to: Annotated[Path | None, typer.Option(help="The page's file; default: beside the report.")] = None,
) -> None:
    """Write the page on which one plays with the number of skill neurons: one file, no network."""
    import analysis
    from nbsp_ray.store import Store

    loaded, planned = _planned(sweep, overrides, root)
    store = Store(root)
    page = analysis.write_explorer(
        analysis.load(store.root, planned),
        to or store.report_folder(loaded.name) / "explore.html",
        name=loaded.name,
        title=loaded.title or loaded.name,
        given=loaded.given,
        overrides=loaded.overrides,
    )
    _say(f"Open it in a browser: {_short(page)}")


@app.command()
def advise(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    weight_stability: Annotated[
        float, typer.Option(help="What stability counts, of 1; plasticity counts the rest.")
    ] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Name the number of skill neurons that serves a weighting best, and say whether the data can tell."""
    import analysis
    from nbsp_ray.store import Store
    from nbsp_ray.verbs.listing import advice_json, print_advice

    _, planned = _planned(sweep, overrides, root)
    results = analysis.load(Store(root).root, planned)
    advice = analysis.advise(results, weight_stability)
    if as_json:
        _print_json(advice_json(advice, weight_stability))
    else:
        print_advice(advice, results, weight_stability)


@app.command()
def probe(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    network: Annotated[
        list[str] | None, typer.Option(help="actor, q1, q2, or critic for both Q; may be given again. Default: all.")
    ] = None,
    counts: Annotated[
        str, typer.Option(help="Neurons to silence per network: fractions of its hidden neurons (0.1), or counts (26).")
    ] = "0,0.05,0.1,0.2,0.4",
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of the first task, for each choice. Default: 50, every Meta-World goal once; 5 if judged by score.",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Random choices for each count.")] = 5,
    score: Annotated[
        list[str] | None,
        typer.Option(help="paper, balanced, dormant, importance; may be given again. Default: the sweep's own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Silence the best-scored neurons of trained first phases, against random and the worst, and see what breaks."""
    from nbsp_ray.plan.search import tried_sweeps
    from nbsp_ray.probe import request
    from nbsp_ray.store import Store

    loaded, _ = _planned(sweep, overrides, root)
    networks, scores = request.read_networks(network or []), request.read_scores(score or [])
    wanted = request.Request(networks, request.read_counts(counts), episodes, draws, scores)
    store = Store(root)
    targets = request.find_targets(loaded.name, tried_sweeps(loaded.sweeps, store), wanted)
    ready = [target for target in targets if request.is_ready(target, store)]
    if not ready:
        _hint_at_last_overrides(store, loaded, nothing_done=True)
        raise NbspError(f"no first phase of {loaded.name} is trained yet; `{_command('run', loaded, root)}` does that")
    unfinished = list(dict.fromkeys(target.phase.label for target in targets if target not in ready))
    if unfinished:
        _say(f"Not trained yet, left out: {'; '.join(unfinished)}")

    from analysis.probe.frames import Probe
    from analysis.probe.report import write_probe
    from nbsp_ray.probe.measure import probe
    from nbsp_ray.verbs.listing import ProbeProgress, print_probe

    try:
        with ProbeProgress() as progress:
            found = Probe.of(probe(store, ready, wanted, progress), wanted, unfinished)
    except KeyboardInterrupt:
        _say(f"Stopped after {progress.done} of {progress.total} measurements; all are kept, the same command goes on")
        raise typer.Exit(UNFINISHED) from None
    folder = store.report_folder(loaded.name)
    write_probe(found, folder, title=loaded.title or loaded.name)
    if as_json:
        _print_json({"sweep": loaded.name, **found.to_json()})
    else:
        print_probe(found)
    _say(f"Report: {_short(folder / 'probe.md')}")


@app.command()
def watch(
    target: Annotated[
        str, typer.Argument(metavar="KEY-OR-SWEEP", help="A phase's key, as reports give it, or a sweep.")
    ],
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    to: Annotated[Path | None, typer.Option(help="Folder for the films; default: beside the report.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="In each film: the first ones of the final evaluation.")] = 1,
    deterministic: Annotated[bool, typer.Option(help="The most likely actions, in place of drawn ones.")] = False,
    most_env_steps: Annotated[int, typer.Option(min=1, help="Of an episode: a game may last half an hour.")] = 5_000,
) -> None:
    """Film saved agents: the first task after each phase, and the second; of a sweep, its first finished trial."""
    from nbsp_ray import films as filming
    from nbsp_ray.store import Store

    store = Store(root)
    if re.fullmatch("[0-9a-f]{4,20}", target):
        from analysis.export import find_key

        key = find_key(store, target)
        shots, folder = filming.shots_of_phase(store, key), store.report_folder("films") / key
    else:
        loaded, planned = _planned(target, overrides, root)
        trial = filming.finished_trial(planned, store)
        if trial is None:
            _hint_at_last_overrides(store, loaded, nothing_done=True)
            raise NbspError(f"no trial of {loaded.name} is finished yet; `{_command('run', loaded, root)}` does that")
        if len(planned.trials) > 1:
            _say(f"One of {len(planned.trials)} trials: {trial.label}. Others: methods=..., seeds=..., pairs=...")
        shots, folder = filming.shots_of_trial(store, trial), store.report_folder(loaded.name) / "films" / trial.name
    wish = filming.FilmOptions(episodes, deterministic, most_env_steps)
    for path in filming.film(store, shots, to or folder, wish, _say):
        _say(f"Film: {_short(path)}")


export = typer.Typer(help="Write results for others: tables, agents.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(export, name="export")


@export.command()
def tables(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    to: Annotated[Path | None, typer.Option(help="Folder; default: the report's.")] = None,
) -> None:
    """Write a sweep's tables alone: CSV, Markdown, LaTeX."""
    import analysis
    from nbsp_ray.store import Store

    loaded, planned = _planned(sweep, overrides, root)
    store = Store(root)
    folder = to or store.report_folder(loaded.name)
    analysis.write_tables(analysis.load(store.root, planned), folder, name=loaded.name)
    _say(f"Tables: {_short(folder / 'tables')}")


@export.command()
def agent(
    key: Annotated[str, typer.Argument(help="Key of a phase, or its first digits, as the report gives them.")],
    to: Annotated[Path, typer.Option(help="Folder for the agent's files.")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write the agent that a phase ended with: weights (safetensors), configuration, a card with its numbers."""
    import analysis

    paths = analysis.export_agent(root, key, to)
    _say("\n".join(f"{_short(path)}" for path in paths))


@app.command()
def explain(
    key: Annotated[str | None, typer.Argument(help="A setting (sac.tau), a method, a benchmark, a sweep.")] = None,
    as_json: AsJson = False,
    schema: Annotated[bool, typer.Option(help="The JSON schema of sweep files, for editors.")] = False,
) -> None:
    """Say what a setting, a method, a benchmark or a sweep is: type, range, default, source, uses."""
    from nbsp_ray.verbs import explain as explaining

    if schema:
        _print_json(explaining.json_schema())
        return
    explanation = explaining.explain(key or "")
    if as_json:
        _print_json(explanation.to_json())
    else:
        sys.stdout.write(f"{explanation}\n")


@app.command()
def doctor(root: Root = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """Look at what of this machine matters, and say what to do about it."""
    from dataclasses import asdict

    from nbsp_ray.verbs.doctor import examine
    from nbsp_ray.verbs.listing import print_checks

    checks = examine(root.expanduser().absolute())
    if as_json:
        _print_json([asdict(check) for check in checks])
    else:
        print_checks(checks)
    if any(check.state == "bad" for check in checks):
        raise typer.Exit(FAILED)


def _report(planned: Plan, store: Store, loaded: LoadedSweep, *, write: bool = True) -> None:
    """Print the table of what there is, and write the report."""
    import analysis
    from nbsp_ray.verbs.listing import print_results

    results = analysis.load(store.root, planned)
    if results.any_done:
        print_results(results, title=loaded.title or loaded.name)
    else:
        _say("No trial is finished yet, so there is no table")
    if write and results.any_begun:
        folder = store.report_folder(loaded.name)
        analysis.write_report(results, folder, name=loaded.name, title=loaded.title or loaded.name)
        _say(f"Report: {_short(folder / 'report.html')}, and report.md beside it")


def _command(verb: str, loaded: LoadedSweep, root: Path) -> str:
    """The command as one would type it to do `verb` with the same sweep."""
    where = [] if root == DEFAULT_ROOT else ["--root", str(root)]
    return shlex.join(["nbsp-ray", verb, loaded.given, *loaded.overrides, *where])


def _hint_at_last_overrides(store: Store, loaded: LoadedSweep, *, nothing_done: bool) -> None:
    """Settings given on the command line make other phases: say so if the ones asked for are not there."""
    last = store.read_sweep(loaded.name)
    if nothing_done and last and last["overrides"] and last["overrides"] != list(loaded.overrides):
        _say(f"Nothing is done with these settings; {loaded.name} was last run with: {' '.join(last['overrides'])}")


def _progress_line(label: str, progress: Any) -> str:
    speed = f", {progress.env_steps_per_second:.0f} env steps/s" if progress.env_steps_per_second else ""
    success = "" if progress.success is None else f", success {progress.success:.2f}"
    return f"{label}: {progress.stage}, {progress.env_steps:,} of {progress.budget:,} env steps{success}{speed}"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
