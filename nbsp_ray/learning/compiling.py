"""Whether a phase's update is compiled, and that it is compiled once for all trials on a machine.

Compiling takes up to a minute and its result is a file of machine code, so the folder is named by the machine, the
first trial that needs a graph compiles it while others wait, and all later ones read it; or read that it failed.
"""

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from filelock import FileLock

from nbsp_ray.benchmarks import Spaces
from nbsp_ray.config.schema import Resources, Sac
from nbsp_ray.errors import ConfigError
from nbsp_ray.folders import code_folder, remember_failure, remembered_failure
from nbsp_ray.learning.agent import Learner
from nbsp_ray.learning.machine import check_compiler, machine_name
from nbsp_ray.learning.sac import UpdateRule
from nbsp_ray.limits import usable_cpus
from nbsp_ray.specs import PhaseSpec
from nbsp_ray.store.encoding import digest_of

AUTO_UPDATES = 50_000
"""Updates from which on `compile: auto` compiles: it saves a millisecond or more on each."""


def wanted(resources: Resources, spec: PhaseSpec) -> bool:
    """True if `resources.compile` compiles this phase: `auto` goes by the most updates that it can make."""
    if resources.compile == "auto":
        updates = (spec.learning.env_steps - spec.sac.learning_starts) * spec.sac.updates_per_env_step
        return updates >= AUTO_UPDATES
    return resources.compile


def graph_name(sac: Sac, spaces: Spaces, restraints: Mapping[str, UpdateRule], lanes: int = 1) -> str:
    """A name that is equal for updates that compile to the same code."""
    code: dict[str, list[object]] = {}
    for part, rule in sorted(restraints.items()):
        functions = [f"{one.__module__} {one.__qualname__}" for one in (*rule.penalties, *rule.gradients)]
        quadratic = [[_form(one.coefficient), _form(one.weights), _form(one.importance)] for one in rule.quadratic]
        code[part] = [_form(rule.update_scale), quadratic, *functions]
    return digest_of([sac.model_dump(mode="json"), str(spaces), code, lanes])[:12]


def _form(tensor: torch.Tensor | None) -> str | None:
    """What of a tensor is compiled in; not its numbers."""
    return None if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}"


def build(agent: Learner, restraints: Mapping[str, UpdateRule], resources: Resources, *, compile: bool) -> str | None:
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
            graph = graph_name(agent.sac, agent.spaces, restraints, getattr(agent, "slots", 1))
            # What a method's own functions hold besides tensors, nobody knows.
            is_data = not any(rule.penalties or rule.gradients for rule in restraints.values())
            agent.build_update(restraints, compile=True, alike=graph if is_data else None, cuda_graphs=graphs)
            # A GPU's kernels are many small ones, and the CPUs of a pack's environments idle meanwhile.
            threads = resources.cpus if agent.device.type == "cpu" else usable_cpus()
            compile_once(code_folder() / machine_name(), graph, threads, agent.warm_up)
            return None
        except Exception as error:
            why = _reason(error)
            if resources.compile is True:
                raise ConfigError(f"resources.compile=true, and the update cannot be compiled: {why}") from error
    agent.build_update(restraints, cuda_graphs=graphs)
    return f"the update is not compiled, which costs time only: {why}" if compile else None


def _reason(error: Exception) -> str:
    """The first line of what went wrong, beneath what torch wraps it in, and the first complaint of the compiler."""
    inner = getattr(error, "inner_exception", error)
    first, *others = str(inner).strip().split("\n")
    complaint = next((line.strip() for line in others if "error" in line), "")
    return ": ".join(part for part in (first or type(inner).__name__, complaint) if part)


def compile_once(folder: Path, graph: str, threads: int, compile: Callable[[], None]) -> None:
    """Call `compile` with its code kept in `folder`; of several processes the first does the work for all.

    Args:
        folder: For this machine's code; not used if the environment names another by TORCHINDUCTOR_CACHE_DIR.
        graph: A name of what is compiled.
        threads: Processes that compile at once.
        compile: Compiles; quick where the code is there already.

    Raises:
        ConfigError: it failed a while ago, in whatever process.
    """
    kept = _use(folder, threads)
    made = kept / f"{folder.name}-{graph}.made"
    if made.exists():
        _trust_instructions(kept / f"{folder.name}.instructions", ask=False)
        _unless_it_failed(made.stem, compile)
        return
    kept.mkdir(parents=True, exist_ok=True)
    with FileLock(made.with_suffix(".lock")):
        _trust_instructions(kept / f"{folder.name}.instructions", ask=True)
        _unless_it_failed(made.stem, compile)
        made.touch()


def _unless_it_failed(name: str, compile: Callable[[], None]) -> None:
    if why := remembered_failure(name):
        raise ConfigError(why)
    try:
        compile()
    except Exception as error:
        remember_failure(name, _reason(error))
        raise


def _use(folder: Path, threads: int) -> Path:
    """Make torch keep compiled code in `folder`, or where a user's environment says; returns that folder."""
    import torch._inductor.config as inductor
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir
    from torch.utils import cpp_extension

    # Of the paths in the linker's command line, torch forgets to quote that of its own libraries.
    cpp_extension.TORCH_LIB_PATH = shlex.quote(str(Path(torch.__file__).parent / "lib"))
    # Torch puts its own choice, a folder of this machine alone, into the environment as soon as it is imported.
    torchs = str(Path(default_cache_dir()).absolute())
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        found = os.environ.get(name, "")
        if found in ("", _given.get(name)) or Path(found).is_relative_to(torchs):
            _given[name] = os.environ[name] = str(folder)
    inductor.compile_threads = threads
    return Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])


def _trust_instructions(known: Path, *, ask: bool) -> None:
    """Ask once for a folder, not in every process, whether compiler and loader know this CPU's vector instructions.

    Torch tries each kind in a process of its own, and that takes a second or more; the widest alone is what it compiles
    for. Where that is not known torch goes on trying, as then the flags of the CPU do not say which are to be used.
    """
    import torch._inductor.config as inductor

    if ask and not known.exists():
        from torch._inductor import cpu_vec_isa

        of_cpu = set(cpu_vec_isa.x86_isa_checker())
        widest = next((isa for isa in cpu_vec_isa.supported_vec_isa_list if set(str(isa).split()) <= of_cpu), None)
        if widest:
            known.touch()
    if known.exists():
        inductor.cpp.vec_isa_ok = True


_given: dict[str, str] = {}
"""Variables that `_use` itself has put into the environment, and may change again."""
