"""A sweep's status as tables and lines for a terminal."""

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nbsp_ray.status import State, SweepStatus
from nbsp_ray.units import clock, count, duration

# For people


def render(status: SweepStatus, *, most: int = 20) -> RenderableType:
    """One line for each phase at work (at most `most`), then the failures, then a line of summary."""
    parts: list[RenderableType] = []
    if status.running:
        parts.append(_running_table(status, most))
    hidden = len(status.running) - most
    if hidden > 0:
        parts.append(Text(f"... and {hidden} more at work", style="dim"))
    failed = [phase for phase in status.phases if phase.state == "failed"]
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


def _running_table(status: SweepStatus, most: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for _ in range(4):
        table.add_column(no_wrap=True, justify="right")
    for phase in status.running[:most]:
        evaluating = phase.state == "evaluating"
        ends = None if evaluating else phase.eta_seconds
        table.add_row(
            Text(phase.label),
            ProgressBar(total=max(1, phase.budget), completed=phase.env_steps, width=16),
            "evaluating" if evaluating else f"{count(phase.env_steps)}/{count(phase.budget)}",
            "" if phase.success is None else f"success {phase.success:.2f}",
            "" if ends is None else f"ETA {duration(ends)}",
        )
    return table


def summary(status: SweepStatus) -> str:
    """`3 of 12 phases done (first 2 of 2, second 1 of 10), 2 at work, ...; 3.1M of 12.0M env steps; ETA 2 h`."""
    kinds = [
        f"{place} {sum(phase.state == 'done' for phase in found)} of {len(found)}"
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
    return text


_OTHER: tuple[State, ...] = ("waiting", "stopped", "damaged", "failed", "blocked")
