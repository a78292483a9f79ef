"""A sweep's status as tables and lines for a terminal."""

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nbsp_ray.states import State
from nbsp_ray.status import PhaseStatus, SweepStatus
from nbsp_ray.terminal.output import WIDE
from nbsp_ray.units import clock, count, duration

# For people


def render(status: SweepStatus, *, most: int = 20) -> RenderableType:
    """One line for each phase at work (at most `most`), then the failures, then a line of summary."""
    parts: list[RenderableType] = []
    if status.running:
        parts.append(_Running(status.running[:most]))
    hidden = len(status.running) - most
    if hidden > 0:
        parts.append(Text(f"... and {hidden} more at work", style="dim"))
    failed = [phase for phase in status.phases if phase.state is State.FAILED]
    for phase in failed[:most]:
        parts.append(Text.assemble(("failed  ", "bold red"), phase.label, ": ", phase.error or "no reason is stored"))
        parts.append(Text(f"        {phase.failures}", style="dim"))
    if len(failed) > most:
        parts.append(Text(f"... and {len(failed) - most} more failed", style="dim"))
    damaged = [phase for phase in status.phases if phase.state == "damaged"]
    for phase in damaged[:most]:
        parts.append(Text.assemble(("damaged  ", "bold red"), phase.label, ": ", phase.error or ""))
    if len(damaged) > most:
        parts.append(Text(f"... and {len(damaged) - most} more damaged", style="dim"))
    for note, phases in list(status.notes.items())[:most]:
        parts.append(Text(f"noted in {phases} of {len(status.phases)} phases: {note}"))
    parts.append(Text(summary(status)))
    return Group(*parts)


class _Running:
    """The phases at work: a line for each if the console is wide enough, else one for its name and one for the rest."""

    def __init__(self, phases: tuple[PhaseStatus, ...]) -> None:
        self._phases = phases

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for bar in (True, False) if console.is_terminal else (False,):
            table = self._table(bar=bar)
            if Measurement.get(console, options.update(width=WIDE), table).maximum <= options.max_width:
                yield table
                return
        for phase in self._phases:
            yield Text(phase.label)
            yield Text(f"  {', '.join(filter(None, cells(phase)))}")

    def _table(self, *, bar: bool) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column()
        for _ in range(5 + bar):
            table.add_column(no_wrap=True, justify="right")
        for phase in self._phases:
            drawn = [ProgressBar(total=max(1, phase.budget), completed=phase.env_steps, width=16)] if bar else []
            table.add_row(Text(phase.label), *drawn, *map(Text, cells(phase)))
        return table


def cells(phase: PhaseStatus) -> list[str]:
    """How far a phase at work is, how fast, how good, when it ends, and where; what is not known is empty."""
    return [
        "evaluating" if phase.state is State.EVALUATING else f"{count(phase.env_steps)}/{count(phase.budget)}",
        f"{phase.env_steps_per_second:.0f} env steps/s" if phase.env_steps_per_second else "",
        "" if phase.success is None else f"success {phase.success:.2f}",
        "" if phase.eta_seconds is None else f"ETA {duration(phase.eta_seconds)}",
        f"on {phase.host}" if phase.host else "",
    ]


def summary(status: SweepStatus) -> str:
    """`3 of 12 phases done (first 2 of 2, second 1 of 10), 2 at work, ...; 3.1M of 12.0M env steps; ETA 2 h`."""
    kinds = [
        f"{place} {sum(phase.state is State.DONE for phase in found)} of {len(found)}"
        for place, found in status.by_place().items()
    ]
    text = f"{len(status.done)} of {len(status.phases)} phases done ({', '.join(kinds)})"
    named = [("at work", len(status.running)), *((state, len(status.keys(state))) for state in _OTHER)]
    text += "".join(f", {number} {name}" for name, number in named if number)
    if status.left:
        text += f"; {count(status.env_steps)} of {count(status.budget)} env steps"
    if status.running and status.eta_seconds is not None:
        text += f"; ETA {duration(status.eta_seconds)}"
        if status.eta_seconds > 600:
            text += f" ({clock(status.time + status.eta_seconds, now=status.time)})"
        if status.beyond:
            text += f", with {status.beyond} phases that the search is yet to choose"
    return text


_OTHER = (State.WAITING, State.STOPPED, State.DAMAGED, State.FAILED, State.BLOCKED)
