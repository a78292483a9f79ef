"""How large the parts of a phase are: rows of a buffer, networks, what is kept on disk, what must fit in memory.

Plain arithmetic over the plan, so that a price is known before anything starts. Knows neither torch nor the store; a
test holds it against what learning really allocates.
"""

import math
from collections.abc import Iterator

from nbsp_ray.benchmarks import AnySpaces, PixelSpaces, get_benchmark
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import NETWORKS
from nbsp_ray.specs import EvaluationSpec, Plan, PlannedPhase

FLOAT_BYTES = 4
FRAME_FIELDS = 4
"""Bytes beside a frame: action, sign of the reward, terminated, flags."""
COPIES = 3
"""An agent is stored with Adam's two moments."""
SAMPLE_TRANSITIONS = 2_560
"""Kept of the buffer of each later phase."""
GAME_ENV_STEPS = 2_000
"""Env steps of a game, where an evaluation counts games: few last as long as they may."""
PROCESS_BYTES = {"vectors": 450_000_000, "pixels": 660_000_000}
"""Of a process with torch, an environment and an agent at work, without its buffers; measured on Linux, CPU."""


def kind(spaces: AnySpaces) -> str:
    """`vectors` or `pixels`."""
    return "pixels" if isinstance(spaces, PixelSpaces) else "vectors"


def row_bytes(spaces: AnySpaces) -> int:
    """Of one transition in a replay buffer: two vectors and an action, or a single frame."""
    if isinstance(spaces, PixelSpaces):
        return math.prod(spaces.frame) + FRAME_FIELDS
    return (2 * spaces.observations + spaces.actions + 2) * FLOAT_BYTES


def _step_bytes(spaces: AnySpaces) -> int:
    """Of one step of kept rollouts."""
    if isinstance(spaces, PixelSpaces):
        return row_bytes(spaces)
    return (spaces.observations + spaces.actions) * FLOAT_BYTES


def _sample_bytes(spaces: AnySpaces) -> int:
    """Of one transition of a sample: of frames a whole stack and the next."""
    return row_bytes(spaces) * (spaces.stack + 1 if isinstance(spaces, PixelSpaces) else 1)


def _layers(spaces: AnySpaces, hidden: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Inputs and outputs of each layer of a Q network, and at how many places it is applied."""
    if isinstance(spaces, PixelSpaces):
        (height, width), into, places = spaces.frame, spaces.stack, 1
        for channels, kernel, stride in spaces.convolutions:
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            places = height * width
            yield into * kernel**2, channels, places
            into = channels
        into, outputs = into * places, spaces.actions
    else:
        into, outputs = spaces.observations + spaces.actions, 1
    for out in (*hidden, outputs):
        yield into, out, 1
        into = out


def parameters(spaces: AnySpaces, sac: Sac) -> int:
    """Of one Q network; an actor has about as many."""
    return sum((into + 1) * out for into, out, _ in _layers(spaces, sac.hidden))


def multiplications(spaces: AnySpaces, sac: Sac) -> float:
    """Of one forward pass of a batch through a Q network, per env step."""
    products = sum(into * out * places for into, out, places in _layers(spaces, sac.hidden))
    return products * sac.batch_size * sac.updates_per_env_step


def spaces_of(phase: PlannedPhase) -> AnySpaces:
    """Of the task that the phase learns."""
    return get_benchmark(phase.spec.benchmark).task_spaces(phase.spec.task)


def on_gpu(phase: PlannedPhase) -> bool:
    """Whether the phase learns, and has its buffers, on a GPU."""
    wanted = phase.resources
    return wanted.device == "cuda" or (wanted.device == "auto" and wanted.gpus > 0)


def buffer_bytes(phase: PlannedPhase) -> int:
    """D, when it is as full as the phase can make it."""
    return min(phase.spec.sac.buffer_size, phase.spec.learning.env_steps) * row_bytes(spaces_of(phase))


def evaluation_steps(phase: PlannedPhase, record: EvaluationSpec) -> int:
    """Env steps of a final evaluation; where it counts games, about so many."""
    if record.env_steps is not None:
        return record.env_steps
    benchmark = get_benchmark(phase.spec.benchmark)
    longest = benchmark.horizon if benchmark.measure == "success" else GAME_ENV_STEPS
    return record.episodes * min(longest, benchmark.horizon)


def disk_bytes(phase: PlannedPhase) -> int:
    """What the finished phase keeps: agent, scoring rollouts, its buffer or a sample of it."""
    spaces, sac = spaces_of(phase), phase.spec.sac
    agent = (len(NETWORKS) * COPIES + 2) * parameters(spaces, sac) * FLOAT_BYTES
    kept = [record for record in phase.evaluations.values() if record.mode == "rollouts"]
    rollouts = sum(evaluation_steps(phase, record) for record in kept) * _step_bytes(spaces)
    sample = SAMPLE_TRANSITIONS * _sample_bytes(spaces) if phase.spec.index else 0
    return agent + rollouts + sample + (buffer_bytes(phase) if phase.keep_buffer else 0)


def replayed_bytes(plan: Plan, key: str) -> int:
    """D_pre: the buffers of all earlier phases, if the phase replays them."""
    phase, total = plan.phases[key], 0
    if not any(ingredient["kind"] == "replay" for ingredient in phase.spec.ingredients):
        return 0
    before = phase.spec.previous
    while before is not None:
        total += buffer_bytes(plan.phases[before])
        before = plan.phases[before].spec.previous
    return total
