"""Whether a phase's update is compiled, and where the compiled code is kept: once for all trials of a results root.

Compiling takes up to a minute and its result is a file of machine code, so the folder is named by the machine, the
first trial that needs a graph compiles it while others wait, and all later ones read it.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

from nbsp_ray.benchmarks import AnySpaces
from nbsp_ray.config import Resources, Sac
from nbsp_ray.errors import ConfigError
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.execution import Execution
from nbsp_ray.learning.machine import check_compiler, machine_name
from nbsp_ray.learning.sac import Restraint
from nbsp_ray.plan import PhaseSpec
from nbsp_ray.store import Store
from nbsp_ray.store.files import digest_of

AUTO_UPDATES = 50_000
"""Updates from which on `compile: auto` compiles: it saves a millisecond or more on each."""


def wanted(resources: Resources, spec: PhaseSpec) -> bool:
    """What `resources.compile` means for a phase: `auto` goes by the most updates that it can make."""
    if resources.compile == "auto":
        updates = (spec.learning.env_steps - spec.sac.learning_starts) * spec.sac.updates_per_env_step
        return updates >= AUTO_UPDATES
    return resources.compile


def graph_name(sac: Sac, spaces: AnySpaces, restraints: Mapping[str, Restraint]) -> str:
    """The same for updates that compile to the same code."""
    shape = {part: [one.update_scale is None, len(one.penalties)] for part, one in sorted(restraints.items())}
    return digest_of([sac.model_dump(mode="json"), str(spaces), shape])[:12]


def build(
    agent: Agent, restraints: Mapping[str, Restraint], store: Store, resources: Resources, *, compile: bool
) -> str | None:
    """Build the agent's update with a method's restraints, compiled if asked for.

    Returns:
        Why it is not compiled although it was asked for; `resources.compile: auto` goes on without.

    Raises:
        ConfigError: `resources.compile: true`, and it cannot be.
    """
    graphs = agent.device.type == "cuda" and resources.cuda_graphs
    if compile:
        try:
            check_compiler(agent.device)
            agent.restrain(restraints, Execution(compile=True, cuda_graphs=graphs, device=agent.device.type))
            graph = graph_name(agent.sac, agent.spaces, restraints)
            compile_once(store.compile_cache(machine_name()), graph, resources.cpus, agent.warm_up)
            return None
        except Exception as error:
            why = _reason(error)
            if resources.compile is True:
                raise ConfigError(f"resources.compile=true, and the update cannot be compiled: {why}") from error
    agent.restrain(restraints, Execution(cuda_graphs=graphs))
    return f"the update is not compiled, which costs time only: {why}" if compile else None


def _reason(error: Exception) -> str:
    """The first line of what went wrong, beneath what the compiler wraps it in."""
    inner = getattr(error, "inner_exception", error)
    return str(inner).strip().split("\n")[0] or type(inner).__name__


def compile_once(folder: Path, graph: str, threads: int, compile: Callable[[], None]) -> None:
    """Call `compile` with its code kept in `folder`; of several processes the first does the work for all.

    Args:
        folder: For this machine's code; not used if the environment names another by TORCHINDUCTOR_CACHE_DIR.
        graph: A name of what is compiled.
        threads: Processes that compile at once.
        compile: Compiles; quick where the code is there already.
    """
    _use(folder, threads)
    made = folder / f"{graph}.made"
    if made.exists():
        compile()
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{graph}.lock"):
        compile()
        made.touch()


def _use(folder: Path, threads: int) -> None:
    import torch._inductor.config as inductor

    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        if os.environ.get(name, "") in ("", _given.get(name)):
            _given[name] = os.environ[name] = str(folder)
    inductor.compile_threads = threads


_given: dict[str, str] = {}
"""What `_use` has put into the environment itself, and may change again."""
