"""What can be known to be wrong before anything slow starts, said in a sentence that names the way out.

Without this, Ray leaves a trial that fits no machine pending for ever. Knows no Ray: machines come as `Node`s.
"""

import dataclasses
import math
import shutil
import socket
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import ClusterError, StoreError
from nbsp_ray.folders import existing, is_address, temporary_parent
from nbsp_ray.limits import Memory, memory, usable_cpus, usable_gpus
from nbsp_ray.orchestration.nodes import Node, resources_of, slots
from nbsp_ray.plan.lanes import by_shape, lanes, most_lanes, pack_bytes, packing
from nbsp_ray.plan.memory import RAY_BYTES, check_fits, fits_side_by_side, free, largest_need
from nbsp_ray.plan.memory import need as memory_need
from nbsp_ray.plan.price import disk_use
from nbsp_ray.plan.sizes import on_gpu
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store
from nbsp_ray.units import gb

CONNECT_SECONDS = 5.0
EARLY_STOP_SHARE = 0.1
"""A phase that may stop early is not refused for want of disk before even this share of its buffer would not fit."""


def this_machine() -> Node:
    """This machine, as a Ray that is started here counts it."""
    return Node("", usable_cpus(), usable_gpus(), memory().available / 2**30)


def check_settings(plan: Plan, keys: Collection[str]) -> None:
    """The resources asked for make sense at all.

    Raises:
        ClusterError: they do not.
    """
    for resources in resources_of(plan, keys):
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
    tasks: dict[str, set[str]] = {}
    for spec in {plan.alike[key]: plan.phases[key].spec for key in keys}.values():
        tasks.setdefault(spec.benchmark, set()).update(spec.tasks)
    for name, played in tasks.items():
        get_benchmark(name).check_installed(played)
    check_disk(plan, keys, store, say, None if nodes is None else max(1, slots(plan, keys, nodes)))
    if nodes is not None:
        check_nodes(plan, keys, nodes, local=False)
        return
    check_cpus(plan, keys, usable_cpus())
    check_here(plan, keys, say)
    check_fits(largest_need(plan, keys), memory())
    check_lanes(plan, keys, memory())
    check_loopback()
    temporary_parent()
    check_nodes(plan, keys, [this_machine()], local=True)


def check_disk(
    plan: Plan, keys: Collection[str], store: Store, say: Callable[[str], None], at_once: int | None = None
) -> None:
    """The disk of the results root holds what is left to do: replay buffers, above all, of all that work side by side.

    Args:
        plan: With all its phases.
        keys: Those that are left.
        store: Where they are kept.
        say: Told what may come to pass.
        at_once: Phases that work side by side; None: as many as this machine has CPUs for.

    Raises:
        StoreError: it certainly does not.
    """
    if is_address(store.address):
        return  # An object store has room for all.
    left = dataclasses.replace(plan, phases={key: plan.phases[key] for key in keys})
    need = disk_use(left, keys, at_once)[1] / 1e9
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
    fits = min(fits_side_by_side(most, found), check_lanes(plan, keys, found) or sys.maxsize)
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


def check_lanes(plan: Plan, keys: Collection[str], found: Memory) -> int | None:
    """How many phases the memory here holds in packs; None if there are none. What a GPU holds, its worker knows.

    Raises:
        ConfigError: not even one pack.
    """
    fits: int | None = None
    for alike in by_shape(plan, packing(plan, keys)).values():
        first = plan.phases[alike[0]]
        cpus = first.resources.cpus
        side_by_side = most_lanes(first, cpus) if on_gpu(first) else lanes(plan, alike, found, cpus)
        packs = max(1, (found.available - RAY_BYTES) // pack_bytes(plan, alike, side_by_side))
        fits = min(packs * side_by_side, fits or sys.maxsize)
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
            "(`ray job submit ... -- nbsp-ray run ...`) with --address auto; --address local starts a Ray here"
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


WRONG_TOKEN = "it did not accept this process's token"


def unreachable(address: str, why: str) -> ClusterError:
    """What to say when Ray does not start here (`local`), or does not let us in."""
    why = " ".join(why.split())
    if address == "local":
        return ClusterError(f"Ray cannot be started on this machine ({why}); `nbsp-ray doctor` looks at what it needs")
    return ClusterError(
        f"Ray cannot be reached at {address} ({why}). Is a cluster running there? If it uses token authentication, "
        "this process needs RAY_AUTH_MODE=token and the cluster's token in RAY_AUTH_TOKEN_PATH (a file only you can "
        "read): a missing token looks like this too"
    )


def check_versions(theirs: Mapping[str, str | None], ours: Mapping[str, str]) -> None:
    """Ray and Python of the cluster's head are those of this process: Ray joins no others.

    Raises:
        ClusterError: one is another.
    """
    words = {"ray": "Ray", "python": "Python"}
    for name, here in ours.items():
        if (there := theirs.get(name)) and there != here:
            raise ClusterError(
                f"the cluster runs {words[name]} {there}, this process {words[name]} {here}: use the Python "
                "environment that its machines use"
            )


def check_member(address: str, nodes: Collection[Sequence[Any]], ours: Collection[str]) -> None:
    """This machine is one of the cluster's: a driver talks to the raylet beside it.

    Args:
        address: Of the head.
        nodes: IP of each machine, and whether its raylet's socket is to be seen here.
        ours: This machine's IPs.

    Raises:
        ClusterError: it is not.
    """
    if not any(ip in ours and seen for ip, seen in nodes):
        raise ClusterError(
            f"this machine is no part of the cluster at {address} ({', '.join(sorted(str(ip) for ip, _ in nodes))}), "
            f"and a sweep is driven from one: run `ray start --address {address} --num-cpus 0` here first, or run this "
            "command there (`ray job submit ... -- nbsp-ray run ... --address auto`)"
        )


def check_nodes(plan: Plan, keys: Collection[str], nodes: Sequence[Node], *, local: bool) -> None:
    """Some machine can hold each phase.

    Raises:
        ClusterError: none can.
    """
    if not local and not any(node.cpus for node in nodes):
        raise ClusterError(
            "no machine of the cluster offers CPUs to phases: join some (`ray start --address ...`), wait for them "
            "with --min-machines, or say --autoscaling if the cluster grows on demand"
        )
    for resources in resources_of(plan, keys):
        if not any(node.fits(resources) for node in nodes):
            raise ClusterError(_infeasible(resources, nodes, local=local))


def with_memory(plan: Plan, keys: Collection[str]) -> Plan:
    """`plan` with the memory that a phase can come to hold asked for wherever nothing is said of memory.

    On a cluster Ray counts it for each machine: so none gets more phases than it can hold when their buffers are full.
    """
    phases, needed = dict(plan.phases), {key: memory_need(plan, key).total for key in keys}
    packs = packing(plan, keys)
    for alike in by_shape(plan, packs).values():
        needed |= dict.fromkeys(alike, pack_bytes(plan, alike, packs[alike[0]].lanes))
    for key in keys:
        phase = phases[key]
        if phase.resources.memory_gb is None:
            wanted = math.ceil(10 * needed[key] / 2**30) / 10
            phases[key] = dataclasses.replace(phase, resources=phase.resources.model_copy(update={"memory_gb": wanted}))
    return dataclasses.replace(plan, phases=phases)


def check_cpus(plan: Plan, keys: Collection[str], cpus: int) -> None:
    """A Ray that is started here with so many CPUs can hold each phase; what else there is, Ray will tell.

    Raises:
        ClusterError: it cannot.
    """
    check_nodes(plan, keys, [Node("", cpus, math.inf, math.inf)], local=True)


def _infeasible(resources: Resources, nodes: Sequence[Node], *, local: bool) -> str:
    where = "this machine offers" if local else "the largest of its machines offers"
    for name, asked, unit, offered in (
        ("cpus", resources.cpus, "CPUs", {node: node.cpus for node in nodes}),
        ("gpus", resources.gpus, "GPUs", {node: node.gpus for node in nodes}),
        ("memory_gb", resources.memory_gb or 0, "GiB of memory", {node: node.memory_gb for node in nodes}),
    ):  # fmt: skip
        most = max(offered.values(), default=0.0)
        if asked > most:
            names = [node.name for node in nodes if offered[node] == most]
            at = f" ({names[0]})" if names and not local else ""
            return (
                f"a trial asks for resources.{name}={asked:g}, and {where} {most:.4g} {unit}{at}: "
                f"set resources.{name} to at most that{_or_where(name, local=local)}"
            )
    labels = f" and labels {', '.join(resources.labels)}" if resources.labels else ""
    return (
        f"no machine of the cluster has resources.cpus={resources.cpus}, resources.gpus={resources.gpus:g}, "
        f"resources.memory_gb={resources.memory_gb}{labels} at once: change one of them{_or_where('', local=local)}"
    )


def _or_where(name: str, *, local: bool) -> str:
    if name == "memory_gb" and not local:
        return ", or lower sac.buffer_size (what a phase can come to hold is asked for unless you say otherwise)"
    if local:
        return ", raise --cpus" if name == "cpus" else ", or name a cluster with --address"
    return ", or say --autoscaling if the cluster grows on demand"
