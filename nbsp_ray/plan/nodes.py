"""Machines as a plan sees them, and how many phases they hold side by side: counted alike by `plan` and by `run`."""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from nbsp_ray.config.schema import Resources
from nbsp_ray.limits import memory, usable_cpus, usable_gpus
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
    labels: tuple[tuple[str, str], ...] = ()
    leaving: bool = False
    """The cluster takes it away soon (a spot machine)."""

    def fits(self, resources: Resources) -> int:
        """How many phases with these resources it holds side by side; a part of a GPU is a part of one GPU."""
        if not all(_matches(dict(self.labels), label) for label in resources.labels):
            return 0
        room = [self.cpus // resources.cpus]
        if resources.gpus:
            room.append(self.gpus * _per_gpu(resources) if resources.gpus < 1 else self.gpus / resources.gpus + 1e-9)
        if resources.memory_gb:
            room.append(self.memory_gb / resources.memory_gb)
        return int(min(room))

    def without(self, resources: Resources, number: int) -> "Node":
        """What is left beside `number` phases with these resources."""
        gpus = math.ceil(number / _per_gpu(resources)) if 0 < resources.gpus < 1 else number * resources.gpus
        return replace(
            self,
            cpus=self.cpus - number * resources.cpus,
            gpus=self.gpus - gpus,
            memory_gb=self.memory_gb - number * (resources.memory_gb or 0),
        )


def _per_gpu(resources: Resources) -> int:
    """Phases on one GPU of which each takes a part: 0.4 leaves 0.2 of each unused."""
    return int(1 / resources.gpus + 1e-9)


def _matches(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether a machine has a label as Ray's selectors mean it: `x=a`, `x=!a`, `x=in(a,b)`, `x=!in(a,b)`."""
    name, _, value = wanted.partition("=")
    value, no = value.removeprefix("!"), value.startswith("!")
    several = re.fullmatch(r"in\((.*)\)", value)
    return (labels.get(name) in (several[1].split(",") if several else [value])) is not no


def this_machine() -> Node:
    """This machine, as a Ray that is started here counts it."""
    return Node("", usable_cpus(), usable_gpus(), memory().available / 2**30)


def requests(plan: Plan, keys: Collection[str]) -> list[Resources]:
    """What the phases `keys` ask for, each request once."""
    return list(dict.fromkeys(plan.phases[key].resources for key in keys))


def side_by_side(plan: Plan, keys: Collection[str], nodes: Sequence[Node]) -> int:
    """How many of the phases `keys` can be at work at a time."""
    return placed(Counter(plan.phases[key].resources for key in keys), nodes).total()


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
