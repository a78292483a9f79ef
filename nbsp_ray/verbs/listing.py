"""What the verbs print: plans, checks and results, as tables for people and as JSON for scripts."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from nbsp_ray.terminal.output import plain_console, print_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis import Advice, Results
    from analysis.probe.frames import Probe
    from nbsp_ray.plan.price import Price
    from nbsp_ray.plan.search import CountSearch
    from nbsp_ray.specs import Plan, Trial
    from nbsp_ray.status import SweepStatus
    from nbsp_ray.verbs.doctor import Check

SPEED_SOURCES: Mapping[str, str] = {
    "finished phases": "at the speed of the phases finished here",
    "measured": "at the speed that --measure found here",
    "reference": "at the speed of another machine; --measure times this one",
}


def plan_json(plan: Plan, status: SweepStatus, cost: Price, searches: Sequence[CountSearch] = ()) -> dict[str, Any]:
    """Counts of trials, phases and env steps (the most they can take), and the cost of what is left."""
    first = sum(phase.spec.index == 0 for phase in plan.phases.values())
    return {
        "sweep": plan.name,
        "trials": len(plan.trials),
        "phases": {
            "first": first,
            "second": len(plan.phases) - first,
            "done": len(status.done),
            "failed": len(status.failed),
            "blocked": len(status.blocked),
            "left": len(status.left),
        },
        "env_steps": plan.env_steps(),
        "env_steps_left": plan.env_steps(status.left),
        "cost": {
            "cpu_hours": round(cost.cpu_hours, 3),
            "hours_here": round(cost.hours, 3),
            "side_by_side": cost.side_by_side,
            "speed_source": cost.speed_source,
            "disk_gb": round(cost.disk_gb, 3),
            "peak_disk_gb": round(cost.peak_disk_gb, 3),
        },
        "searches": [
            {"method": search.method, "numbers": search.budget, "tried": list(search.tried), "left": search.left}
            for search in searches
        ],
    }


def search_lines(searches: Sequence[CountSearch]) -> list[str]:
    """For each search, how far it is."""
    return [
        f"search of {search.method}'s number of skill neurons: {len(search.tried)} of {search.budget} chosen "
        f"({', '.join(map(str, search.tried))})"
        + (", the others by what these give; priced as any other numbers" if search.left else "")
        for search in searches
    ]


def print_plan(
    plan: Plan, status: SweepStatus, cost: Price, *, command: str, title: str, notes: Sequence[str] = ()
) -> None:
    """The front door: what there is to do, what it costs, and how to start it."""
    console = plain_console()
    counts = plan_json(plan, status, cost)
    phases = counts["phases"]
    console.print(Text.assemble((plan.name, "bold"), "  ", title), soft_wrap=True)
    console.print(
        f"  {len(plan.trials)} trials: {phases['first']} first and {phases['second']} later phases, "
        f"at most {_millions(plan.env_steps())} env steps"
    )
    waiting = f", {phases['failed']} failed, {phases['blocked']} blocked" if phases["failed"] else ""
    console.print(f"  {phases['done']} phases done{waiting}, {phases['left']} left")
    if status.left:
        console.print(
            f"  at most {_duration(cost.hours)} with {cost.side_by_side} side by side "
            f"({cost.cpu_hours:.1f} CPU hours), {SPEED_SOURCES[cost.speed_source]}"
        )
    for note in notes:
        console.print(Text(f"  {note}"), soft_wrap=True)
    console.print(f"  disk {cost.disk_gb:.1f} GB, {cost.peak_disk_gb:.1f} GB while running")
    for benchmark in dict.fromkeys(trial.benchmark for trial in plan.trials):
        trials = [trial for trial in plan.trials if trial.benchmark == benchmark]
        console.print(Padding(_cells(trials, set(status.done)), (1, 0, 0, 2)))
    console.print()
    if status.left:
        print_command(console, "Nothing was started. Run it:  ", command)
    else:
        console.print("All of it is done.")


def _cells(trials: Sequence[Trial], done: set[str]) -> Table:
    """Trials done of all, per method and pair."""
    pairs = list(dict.fromkeys(trial.tasks for trial in trials))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("trials done", no_wrap=True)
    for tasks in pairs:
        table.add_column(" >\n".join(tasks), justify="right", no_wrap=True)
    for method in dict.fromkeys(trial.method for trial in trials):
        row: list[str] = []
        for tasks in pairs:
            cell = [trial for trial in trials if trial.tasks == tasks and trial.method == method]
            ready = sum(all(key in done for key in trial.phases) for trial in cell)
            row.append(f"{ready} of {len(cell)}" if cell else "-")
        table.add_row(method, *row)
    return table


def print_checks(checks: Sequence[Check]) -> None:
    """What `doctor` found, one line a check, its advice under it."""
    console = plain_console()
    colours = {"ok": "green", "note": "yellow", "bad": "red"}
    for check in checks:
        mark = Text(f"{check.state:>4}  ", style=colours[check.state])
        console.print(mark + Text(f"{check.name}: ", style="bold") + Text(check.found), soft_wrap=True)
        if check.advice:
            console.print(Text(f"      {check.advice}"), soft_wrap=True)


def print_results(results: Results, *, title: str) -> None:
    """The tables of a sweep, and what must be said under each."""
    from analysis.pages.console import console_tables

    console = plain_console(width=None if sys.stdout.isatty() else 120)
    for table, notes in console_tables(results, title=title):
        console.print(table)
        for note in notes:
            console.print(Text(f"  {note}"), soft_wrap=True)


def advice_json(advice: Sequence[Advice], weight_stability: float) -> dict[str, Any]:
    """The advice for scripts; what the seeds do not allow is null."""

    def known(number: float) -> float | None:
        return None if math.isnan(number) else number

    return {
        "weight_stability": weight_stability,
        "advice": [
            {
                "of": one.label,
                "seeds": one.seeds,
                "best": one.best.label,
                "cannot_tell_apart": [count.label for count in one.ties],
                "counts": [
                    {
                        "skill_neurons": count.label,
                        "neurons": count.neurons,
                        "value": known(count.value.mean),
                        "interval": [known(count.value.low), known(count.value.high)],
                        "behind_best": known(count.behind_best.mean),
                        "behind_best_interval": [known(count.behind_best.low), known(count.behind_best.high)],
                        "best_in": known(count.best_share),
                    }
                    for count in one.counts
                ],
                "left_out": list(one.left_out),
            }
            for one in advice
        ],
    }


def print_advice(advice: Sequence[Advice], results: Results, weight_stability: float) -> None:
    """A table of each pair's counts, and what it comes to."""
    from analysis.advise import advice_notes
    from analysis.tables.cells import of_summary

    console = plain_console(width=None if sys.stdout.isatty() else 120)
    for one in advice:
        table = Table(box=None, padding=(0, 2), header_style="bold", title=one.label, title_justify="left")
        for title in ("skill neurons", "per network", f"value (n={one.seeds})", "behind the best", "best in"):
            table.add_column(title, justify="right")
        for count in one.counts:
            value, behind = (of_summary(found, error=False) for found in (count.value, count.behind_best))
            best_in = "-" if math.isnan(count.best_share) else f"{count.best_share:.0%}"
            mark = "* " if count is one.best else ""
            table.add_row(mark + count.label, str(count.neurons), value, behind, best_in)
        console.print(table)
        console.print(Text(one.sentence()), soft_wrap=True)
        if one.left_out:
            console.print(Text(f"Left out, without a finished seed in common: {', '.join(one.left_out)}."))
        console.print()
    for note in advice_notes(results, weight_stability):
        console.print(Text(f"  {note}"), soft_wrap=True)


class ProbeProgress:
    """How far a probe is, on the standard error: one bar on a terminal, a line now and then elsewhere."""

    done = total = 0
    """Measurements."""

    def __init__(self, seconds: float = 10.0) -> None:
        console = plain_console(stderr=True)
        self._console, self._seconds, self._told_at = console, seconds, time.monotonic()
        columns = (
            BarColumn(20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("", total=None) if self._bar else None

    def __enter__(self) -> ProbeProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Tell how many of all measurements are done, and what is next."""
        self.done, self.total = done, total
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, description=what)
        elif time.monotonic() - self._told_at > self._seconds:
            self._told_at = time.monotonic()
            self._console.print(Text(f"{done} of {total}: {what}"), soft_wrap=True)


def print_probe(probe: Probe) -> None:
    """The tables of a probe, and what must be said under each."""
    from analysis.probe.report import cautions, show_probe

    console = plain_console(width=None if sys.stdout.isatty() else 140)
    for shown in show_probe(probe):
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title=shown.title, title_justify="left")
        for name in shown.text.columns:
            table.add_column(str(name))
        for row in shown.text.to_numpy().tolist():
            table.add_row(*map(Text, row))
        console.print(table)
        for note in shown.caption:
            console.print(Text(f"  {note}", style="dim"), soft_wrap=True)
        console.print()
    for note in cautions(probe):
        console.print(Text(note, style="yellow"), soft_wrap=True)


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1_000_000 else f"{count:,}"


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
