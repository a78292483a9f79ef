"""Sizes of the parts of a phase: rows of a buffer, networks, what is kept on disk, what must fit in memory.

Plain arithmetic over the plan, so that a price is known before anything starts. Knows neither torch nor the store; a
test holds it against what learning really allocates.
"""

from nbsp_ray.benchmarks import Frames, Score, Spaces, get_benchmark
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import NETWORKS, layouts, row_width
from nbsp_ray.methods import read_ingredients
from nbsp_ray.specs import SAMPLE_TRANSITIONS, EvaluationSpec, Plan, PlannedPhase

FLOAT_BYTES = 4
COPIES = 3
"""An agent is stored with Adam's two moments."""
USUAL_ENV_STEPS = 2_000
"""Env steps at most of an episode that is judged by its score, where an evaluation counts them: few games last as long
as they may."""
PROCESS_BYTES = {"vectors": 450_000_000, "pixels": 660_000_000}
"""Bytes of a process with torch, an environment and an agent at work, without its buffers; measured on Linux, CPU."""


def kind(spaces: Spaces) -> str:
    """`vectors` or `pixels`."""
    return "pixels" if isinstance(spaces.observation, Frames) else "vectors"


def row_bytes(spaces: Spaces) -> int:
    """Bytes of one transition in a replay buffer: two vectors and an action, or a single frame."""
    return row_width(spaces) * (1 if isinstance(spaces.observation, Frames) else FLOAT_BYTES)


def _step_bytes(spaces: Spaces) -> int:
    """Bytes of one step of kept rollouts, but for its criterion."""
    if isinstance(spaces.observation, Frames):
        return row_bytes(spaces)
    return (spaces.observation.size + spaces.action.width) * FLOAT_BYTES


def _sample_bytes(spaces: Spaces) -> int:
    """Bytes of one transition of a sample: of frames a whole stack and the next."""
    rows = spaces.observation.stack + 1 if isinstance(spaces.observation, Frames) else 1
    return row_bytes(spaces) * rows


def parameters(spaces: Spaces, sac: Sac) -> int:
    """Parameters of one Q network; an actor has about as many."""
    return layouts(spaces, sac.hidden)["critic"].parameters


def multiplications(spaces: Spaces, sac: Sac) -> float:
    """Multiplications of one forward pass of a batch through a Q network, per env step."""
    products = layouts(spaces, sac.hidden)["critic"].multiplications
    return products * sac.batch_size * sac.updates_per_env_step


def spaces_of(phase: PlannedPhase) -> Spaces:
    """Observation and action spaces of the task that the phase learns."""
    return get_benchmark(phase.spec.benchmark).task_spaces(phase.spec.task)


def on_gpu(phase: PlannedPhase) -> bool:
    """Whether the phase learns, and has its buffers, on a GPU."""
    wanted = phase.resources
    return wanted.device == "cuda" or (wanted.device == "auto" and wanted.gpus > 0)


def buffer_bytes(phase: PlannedPhase) -> int:
    """D, when it is as full as the phase can make it."""
    return min(phase.spec.sac.buffer_size, phase.spec.learning.env_steps) * row_bytes(spaces_of(phase))


def evaluation_steps(phase: PlannedPhase, record: EvaluationSpec) -> int:
    """Env steps of a final evaluation; about so many where it counts episodes that are judged by their score."""
    if record.env_steps is not None:
        return record.env_steps
    benchmark = get_benchmark(phase.spec.benchmark)
    longest = min(benchmark.horizon, USUAL_ENV_STEPS) if isinstance(benchmark.judged_by, Score) else benchmark.horizon
    return record.episodes * longest


def disk_bytes(phase: PlannedPhase) -> int:
    """Bytes that the finished phase keeps on disk: agent, scoring rollouts, its buffer or a sample of it."""
    spaces, sac = spaces_of(phase), phase.spec.sac
    agent = (len(NETWORKS) * COPIES + 2) * parameters(spaces, sac) * FLOAT_BYTES
    kept = [record for record in phase.evaluations.values() if record.mode == "rollouts"]
    rollouts = sum(evaluation_steps(phase, record) for record in kept) * _step_bytes(spaces)
    sample = SAMPLE_TRANSITIONS * _sample_bytes(spaces) if phase.spec.index else 0
    return agent + rollouts + sample + (buffer_bytes(phase) if phase.keep_buffer else 0)


def replayed_bytes(plan: Plan, key: str) -> int:
    """D_pre: the buffers of all earlier phases, if the phase draws from them."""
    phase, total = plan.phases[key], 0
    if not any(ingredient.needs_buffers for ingredient in read_ingredients(phase.spec)):
        return 0
    before = phase.spec.previous
    while before is not None:
        total += buffer_bytes(plan.phases[before])
        before = plan.phases[before].spec.previous
    return total
