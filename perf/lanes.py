"""Lanes: env steps/s of N phases in one process, beside N processes with a phase each, in one run on this machine.

    python perf/lanes.py [--device cuda] [--hidden 256,256] [--lanes 1,2,4] [--seconds 12] [--compile] [--to FILE]
    python perf/lanes.py --into-docs        # the tables of docs/performance-lanes.md, on a CPU, in ten minutes at most

Every phase is a first phase of Meta-World's drawer-close with a seed of its own, one update per env step; counted are
the env steps in which all lanes learn, evaluations and random steps left out. Writes a table in Markdown, and JSON
beside it. A row that fails says why, and the others go on; what there is no time for says so.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from contenders import ACTIONS, OBSERVATIONS
from flops import continuous
from ours import first_phase

from nbsp_ray.benchmarks import Continuous, Spaces, Vector, get_benchmark
from nbsp_ray.config.schema import Resources, Sac
from nbsp_ray.layout import row_width
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.lanes import Lanes
from nbsp_ray.learning.machine import find_device
from nbsp_ray.learning.pack import Lane, Pack
from nbsp_ray.learning.replay import Mixture, Replay
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.learning.timing import measure_speed
from nbsp_ray.learning.workers import Workers
from nbsp_ray.limits import processor, usable_cpus
from nbsp_ray.specs import PlannedPhase
from nbsp_ray.store import Store

TASKS = ("drawer-close", "drawer-open")
STARTS = 256
CAPACITY = 20_000
PATIENCE = 150.0
"""Seconds after which a process that is to be timed is not waited for any more."""
SKIPPED = 1.0
"""Seconds after the first updates of all lanes: code is compiled and graphs are captured in them."""
PAGE = Path(__file__).parents[1] / "docs" / "performance-lanes.md"
MARKS = "<!-- tables: perf/lanes.py --into-docs -->", "<!-- end of the tables -->"


@dataclass
class Row:
    """One number of lanes."""

    lanes: int
    pack: float | None = None
    """Env steps/s of all lanes together."""
    processes: float | None = None
    """The same of as many processes."""
    packs: float | None = None
    """The same of several processes with a pack each."""
    updates: float | None = None
    """Updates of all lanes together in a second of one core (of the GPU), nothing else being done."""
    shares: dict[str, float] = field(default_factory=dict[str, float])
    """Of the pack's time: where this process was."""
    failure: str = ""


class TimedPack(Pack):
    """Counts the updates of all lanes, and notes where its time goes."""

    def __init__(self, *given: Any, **how: Any) -> None:
        super().__init__(*given, **how)
        self.made = 0
        self.seconds = {"updating": 0.0, "acting": 0.0, "phases": 0.0}

    def _timed(self, what: str, call: Any, *given: Any) -> bool:
        start = time.perf_counter()
        moved: bool = call(*given)
        self.seconds[what] += time.perf_counter() - start
        return moved

    def _update(self, group: range, lanes: Sequence[Lane]) -> bool:
        before = sum(n * times for n, times in self.calls.items())
        moved = self._timed("updating", super()._update, group, lanes)
        self.made += sum(n * times for n, times in self.calls.items()) - before
        return moved

    def _act(self, group: range, lanes: Sequence[Lane]) -> bool:
        return self._timed("acting", super()._act, group, lanes)

    def _go_on(self, lane: Lane) -> bool:
        return self._timed("phases", super()._go_on, lane)


def planned(folder: Path, seed: int, hidden: Sequence[int], device: str, benchmark: str = "metaworld") -> PlannedPhase:
    changes = {
        "seeds": seed,
        "sac.hidden": tuple(hidden),
        "sac.learning_starts": STARTS,
        "sac.buffer_size": CAPACITY,
        "first.env_steps": 1_000_000,
        "first.stop": "fixed",
        "first.eval_every": 10_000_000,
        "first.eval_episodes": 1,
        "resources.device": device,
    }
    return first_phase(folder, benchmark, TASKS, changes)


def pack_rate(
    lanes: int,
    hidden: Sequence[int],
    seconds: float,
    device: str,
    *,
    compile: bool,
    graphs: bool = True,
    packs: int = 1,
    ready: Callable[[], Any] = lambda: None,
) -> tuple[float, dict[str, float]]:
    """Env steps/s of a pack while all its lanes learn, and the shares of its time.

    It is one of `packs` that share the CPUs, and is timed once all are `ready`.
    """
    with TemporaryDirectory(prefix="nbsp-ray-lanes-") as name:
        folder = Path(name)
        store = Store(folder / "results", create=True)
        phases = [planned(folder, seed, hidden, device) for seed in range(lanes)]
        changes = {"checkpoint_minutes": 1e6, "compile": compile, "cuda_graphs": graphs}
        resources = phases[0].resources.model_copy(update=changes)
        # No final evaluations: only learning is timed.
        runs = [PhaseRun(store, one.spec, [], [], resources) for one in phases]
        left, benchmark, cores = iter(runs), get_benchmark("metaworld"), usable_cpus() // packs
        workers = None
        if lanes > 1 and cores > 1:
            workers = Workers(benchmark, benchmark.task_spaces(TASKS[0]), 2 * lanes, min(cores, lanes))
        pack = TimedPack(lanes, CAPACITY, resources, workers=workers, compile=compile)
        try:
            while min(run.progress().updates for run in runs) < 2 and not pack.failures:
                pack.run(lambda: next(left, None), 0.1)
            pack.run(lambda: None, SKIPPED)
            ready()
            start, pack.made, pack.seconds = time.perf_counter(), 0, dict.fromkeys(pack.seconds, 0.0)
            pack.run(lambda: None, seconds)
            took = time.perf_counter() - start
        finally:
            pack.close()
    if pack.failures:
        raise RuntimeError(f"{len(pack.failures)} lanes failed: {next(iter(pack.failures.values()))}")
    return pack.made / took, {what: spent / took for what, spent in pack.seconds.items()}


def update_rate(
    lanes: int, hidden: Sequence[int], device: torch.device, *, compile: bool, graphs: bool, seconds: float
) -> float:
    """Updates of all lanes in a second, by the clock of the CPU where that makes them: others may be at work on it."""
    spaces, sac = Spaces(Vector(OBSERVATIONS), Continuous(ACTIONS)), Sac(hidden=tuple(hidden))
    agents = [Agent(sac, spaces, device, np.random.default_rng(seed)) for seed in range(lanes)]
    stack = Lanes(lanes, agents[0], 10_000, Resources(compile=compile, cuda_graphs=graphs), compile=compile)
    rows = np.random.default_rng(0).standard_normal((10_000, row_width(spaces))).astype(np.float32)
    buffers, rngs = [Replay.of(spaces, rows, device) for _ in agents], [torch.Generator() for _ in agents]
    for slot, (agent, buffer) in enumerate(zip(agents, buffers, strict=True)):
        stack.put(slot, agent, buffer)
    mixtures = [Mixture([buffer]) for buffer in buffers]

    def update(count: int) -> None:
        for _ in range(count):
            each = zip(agents, mixtures, rngs, strict=True)
            drawn = [agent.draw(agent.updates.critic + 1, mix, rng, lambda _: {}, None) for agent, mix, rng in each]
            stack.update([{slot: one for slot, (one,) in enumerate(drawn)}])
        _wait(device)

    update(8)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    done, start = 0, clock()
    while clock() < start + seconds:
        update(2)
        done += 2 * lanes
    return done / (clock() - start)


def _one_pack(name: str, seed: int, given: dict[str, Any], barrier: Any, rates: Any) -> None:
    torch.set_num_threads(1)
    how = {name: given[name] for name in ("compile", "graphs", "packs")} | {"ready": lambda: barrier.wait(PATIENCE)}
    rates.put(pack_rate(given["lanes"], given["hidden"], given["seconds"], given["device"], **how)[0])


def _one_process(name: str, seed: int, given: dict[str, Any], barrier: Any, rates: Any) -> None:
    folder = Path(name) / str(seed)
    folder.mkdir()
    phase = planned(folder, seed, given["hidden"], given["device"])
    resources = phase.resources.model_copy(update={"compile": given["compile"], "cuda_graphs": given["graphs"]})

    def wait_for_all(what: str) -> None:
        if what.startswith("timing"):
            barrier.wait(PATIENCE)

    rates.put(measure_speed(phase.spec, resources, CAPACITY, wait_for_all))


def processes_rate(count: int, one: Callable[..., None], **given: Any) -> float:
    """Env steps/s of so many processes, each with a phase or a pack, over seconds that they begin together."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(count), context.Queue()
    with TemporaryDirectory(prefix="nbsp-ray-lanes-") as name:
        started = [context.Process(target=one, args=(name, n, given, barrier, rates)) for n in range(count)]
        for process in started:
            process.start()
        try:
            return sum(rates.get(timeout=PATIENCE) for _ in started)
        finally:
            for process in started:
                process.kill()


def simulator_rate(seconds: float = 2.0) -> float:
    """Env steps/s of one core that only plays."""
    env, rng = get_benchmark("metaworld").make_env(TASKS[0], 0), np.random.default_rng(0)
    env.reset(0, rng)
    clock, done = time.process_time, 0
    start = clock()
    while clock() < start + seconds:
        if env.step(rng.uniform(-1, 1, 4).astype(np.float32)).ends:
            env.reset(0, rng)
        done += 1
    return done / (clock() - start)


def device_rates(device: torch.device, seconds: float = 1.0) -> dict[str, float]:
    """GFLOP/s of batched products of 256^3, GB/s of a copy, and microseconds of a launch that does nothing."""
    # Others may be at work on a CPU: its own clock stands still meanwhile.
    clock = time.perf_counter if device.type == "cuda" else time.process_time

    def rate(call: Any) -> float:
        for _ in range(3):
            call()
        _wait(device)
        done, start = 0, clock()
        while clock() < start + seconds:
            for _ in range(10):
                call()
            _wait(device)
            done += 10
        return done / (clock() - start)

    n = 128 if device.type == "cuda" else 2
    left, right = torch.randn(2, n, 256, 256, device=device)
    long = torch.empty(2**26 if device.type == "cuda" else 2**24, device=device)
    other, tiny = torch.empty_like(long), torch.zeros(1, device=device)
    return {
        "gflops": rate(lambda: torch.bmm(left, right)) * n * 2 * 256**3 / 1e9,
        "gigabytes": rate(lambda: other.copy_(long)) * long.numel() * 8 / 1e9,
        "launch_us": 1e6 / rate(lambda: tiny.add_(1)),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(row: Row, given: argparse.Namespace, end: float, kept: Callable[[], None]) -> None:
    """Fill a row; what is measured is `kept` at once, as this may be cut off."""
    lanes, device = row.lanes, given.device
    how: Any = {"compile": given.compile, "graphs": given.graphs}
    try:
        row.updates = update_rate(lanes, given.hidden, torch.device(device), **how, seconds=given.update_seconds)
        if given.only_updates:
            return
        kept()
        row.pack, row.shares = pack_rate(lanes, given.hidden, given.seconds, device, **how)
        kept()
        if lanes <= given.most_processes:
            if time.monotonic() > end:
                raise TimeoutError("no time was left")
            row.processes = processes_rate(lanes, _one_process, hidden=given.hidden, device=device, **how)
            kept()
        if given.packs and lanes > given.packs and lanes % given.packs == 0:
            if time.monotonic() > end:
                raise TimeoutError("no time was left")
            row.packs = processes_rate(
                given.packs,
                _one_pack,
                **how,
                lanes=lanes // given.packs,
                packs=given.packs,
                hidden=given.hidden,
                seconds=given.seconds,
                device=device,
            )
    except Exception as error:  # A row that says why; what was measured before it is not lost.
        row.failure = f"{type(error).__name__}: {error}".splitlines()[0]


def table(rows: Sequence[Row], given: argparse.Namespace, floors: dict[str, float]) -> list[str]:
    """Markdown."""
    lines = [
        f"Hidden {'-'.join(map(str, given.hidden))}, {'compiled' if given.compile else 'eager'}, on {floors['name']}:",
        "",
        "| lanes | updates/s, nothing else | times one lane | pack: env steps/s | as many processes | ratio | updating "
        f"| acting | phases and waiting |{f' {given.packs} packs of them: env steps/s |' if given.packs else ''}",
        "|---|---|---|---|---|---|---|---|---|" + "---|" * bool(given.packs),
    ]
    for row in rows:
        first = rows[0].updates
        alone_too = f"{row.updates:.0f} | {row.updates / first:.2f}" if row.updates and first else " | "
        if row.pack is None:
            lines.append(f"| {row.lanes} | {alone_too} | {row.failure} | | | | | |")
            continue
        ratio = "" if row.processes is None else f"{row.pack / row.processes:.2f}"
        alone = row.failure if row.processes is None else f"{row.processes:.0f}"
        updating, acting = row.shares["updating"], row.shares["acting"]
        rest = max(0.0, 1 - updating - acting)
        shares = f"{updating:.0%} | {acting:.0%} | {rest:.0%}"
        shares += f" | {'' if row.packs is None else f'{row.packs:.0f}'}" * bool(given.packs)
        lines.append(f"| {row.lanes} | {alone_too} | {row.pack:.0f} | {alone} | {ratio} | {shares} |")
    needed = continuous(39, 4, 256, given.hidden).needed / 1e9
    lines += [
        "",
        f"Floors: products, {floors['gflops'] / needed:,.0f} updates/s ({needed:.3f} GFLOP each, at the "
        f"{floors['gflops']:,.0f} GFLOP/s of plain ones); simulator, {floors['simulator']:,.0f} env steps/s of a core, "
        f"of which there are {floors['cores']:.0f}; a copy {floors['gigabytes']:,.0f} GB/s; a launch "
        f"{floors['launch_us']:.1f} us.",
    ]
    return lines


def numbers(text: str) -> tuple[int, ...]:
    """`1,2,4` as numbers."""
    return tuple(int(word) for word in text.split(","))


def tables(given: argparse.Namespace) -> list[str]:
    """One table for each size, made as long as there is time, and written after each row."""
    end, load = time.monotonic() + 60 * given.minutes, os.getloadavg()[0]
    with TemporaryDirectory(prefix="nbsp-ray-lanes-") as name:
        device = find_device(planned(Path(name), 0, (8,), given.device).resources)
    name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    floors: Any = device_rates(device) | {"simulator": simulator_rate(), "cores": usable_cpus(), "name": name}
    found: list[str] = []
    kept: dict[str, Any] = {"floors": floors, "load": load}
    given.to.parent.mkdir(parents=True, exist_ok=True)
    for hidden in given.sizes:
        given.hidden, rows = hidden, list[Row]()

        def keep(rows: list[Row] = rows, before: list[str] = found) -> None:
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {rows[-1]}\n")
            given.to.write_text("\n".join([*before, *table(rows, given, floors), ""]))
            kept["-".join(map(str, given.hidden))] = [asdict(row) for row in rows]
            given.to.with_suffix(".json").write_text(json.dumps(kept))

        for lanes in given.lanes:
            late = time.monotonic() > end
            rows.append(Row(lanes, failure="no time was left" if late else ""))
            if not late:
                measure(rows[-1], given, end, keep)
            keep()
        found = [*found, *table(rows, given, floors), ""]
    return [*found, f"Load of the machine when this began: {load:.1f}."]


def put_into_docs(lines: Sequence[str], marks: tuple[str, str] = MARKS) -> None:
    """In place of the tables that were there."""
    before, _, rest = PAGE.read_text().partition(marks[0])
    _, _, after = rest.partition(marks[1])
    PAGE.write_text("\n".join([before + marks[0], "", *lines, "", marks[1] + after]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--hidden", type=numbers, dest="sizes", action="append", help="several times for several tables"
    )
    parser.add_argument("--lanes", type=numbers, default=(1, 2, 4))
    parser.add_argument("--seconds", type=float, default=12.0, help="of each pack, all of whose lanes learn")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin nothing more after so many")
    parser.add_argument("--most-processes", type=int, default=16, help="no more processes at once than these")
    parser.add_argument("--packs", type=int, default=0, help="the same lanes also as so many packs, of a process each")
    parser.add_argument("--update-seconds", type=float, default=3.0)
    parser.add_argument("--only-updates", action="store_true", help="nothing is played")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-graphs", action="store_false", dest="graphs", help="on a GPU, each kernel by itself")
    parser.add_argument("--into-docs", action="store_true", help="on a CPU, two sizes, 1 to 16 lanes, ten minutes")
    parser.add_argument("--to", type=Path, default=Path("results/perf/lanes.md"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.sizes = given.sizes or [(256, 256)]
    if given.into_docs:
        given.sizes, given.lanes, given.minutes = [(256, 256), (32, 32)], (1, 2, 4, 8, 16), 9.0
    lines = [*tables(given), ""]
    given.to.write_text("\n".join(lines))
    if given.into_docs:
        put_into_docs(lines)


if __name__ == "__main__":
    main()
