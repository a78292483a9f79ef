"""What can be known to be wrong before anything slow starts, said in a sentence that names the way out.

Without this, Ray leaves a trial that fits no machine pending for ever. Knows no Ray: machines come as `Node`s.
"""

import dataclasses
import math
import shutil
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import ClusterError, StoreError
from nbsp_ray.folders import existing, temporary_parent
from nbsp_ray.limits import memory, usable_cpus, usable_gpus
from nbsp_ray.plan.memory import RAY_BYTES, check_fits, fits_side_by_side, free, largest_need
from nbsp_ray.plan.price import price
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store
from nbsp_ray.units import gb

CONNECT_SECONDS = 5.0
EARLY_STOP_SHARE = 0.1
"""A phase that may stop early is not refused for want of disk before even this share of its buffer would not fit."""


@dataclass(frozen=True)
class Node:
    """One machine of the cluster."""

    name: str
    cpus: float
    gpus: float
    memory_gb: float

    def fits(self, resources: Resources) -> int:
        """How many phases with these resources it holds side by side."""
        room = [self.cpus // resources.cpus]
        if 0 < resources.gpus < 1:  # A fraction is a fraction of one GPU: 0.4 leaves 0.2 of each unused.
            room.append(int(self.gpus + 1e-9) * int(1 / resources.gpus + 1e-9) if self.gpus < math.inf else math.inf)
        elif resources.gpus:
            room.append(self.gpus // resources.gpus)
        if resources.memory_gb:
            room.append(self.memory_gb / resources.memory_gb)
        return int(min(room))


def this_machine() -> Node:
    """This machine, as a Ray that is started here counts it."""
    return Node("", usable_cpus(), usable_gpus(), memory().available / 2**30)


def check_settings(plan: Plan, keys: Collection[str]) -> None:
    """The resources asked for make sense at all.

    Raises:
        ClusterError: they do not.
    """
    for resources in _resources(plan, keys):
        if resources.gpus > 1 and resources.gpus != int(resources.gpus):
            raise ClusterError(
                f"resources.gpus={resources.gpus:g}: more than one GPU comes in whole ones only; "
                "give a fraction below 1 (0.25 packs four trials on one), 1, 2, ..."
            )
        if resources.device == "cuda" and not resources.gpus:
            raise ClusterError(
                "resources.device=cuda asks for a GPU that resources.gpus=0 does not reserve; "
                "set resources.gpus too (0.25 packs four trials on one)"
            )


def check_here(plan: Plan, keys: Collection[str], say: Callable[[str], None]) -> None:
    """This machine has what is asked for beyond a CPU: precision, compiler, GPU. Torch is asked only if something is.

    What it has, but to no advantage, is said.

    Raises:
        ConfigError: it has not.
    """
    advice = set[str | None]()
    for resources, sac in {(plan.phases[key].resources, plan.phases[key].spec.sac) for key in keys}:
        if resources.compile is True or resources.device == "cuda" or resources.gpus or sac.precision != "fp32":
            from nbsp_ray.learning.machine import check, find_device, precision_advice

            check(resources, sac)
            advice.add(precision_advice(sac, find_device(resources)))
    for sentence in filter(None, advice):
        say(sentence)


def check_plan(
    plan: Plan, keys: Collection[str], store: Store, say: Callable[[str], None], nodes: Sequence[Node] | None = None
) -> None:
    """For `plan`: all that `run` would refuse, in its order and its words, though nothing is started or written.

    But for one thing: that each task can be played, as simulators take seconds to load.

    Args:
        plan: With all its phases.
        keys: Those that are left, at least one.
        store: Where they would be kept.
        say: Told what `run` would say.
        nodes: Other machines, of which nothing else is known; None: this one.

    Raises:
        NbspError: as of `run`.
    """
    store.check_can_be_written()
    check_settings(plan, keys)
    for name in dict.fromkeys(plan.phases[key].spec.benchmark for key in keys):
        get_benchmark(name).check_installed()
    check_disk(plan, keys, store, say)
    if nodes is not None:
        check_nodes(plan, keys, nodes, local=False)
        return
    check_cpus(plan, keys, usable_cpus())
    check_here(plan, keys, say)
    check_fits(largest_need(plan, keys), memory())
    check_loopback()
    temporary_parent()
    check_nodes(plan, keys, [this_machine()], local=True)


def check_disk(plan: Plan, keys: Collection[str], store: Store, say: Callable[[str], None]) -> None:
    """The disk of the results root holds what is left to do: replay buffers, above all.

    Raises:
        StoreError: it certainly does not.
    """
    left = dataclasses.replace(plan, phases={key: plan.phases[key] for key in keys})
    need = price(left, store, list(keys)).peak_disk_gb
    free = shutil.disk_usage(existing(store.root)).free / 1e9
    if free >= need:
        return
    fixed = all(phase.spec.learning.stop == "fixed" for phase in left.phases.values())
    problem = f"{plan.name} may write {need:.1f} GB under {store.root}, and {free:.1f} GB are free there"
    if free < need * (1 if fixed else EARLY_STOP_SHARE):
        raise StoreError(f"{problem}; make room, name a larger disk with --root, or lower sac.buffer_size")
    say(f"{problem}: it is enough if phases stop early; `run` goes on from where a full disk stops it")


def check_memory(plan: Plan, keys: Collection[str], cpus: int, say: Callable[[str], None]) -> int | None:
    """How many phases this machine's memory holds side by side, if fewer than its CPUs do; else None.

    Raises:
        ConfigError: not even one.
    """
    found, most = memory(), largest_need(plan, keys)
    fits = fits_side_by_side(most, found)
    if found.available - RAY_BYTES < most.total:
        say(
            f"memory is scarce: a phase can come to hold {gb(most.total)} and Ray takes {gb(RAY_BYTES)}, and "
            f"{free(found)}; if workers are killed, free memory, ask for more, or do without Ray: `nbsp-ray try`"
        )
    elif fits < slots(plan, keys, [Node("", cpus, math.inf, math.inf)]):
        say(f"{fits} side by side: more, with all their buffers, do not fit in memory: {free(found)}")
    else:
        return None
    return fits


def check_loopback() -> None:
    """This machine can talk to itself, which is all that a Ray started here does; without it, Ray waits for ever.

    Raises:
        ClusterError: it cannot.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as here:
            socket.create_connection(here.getsockname(), CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"this machine does not answer itself at 127.0.0.1 ({error}), over which Ray's processes talk: see that "
            "the interface `lo` is up and no firewall holds it; `nbsp-ray try` does without Ray"
        ) from error


def check_address(address: str) -> None:
    """Something listens at a cluster's address.

    Raises:
        ClusterError: nothing does, or it is an address of the wrong kind.
    """
    if "://" in address:
        raise ClusterError(
            f"{address} is no address that a sweep can be driven from; run this command on a machine of the cluster "
            "(`ray job submit ... -- nbsp-ray run ...`) with --address auto"
        )
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise ClusterError(f"{address} is no address of a Ray cluster: give `auto`, or host:port, such as head:6379")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}); start one there with `ray start --head --port 6379`, "
            "give its host:port, or leave --address out to use this machine alone"
        ) from error


def unreachable(address: str, error: Exception) -> ClusterError:
    """What to say when Ray does not start here (`local`), or does not let us in."""
    lines = str(error).strip().splitlines()
    why = lines[0] if lines else type(error).__name__
    if address == "local":
        return ClusterError(f"Ray cannot be started on this machine ({why}); `nbsp-ray doctor` looks at what it needs")
    return ClusterError(
        f"Ray cannot be reached at {address} ({why}). Is a cluster running there, with the same versions of Ray and "
        "Python? If it uses token authentication, this process needs RAY_AUTH_MODE=token and the cluster's token in "
        "RAY_AUTH_TOKEN_PATH (a file only you can read): a missing token looks like this too"
    )


def check_nodes(plan: Plan, keys: Collection[str], nodes: Sequence[Node], *, local: bool) -> None:
    """Some machine can hold each phase.

    Raises:
        ClusterError: none can.
    """
    for resources in _resources(plan, keys):
        if not any(node.fits(resources) for node in nodes):
            raise ClusterError(_infeasible(resources, nodes, local=local))


def check_cpus(plan: Plan, keys: Collection[str], cpus: int) -> None:
    """A Ray that is started here with so many CPUs can hold each phase; what else there is, Ray will tell.

    Raises:
        ClusterError: it cannot.
    """
    check_nodes(plan, keys, [Node("", cpus, math.inf, math.inf)], local=True)


def slots(plan: Plan, keys: Collection[str], nodes: Sequence[Node]) -> int:
    """How many phases can be at work at a time, by the most modest of their requests."""
    return max((sum(node.fits(resources) for node in nodes) for resources in _resources(plan, keys)), default=0)


def cpus_in_use(plan: Plan, keys: Collection[str], cpus: int, max_concurrent: int | None) -> int:
    """CPUs of so many that phases can be at work on, `max_concurrent` of them at a time."""
    at_once = min(len(keys), max_concurrent or cpus)
    return min(cpus, at_once * max((resources.cpus for resources in _resources(plan, keys)), default=1))


def _resources(plan: Plan, keys: Collection[str]) -> list[Resources]:
    return list(dict.fromkeys(plan.phases[key].resources for key in keys))


def _infeasible(resources: Resources, nodes: Sequence[Node], *, local: bool) -> str:
    where = "this machine offers" if local else "the largest of its machines offers"
    for name, asked, unit, offered in (
        ("cpus", resources.cpus, "CPUs", {node: node.cpus for node in nodes}),
        ("gpus", resources.gpus, "GPUs", {node: node.gpus for node in nodes}),
        ("memory_gb", resources.memory_gb or 0, "GiB of memory", {node: node.memory_gb for node in nodes}),
    ):
        most = max(offered.values(), default=0.0)
        if asked > most:
            names = [node.name for node in nodes if offered[node] == most]
            at = f" ({names[0]})" if names and not local else ""
            return (
                f"a trial asks for resources.{name}={asked:g}, and {where} {most:.4g} {unit}{at}: "
                f"set resources.{name} to at most that{_or_where(name, local=local)}"
            )
    return (
        f"no machine of the cluster has resources.cpus={resources.cpus}, resources.gpus={resources.gpus:g} and "
        f"resources.memory_gb={resources.memory_gb} at once: lower one of them{_or_where('', local=local)}"
    )


def _or_where(name: str, *, local: bool) -> str:
    if local:
        return ", raise --cpus" if name == "cpus" else ", or name a cluster with --address"
    return ", or say --autoscaling if the cluster grows on demand"
