"""What the driver tells its workers, and what they tell it: plain data, as Tune's configs and results have it."""

from typing import Any, Final, Literal

from pydantic import Field

from nbsp_ray.config.schema import Resources, Settings
from nbsp_ray.specs import EvaluationSpec, PhaseSpec

TELLINGS = 20
"""So many progress files a second, of all workers together, are no burden for a filer."""
STEP_SECONDS = 3.0
"""Of a step of Tune's, after which a worker tells how far it is.

It ends with the episode under way; a wish to stop is heard between two steps.
"""
LONGEST_PACE = 30.0


class PhaseJob(Settings):
    """All that a worker must know of a phase."""

    spec: PhaseSpec
    evaluations: tuple[EvaluationSpec, ...]
    keep_buffer: bool = False
    label: str = ""
    """For people who look at Ray's lists of workers."""


class PackJob(Settings):
    """All that a worker must know of a pack, beside its phases."""

    lanes: int
    """Phases side by side, at most."""
    largest: PhaseSpec
    """Of all phases that may come, the one with the largest budget."""
    capacity: int
    """Transitions of the largest buffer of all that may come."""
    lane_bytes: int
    """Memory that a lane takes, at most."""


class Job(Settings):
    """What a worker has to do; Tune's config of its trial."""

    root: str
    """The results root, absolute: the same path on every machine."""
    phases: tuple[PhaseJob, ...]
    """One; or those with which a pack begins."""
    pack: PackJob | None = None
    resources: Resources
    code: dict[str, str | None] | None = None
    """What of the driver's code this worker's must equal; None where both run from the same files."""
    pace: float = 0.0
    """Seconds between two tellings of how far a phase is, at least: the more work side by side, the longer."""
    selector: dict[str, str] = Field(default_factory=dict[str, str])
    """Labels of the machines that may be used, as Ray understands them."""


GAVE_UP: Final = "gave_up"
"""In a result: the phase has failed for good, and Tune need not try it again."""
LEAVES: Final = "leaves"
"""In a result: the phases are saved and go on elsewhere, for their machine is taken away."""
NODE: Final = "node"
"""In a result: Ray's id of the machine."""
PUT_BACK: Final = "put_back"
"""In a result: something that the phase needs has to be made anew before it, which is no fault of its own."""
DONE: Final = "done"
FAILED: Final = "failed"
"""How a phase of a pack has ended, beside `GAVE_UP` and `PUT_BACK`; one that has failed may be tried again."""
PHASES: Final = "phases"
"""In a result of a pack: for each of its phases the key, env steps, and how it has ended or None."""
ROOM: Final = "room"
"""In a result of a pack: how many more phases could begin."""
WORKER: Final = "worker"
"""In a result of a pack: its actor, pickled, to which phases can be handed."""

End = Literal["done", "failed", "gave_up", "put_back"]


def told(result: dict[str, Any]) -> list[tuple[str, int, End | None]]:
    """What a result of a pack says of each of its phases; nothing in a result of one phase."""
    return [(str(key), int(env_steps), end) for key, env_steps, end in result.get(PHASES) or ()]


def pace(slots: int) -> float:
    """Seconds between two tellings of a phase of how far it is, where so many work side by side; 0: as it likes."""
    seconds = slots / TELLINGS
    return min(LONGEST_PACE, seconds) if seconds > STEP_SECONDS else 0.0
