"""One trial's updates on a GPU beside the CleanRL-style reference on the same, in rounds of one run.

python perf/gpu_trial.py [--device cuda] [--rounds 2] [--seconds 3] [--hidden 256,256] [--to FILE]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cleanrl_style
import numpy as np
import torch
from contenders import ACTIONS, OBSERVATIONS, PREFILLED, timed, transitions
from torch import Tensor

from nbsp_ray.benchmarks import Continuous, Spaces, Step, Vector
from nbsp_ray.config.schema import Resources, Sac
from nbsp_ray.learning import compiling
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.replay import Replay

REFERENCE = "CleanRL-style reference"
SPACES = Spaces(Vector(OBSERVATIONS), Continuous(ACTIONS))


class DeviceBuffer(cleanrl_style.Buffer):
    """The reference's buffer, whose batches go to a device."""

    device = "cpu"

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        return tuple(one.to(self.device) for one in super().sample(count, rng))


def reference(sac: Sac, device: torch.device) -> Any:
    with device:
        agent = cleanrl_style.Reference(SPACES, sac, seed=0)
    buffer = DeviceBuffer(SPACES, PREFILLED)
    buffer.device = str(device)
    for transition in transitions(PREFILLED):
        buffer.add(*transition)

    return lambda: agent.update(buffer)


def learner(sac: Sac, device: torch.device) -> tuple[Agent, Any]:
    agent, replay = Agent(sac, SPACES, device, np.random.default_rng(0)), Replay(SPACES, PREFILLED, device)
    for observation, action, reward, following, terminated in transitions(PREFILLED):
        replay.add(observation, action, Step(following, reward, terminated, False, None), last=terminated)
    rng = torch.Generator().manual_seed(0)
    return agent, lambda: agent.learn(replay, rng)


def ours(sac: Sac, device: torch.device, resources: Resources) -> Any:
    agent, update = learner(sac, device)
    if why_not := compiling.build(agent, {}, resources, compile=bool(resources.compile)):
        raise RuntimeError(why_not)
    return update


def row(name: str, rates: list[float] | None, first: list[float], failure: str) -> str:
    if rates is None:
        return f"| {name} | {failure} | |"
    ratios = [one / other for one, other in zip(rates, first, strict=False)]
    ratio = f"{statistics.median(ratios):.2f}" if ratios else ""
    return f"| {name} | {statistics.median(rates):.0f} | {ratio} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--hidden", type=lambda text: tuple(map(int, text.split(","))), default=(256, 256))
    parser.add_argument("--to", type=Path, default=Path("results/perf/gpu-trial.md"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    device, sac = torch.device(given.device), Sac(hidden=given.hidden, learning_starts=0)
    make: dict[str, Any] = {REFERENCE: lambda: reference(sac, device)}
    graphs = (False, True) if device.type == "cuda" else (False,)
    for compile in (False, True):
        for cuda_graphs in graphs:
            name = f"ours, {'compiled' if compile else 'eager'}{', one CUDA graph' * cuda_graphs}"
            resources = Resources(compile=compile, cuda_graphs=cuda_graphs)
            make[name] = lambda resources=resources: ours(sac, device, resources)
    if device.type == "cuda":
        make["ours, compiled, max-autotune, one CUDA graph"] = lambda: tuned(sac, device)
    updates, rates = dict[str, Any](), dict[str, list[float]]()
    failed = dict.fromkeys(make, "no time was left")
    for number in range(given.rounds):
        for name, build in make.items():
            try:
                if number == 0:
                    updates[name] = build()
                    for _ in range(4):
                        updates[name]()
                if name in updates:
                    rates.setdefault(name, []).append(rate(updates[name], device, given.seconds))
            except Exception as error:  # A row that says why.
                failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                updates.pop(name, None)
            write(given, make, rates, failed)
    sys.stderr.write(given.to.read_text())


def tuned(sac: Sac, device: torch.device) -> Any:
    """Compiled with products that are chosen by trying, which may take minutes."""
    from torch._inductor import config

    agent, update = learner(sac, device)
    with config.patch(max_autotune=True):
        # A name of its own: what goes by that of "ours, compiled" would be its graph, chosen without trying.
        agent.build_update({}, compile=True, alike="max-autotune", cuda_graphs=True)
        agent.warm_up()
    return update


def rate(update: Any, device: torch.device, seconds: float) -> float:
    """Updates per second."""
    done, took = timed(lambda count: [update() for _ in range(count)], seconds)
    if device.type == "cuda":
        start = time.perf_counter()
        torch.cuda.synchronize()
        took += time.perf_counter() - start
    return done / took


def write(
    given: argparse.Namespace, names: Iterable[str], rates: dict[str, list[float]], failed: dict[str, str]
) -> None:
    """What is known so far: the time may end at any moment."""
    hidden = "-".join(map(str, given.hidden))
    lines = [f"| one trial, hidden {hidden} | updates/s | times the reference |", "|---|---|---|"]
    lines += [row(name, rates.get(name), rates.get(REFERENCE, []), failed[name]) for name in names]
    given.to.parent.mkdir(parents=True, exist_ok=True)
    given.to.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
