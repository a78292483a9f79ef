"""Times a few hundred env steps of learning, for `plan --measure`."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Resources
from nbsp_ray.learning import compiling
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.hooks import ActiveMethod
from nbsp_ray.learning.machine import prepare
from nbsp_ray.learning.pack import new_pack
from nbsp_ray.learning.phase import Phase, learn
from nbsp_ray.learning.replay import new_replay
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.learning.wishes import alone
from nbsp_ray.specs import PhaseSpec
from nbsp_ray.store import Store

EPISODE = 100
"""Env steps of an episode: a whole game of Atari would take minutes."""
SECONDS = 10.0
PACK_BUFFER = 20_000
"""Transitions of each lane's buffer while a pack is timed."""


def measure_speed(
    spec: PhaseSpec, resources: Resources, env_steps: int = 500, tell: Callable[[str], None] = lambda what: None
) -> float:
    """Measure env steps per second of learning, without evaluations, over `env_steps` of them or ten seconds.

    The update is compiled if the phase's would be, which takes a minute where this machine has no code of it yet;
    `tell` is told what is under way.
    """
    device, benchmark = prepare(resources, spec.sac), get_benchmark(spec.benchmark)
    spaces = benchmark.task_spaces(spec.task)
    environments = benchmark.make_env(spec.task, 0), benchmark.make_env(spec.task, 0)
    for env in environments:
        env.horizon = min(EPISODE, env.horizon)
    warm_up = spec.sac.batch_size + EPISODE
    sac = spec.sac.model_copy(update={"learning_starts": spec.sac.batch_size})
    # Its budget and the time to its next evaluation are out of reach: only learning is timed.
    endless = spec.learning.model_copy(update={"env_steps": 10**9, "eval_every": 10**9, "eval_episodes": 1})
    phase = Phase(
        spec=spec.model_copy(update={"sac": sac, "learning": endless, "ingredients": ()}),
        agent=Agent(sac, spaces, device, generator(0, 0, Stream.NETWORKS)),
        replay=new_replay(spaces, warm_up + env_steps + EPISODE, device),
        past_replay=None,
        influence=ActiveMethod(()),
        env=environments[0],
        evaluation_envs={spec.task: environments[1]},
    )
    wanted = compiling.wanted(resources, spec)
    tell("compiling the update, up to a minute" if wanted else "building the networks")
    compiling.build(phase.agent, {}, resources, compile=wanted)
    tell(f"filling the buffer with {warm_up} env steps")
    began = before = 0.0
    for _ in alone(learn(phase)):
        if not before and phase.env_steps >= warm_up:
            tell(f"timing {env_steps} env steps, {SECONDS:.0f} seconds at most")
            began, before = time.monotonic(), phase.env_steps
        elif before and (phase.env_steps >= before + env_steps or time.monotonic() > began + SECONDS):
            break
    return (phase.env_steps - before) / (time.monotonic() - began)


def measure_pack(
    spec: PhaseSpec,
    resources: Resources,
    lanes: int,
    seconds: float = SECONDS,
    tell: Callable[[str], None] = lambda what: None,
) -> float:
    """Measure env steps per second of each lane of a full pack, over `seconds` in which all of them learn."""
    sac = spec.sac.model_copy(update={"learning_starts": spec.sac.batch_size, "buffer_size": PACK_BUFFER})
    endless = spec.learning.model_copy(update={"env_steps": 10**9, "eval_every": 10**9, "eval_episodes": 1})
    first = {"sac": sac, "learning": endless, "earlier_tasks": (), "previous": None, "auxiliary": {}, "rollouts": None}
    specs = [spec.model_copy(update={**first, "ingredients": (), "seed": seed}) for seed in range(lanes)]
    compile = compiling.wanted(resources, spec) and resources.compile  # `auto` goes on where it cannot be done.
    resources = resources.model_copy(update={"compile": compile, "checkpoint_minutes": 1e6})
    with TemporaryDirectory(prefix="nbsp-ray-timing-") as folder:
        store = Store(Path(folder) / "results", create=True)
        runs = [PhaseRun(store, one, [], [], resources) for one in specs]
        left = iter(runs)
        pack = new_pack(
            specs[0], lanes, PACK_BUFFER, resources, resources.cpus, stopped=lambda: False, report=lambda run: None
        )
        try:
            tell(f"opening {lanes} phases, and taking random steps in all of them")
            while min(run.progress().updates for run in runs) < 2:
                pack.run(lambda: next(left, None), 0.1)
                for error in pack.failures.values():
                    raise error
            tell(f"timing all of them for {seconds:g} seconds")
            began, before = time.monotonic(), sum(run.progress().env_steps for run in runs)
            pack.run(lambda: None, seconds)
            done = sum(run.progress().env_steps for run in runs) - before
            return done / lanes / (time.monotonic() - began)
        finally:
            pack.close()
