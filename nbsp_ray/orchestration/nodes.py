"""Machines, and how many phases they hold side by side: the arithmetic of a placement, without Ray."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nbsp_ray.config.schema import Resources
from nbsp_ray.plan.lanes import packing
from nbsp_ray.specs import Plan


@dataclass(frozen=True)
class Node:
    """One machine of the cluster."""

    name: str
    cpus: float
    gpus: float
    memory_gb: float
    id: str = ""
    ip: str = ""
    labels: tuple[tuple[str, str], ...] | None = None
    """None where there is no choice of machines, and so labels do not matter."""
    leaving: bool = False
    """The cluster takes it away soon (a spot machine)."""

    def fits(self, resources: Resources) -> int:
        """How many phases with these resources it holds side by side."""
        if self.labels is not None and not all(_matches(dict(self.labels), label) for label in resources.labels):
            return 0
        room = [self.cpus // resources.cpus]
        if 0 < resources.gpus < 1:  # A fraction is a fraction of one GPU: 0.4 leaves 0.2 of each unused.
            room.append(int(self.gpus + 1e-9) * int(1 / resources.gpus + 1e-9) if self.gpus < math.inf else math.inf)
        elif resources.gpus:
            room.append(self.gpus // resources.gpus)
        if resources.memory_gb:
            room.append(self.memory_gb / resources.memory_gb)
        return int(min(room))

    def without(self, resources: Resources, number: int) -> "Node":
        """What is left beside `number` phases with these resources."""
        per_gpu = int(1 / resources.gpus + 1e-9) if 0 < resources.gpus < 1 else 0
        gpus = math.ceil(number / per_gpu) if per_gpu else number * resources.gpus
        return dataclasses.replace(
            self,
            cpus=self.cpus - number * resources.cpus,
            gpus=self.gpus - gpus,
            memory_gb=self.memory_gb - number * (resources.memory_gb or 0),
        )


def _matches(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether a machine has a label as Ray's selectors mean it: `x=a`, `x=!a`, `x=in(a,b)`, `x=!in(a,b)`."""
    name, _, value = wanted.partition("=")
    value, no = value.removeprefix("!"), value.startswith("!")
    several = re.fullmatch(r"in\((.*)\)", value)
    return (labels.get(name) in (several[1].split(",") if several else [value])) is not no


def slots(plan: Plan, keys: Collection[str], nodes: Sequence[Node]) -> int:
    """How many of these phases can be at work at a time, lanes of packs among them."""
    wanted, each = _trials(plan, keys)
    places = placed(wanted, nodes)
    return sum(min(number, places[resources] * each[resources]) for resources, number in _asked(plan, keys).items())


def _asked(plan: Plan, keys: Collection[str]) -> Counter[Resources]:
    """What these phases ask for, and how many of them do."""
    one_of = {plan.alike[key]: plan.phases[key].resources for key in keys}
    asked = Counter[Resources]()
    for number, phases in Counter(map(plan.alike.__getitem__, keys)).items():
        asked[one_of[number]] += phases
    return asked


def _trials(plan: Plan, keys: Collection[str]) -> tuple[Counter[Resources], Mapping[Resources, int]]:
    """How many trials with what resources these phases come to, and how many lanes each has."""
    asked = _asked(plan, keys)
    each = dict.fromkeys(asked, 1)
    each |= {plan.phases[key].resources: one.lanes for key, one in packing(plan, keys).items()}
    return Counter({one: math.ceil(number / each[one]) for one, number in asked.items()}), each


def placed(wanted: Mapping[Resources, int], nodes: Sequence[Node]) -> Counter[Resources]:
    """How many of each request the machines hold side by side; those that fit in the fewest places are placed first."""
    left, found = list(nodes), Counter[Resources]()
    hardest = sorted(wanted, key=lambda one: (-len(one.labels), -one.gpus, -one.cpus, -(one.memory_gb or 0)))
    for resources in hardest:
        for place, node in enumerate(left):
            number = min(node.fits(resources), wanted[resources] - found[resources])
            if number > 0:
                found[resources] += number
                left[place] = node.without(resources, number)
    return found


def cpus_in_use(plan: Plan, keys: Collection[str], cpus: int, max_concurrent: int | None) -> int:
    """CPUs of so many that phases can be at work on, `max_concurrent` of them at a time."""
    at_once = min(_trials(plan, keys)[0].total(), max_concurrent or cpus)
    return min(cpus, at_once * max((resources.cpus for resources in resources_of(plan, keys)), default=1))


def resources_of(plan: Plan, keys: Collection[str]) -> list[Resources]:
    """What these phases ask for, each request once."""
    return list(_asked(plan, keys))
