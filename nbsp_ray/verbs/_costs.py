"""What is left of a sweep, and what it costs on machines that are here, in a cluster, or only thought of."""

import math
import os
import shlex
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nbsp_ray.errors import ConfigError
from nbsp_ray.limits import memory, usable_cpus
from nbsp_ray.orchestration.nodes import Node, slots
from nbsp_ray.orchestration.preflight import check_lanes, this_machine
from nbsp_ray.orchestration.schedule import Schedule, in_rounds
from nbsp_ray.plan.halves import ways_to_halve
from nbsp_ray.plan.memory import largest_need, memory_note
from nbsp_ray.plan.price import Price, Speed, lanes_of, price, share, speed_kind
from nbsp_ray.plan.search import searches
from nbsp_ray.specs import Plan
from nbsp_ray.states import State
from nbsp_ray.status import SweepStatus, sweep_status
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import LoadedSweep, load_sweep
from nbsp_ray.units import duration, plural
from nbsp_ray.verbs._common import say


@dataclass(frozen=True)
class Machines:
    """What a plan is priced on."""

    nodes: tuple[Node, ...]
    words: str
    """What they are, for people."""
    here: bool
    """Whether it is this machine."""

    @classmethod
    def of(cls, address: str | None, nodes: int | None, cpus: int | None, gpus: int | None) -> "Machines":
        """Those of a running cluster, those that are described, or this one.

        Raises:
            ConfigError: of two kinds.
            ClusterError: no cluster is there.
        """
        described = (nodes, cpus, gpus) != (None, None, None)
        if address is not None:
            if described:
                raise ConfigError("--address asks a cluster what it has: leave out --nodes, or --address")
            found = tuple(cluster_nodes(address))
            return cls(found, f"the {_counted(found)} of the cluster at {address}", here=False)
        one = this_machine()
        if not described:
            return cls((one,), f"the {_resources(one)} of this machine", here=True)
        cpus_each, gpus_each = one.cpus if cpus is None else cpus, one.gpus if gpus is None else gpus
        node = Node("", cpus_each, gpus_each, math.inf)
        found = (node,) * (nodes or 1)
        return cls(found, _counted(found), here=False)


def _counted(nodes: Sequence[Node]) -> str:
    kinds = {_resources(node): 0 for node in nodes}
    for node in nodes:
        kinds[_resources(node)] += 1
    return " and ".join(f"{plural(number, 'machine')} of {each}" for each, number in kinds.items()) or "no machines"


def _resources(node: Node) -> str:
    gpus = f" and {plural(int(node.gpus), 'GPU')}" if node.gpus else ""
    return f"{plural(int(node.cpus), 'CPU')}{gpus}"


def cluster_nodes(address: str) -> list[Node]:
    """The machines of a running cluster, which is left as it is.

    Raises:
        ClusterError: none is there.
    """
    from nbsp_ray.orchestration.cluster import connected_ray, home_for_ray, quiet_ray
    from nbsp_ray.stopping import StopRequest

    with StopRequest(say) as stop, quiet_ray(), home_for_ray(), connected_ray(address, None, stop):
        from nbsp_ray.orchestration.machines import machines

        return machines()


def measure_speeds(plan: Plan, store: Store) -> None:
    """Time each kind of phase here and keep its speed; says what it does, and what else keeps the machine busy."""
    from nbsp_ray.learning.machine import find_device, machine_name
    from nbsp_ray.learning.timing import measure_pack, measure_speed

    kinds = {speed_kind(phase): phase for phase in plan.phases.values()}
    load = os.getloadavg()[0]
    if load > 0.5:
        say(
            f"{load:.1f} other processes are busy on the {plural(usable_cpus(), 'CPU')} of this machine: the speed "
            "found now is one beside them, and kept with that note; measure again when they are done"
        )
    for number, (kind, phase) in enumerate(kinds.items(), 1):
        begin = time.monotonic()

        def tell(what: str, number: int = number, kind: str = kind, begin: float = begin) -> None:
            say(f"timing {number} of {len(kinds)}, {kind}: {what} ({duration(time.monotonic() - begin)})")

        if (lanes := lanes_of(phase)) > 1:
            speed = measure_pack(phase.spec, phase.resources, lanes, tell=tell)
            tell(f"{speed:.1f} env steps/s in each of {lanes} lanes")
        else:
            speed = measure_speed(phase.spec, phase.resources, tell=tell)
            tell(f"{speed:.1f} env steps/s")
        device = machine_name() if find_device(phase.resources).type == "cuda" else None
        about = {"device": device, "host": socket.gethostname(), "load": round(load, 1), "cpus": usable_cpus()}
        store.write_speed(kind, {"env_steps_per_second": speed, **about, "time": time.time()})


def _memory_note(plan: Plan, keys: Collection[str], room: int) -> tuple[str, int | None]:
    """What there is to say of memory, and how many phases fit side by side; None if not even one."""
    try:
        in_packs = check_lanes(plan, keys, memory())
    except ConfigError as error:
        return f"It cannot run here: {error}", None
    if in_packs is None:
        return memory_note(largest_need(plan, keys), memory(), room)
    return ("" if in_packs >= room else f"memory for {in_packs} side by side"), in_packs


@dataclass(frozen=True)
class Rates:
    """What is paid for an hour; None: not asked."""

    gpu: float | None = None
    cpu: float | None = None

    def of(self, cpu_hours: float, gpu_hours: float) -> float | None:
        """What so many hours cost."""
        if self.gpu is None and self.cpu is None:
            return None
        return cpu_hours * (self.cpu or 0.0) + gpu_hours * (self.gpu or 0.0)


@dataclass(frozen=True)
class Costs:
    """What is left of a plan, and what that costs."""

    plan: Plan
    status: SweepStatus
    machines: Machines
    rates: Rates
    fits: int | None
    """Phases side by side in this machine's memory; None if that is no matter."""
    of_memory: str
    price: Price
    schedule: Schedule

    @classmethod
    def of(
        cls,
        plan: Plan,
        store: Store,
        machines: Machines,
        rates: Rates,
        rounds: Sequence[Plan],
        known: Mapping[str, Speed] | None = None,
    ) -> "Costs":
        """Price what is left of a plan that is run in `rounds`, at speeds that are `known` already if there are any."""
        status = sweep_status(plan, store)
        work = {phase.key: phase.work for phase in status.phases if phase.state is not State.DONE}
        room = max(1, slots(plan, work, machines.nodes))
        of_memory, fits = "", None
        if work and machines.here:
            of_memory, fits = _memory_note(plan, work, room)
        cost = price(plan, store, work, at_once=min(room, fits or room), known=known)
        in_time = in_rounds(plan, cost.seconds, machines.nodes, [one.phases for one in rounds], most=fits)
        return cls(plan, status, machines, rates, fits, of_memory, cost, in_time)

    @property
    def hours(self) -> float:
        """Until all is done; infinite if no machine can hold a phase."""
        return self.schedule.seconds / 3600

    @property
    def money(self) -> float | None:
        """What the hours that phases take cost; None without a price."""
        return self.rates.of(self.price.cpu_hours, self.price.gpu_hours)

    @property
    def money_kept(self) -> float | None:
        """What the machines cost if all of each is paid for to the end."""
        cpus, gpus = (sum(getattr(node, name) for node in self.machines.nodes) for name in ("cpus", "gpus"))
        return self.rates.of(cpus * self.hours, gpus * self.hours)

    @property
    def weight(self) -> float:
        """What there is to save: money, or else GPU hours, or else CPU hours."""
        return self.money if self.money else self.price.gpu_hours or self.price.cpu_hours

    def of_phases(self) -> dict[str, float]:
        """`weight` of each phase that is left."""
        found: dict[str, float] = {}
        for key, lasting in self.price.seconds.items():
            wanted = self.plan.phases[key].resources
            seconds = share(lasting, self.plan.phases[key])
            money = self.rates.of(wanted.cpus * seconds, wanted.gpus * seconds)
            found[key] = money or seconds * (wanted.gpus if self.price.gpu_hours else wanted.cpus)
        return found


@dataclass(frozen=True)
class Half:
    """A way to halve what a plan costs."""

    override: str
    command: str
    trials: int
    share: float
    """Of the price."""
    hours: float


def halves_of(loaded: LoadedSweep, overrides: Sequence[str], store: Store, whole: Costs) -> Iterator[Half]:
    """Ways to halve it, planned anew, so that each says what it comes to; the one that keeps most trials first."""
    ways = list(ways_to_halve(whole.plan, whole.of_phases()))
    if found := searches(loaded.sweeps, store):
        ways = [way for way in ways if not way.startswith("skill_neurons=")]
        ways.append(f"search.trials={max(1, max(search.budget for search in found) // 2)}")
    halves: list[Half] = []
    for way in ways:
        kept = [one for one in overrides if one.partition("=")[0].strip() != way.partition("=")[0]]
        try:
            half = load_sweep(loaded.given, [*kept, way])
            rounds = half.rounds(store)
            fewer = Costs.of(rounds[-1], store, whole.machines, whole.rates, rounds, whole.price.speeds)
        except ConfigError:
            continue  # it lies otherwise in the files that this one includes
        share = fewer.weight / whole.weight
        if share < 0.6:
            words = shlex.join(["nbsp-ray", "plan", loaded.given, *kept, way])
            halves.append(Half(way, words, len(fewer.plan.trials), share, fewer.hours))
    yield from sorted(halves, key=lambda half: (-half.trials, half.share))
