"""Machines as a plan sees them, and how many phases they hold side by side: counted alike by `plan` and by `run`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

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

    def fits(self, resources: Resources) -> int:
        """How many phases with these resources it holds side by side; a part of a GPU is a part of one GPU."""
        room = [self.cpus // resources.cpus]
        if resources.gpus >= 1:
            room.append(self.gpus / resources.gpus + 1e-9)
        elif resources.gpus:
            room.append(self.gpus * ((1 / resources.gpus + 1e-9) // 1) + 1e-9)
        if resources.memory_gb:
            room.append(self.memory_gb / resources.memory_gb)
        return int(min(room))


def this_machine() -> Node:
    """This machine, as a Ray that is started here counts it."""
    return Node("", usable_cpus(), usable_gpus(), memory().available / 2**30)


def requests(plan: Plan, keys: Collection[str]) -> list[Resources]:
    """What the phases `keys` ask for, each request once."""
    return list(dict.fromkeys(plan.phases[key].resources for key in keys))


def side_by_side(plan: Plan, keys: Collection[str], nodes: Sequence[Node]) -> int:
    """How many phases can be at work at a time, by the most modest of their requests."""
    return max((sum(node.fits(resources) for node in nodes) for resources in requests(plan, keys)), default=0)
