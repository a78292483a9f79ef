"""The machines of a cluster: what they offer, and whether phases can work there at all.

A machine is looked at when it first appears, before it gets a phase: what is wrong with it is said once, and no phase
is sent there. A worker looks once more at its own code when it starts, for Ray may be faster than we are.
"""

import hashlib
import importlib.util
import logging
import platform
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import ClusterError
from nbsp_ray.folders import is_address
from nbsp_ray.orchestration.nodes import Node
from nbsp_ray.store import Store

log = logging.getLogger(__name__)
ANSWER_SECONDS = 60.0
LOOKS = 10
"""A network file system may show a new file late: so many looks, half a second apart."""
LOOK_AGAIN_SECONDS = 300.0
"""A machine that could not be used may have been mended."""
NODE_ID = "ray.io/node-id"
"""The label by which Ray knows each of its machines."""


def machines() -> list[Node]:
    """The machines that live."""
    draining = ray._private.state.state.get_draining_nodes()
    return [
        Node(
            name=str(node["NodeManagerHostname"]),
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory_gb=node["Resources"].get("memory", 0.0) / 2**30,
            id=str(node["NodeID"]),
            ip=str(node["NodeManagerAddress"]),
            labels=tuple(sorted(node["Labels"].items())),
            leaving=node["NodeID"] in draining,
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _code_reader() -> Callable[[], dict[str, str | None]]:
    """The function `code`: none that is imported by its name, so Ray sends it by value; the package may be missing."""

    def code() -> dict[str, str | None]:
        """What must be the same on all machines, for numbers come of it: versions, and a digest of the package."""

        def version(name: str) -> str | None:
            try:
                return metadata.version(name).partition("+")[
                    0
                ]  # cpu or cu129: machines with and without GPUs may differ
            except metadata.PackageNotFoundError:
                return None

        found = importlib.util.find_spec("nbsp_ray")
        digest = hashlib.sha256()
        if found is not None and found.origin is not None:
            folder = Path(found.origin).parent
            for path in sorted(folder.rglob("*.py")):
                digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
        return {
            "nbsp-ray": version("nbsp-ray") if found else None,
            "Python": platform.python_version(),
            "torch": version("torch"),
            "source": digest.hexdigest()[:12],
        }

    return code


code = _code_reader()


def difference(theirs: Mapping[str, str | None], ours: Mapping[str, str | None]) -> str | None:
    """What of the code is another on a machine, as the rest of a sentence that begins with its name."""
    for name, wanted in ours.items():
        have = theirs.get(name)
        if have == wanted:
            continue
        if name == "source":
            return (
                f"has other source files of nbsp-ray {ours['nbsp-ray']} than this machine ({have}, here {wanted}):"
                " install the same commit in the Python environment of every machine"
            )
        if have is None:
            return f"does not have {name}: install {wanted} in the Python environment of every machine"
        return (
            f"has {name} {have}, this machine {wanted}: install the same version in the Python environment of every "
            "machine"
        )
    return None


class Machines:
    """Which machines can be used.

    Args:
        store: The results root must be one folder that all machines may write.
        say: Told of each machine that comes, goes, or cannot be used, with the way out.
        with_gpus: Whether GPUs are to be used by torch: then it is asked what it sees.
        local: Only this machine is there: nothing need be looked at.
    """

    def __init__(
        self, store: Store, say: Callable[[str], None], *, with_gpus: bool = False, local: bool = False
    ) -> None:
        self._store, self._say, self._with_gpus, self._local = store, say, with_gpus, local
        self._code = code()
        self._asked: dict[Any, Node] = {}
        self._probe: str | None = None
        self._alive: dict[str, Node] = {}
        self._usable: dict[str, Node] = {}
        self._bad: dict[str, tuple[str, float]] = {}
        """Why, and when that was found."""

    def usable(self) -> list[Node]:
        """Machines to which phases can go, as known by the last look."""
        return list(self._usable.values())

    def refused(self) -> list[tuple[Node, str]]:
        """Machines that live and get no phases, and why, as the rest of a sentence that begins with `it`."""
        return [(self._alive[id], why) for id, (why, _) in self._bad.items() if id in self._alive]

    def unheard(self) -> list[Node]:
        """Machines that have not answered yet."""
        return list(self._asked.values())

    def holds(self, machine: str) -> bool:
        """Whether phases can work on a machine, by its id, as known by the last look."""
        return machine in self._usable

    def at(self, ip: str) -> str | None:
        """The id of the machine with an address; of one that was never looked at, the address."""
        return next((node.id for node in self._alive.values() if node.ip == ip), ip)

    def name(self, machine: str | None) -> str | None:
        """The host name of a machine."""
        return self._alive[machine].name if machine in self._alive else None

    def selector(self, resources: Resources) -> dict[str, str]:
        """Ray's label selector for a phase: the labels it asks for, and none of the machines that cannot be used."""
        avoided = [
            id
            for id, node in self._alive.items()
            if id not in self._usable or (resources.gpus and node.gpus and not self._usable[id].gpus)
        ]
        return dict(label.split("=", 1) for label in resources.labels) | (
            {NODE_ID: f"!in({','.join(sorted(avoided))})"} if avoided else {}
        )

    def look(self, *, at_work: Collection[str] = (), seconds: float = 0.0) -> None:
        """See who came and went, ask those that are new, and hear what they answer within `seconds`.

        Args:
            at_work: Machines of phases, one for each: they go on elsewhere if the machine has gone.
            seconds: To wait for answers.
        """
        now = {node.id: node for node in machines()}
        for id, node in list(self._usable.items()):
            if id in now and not now[id].leaving:
                continue
            number = list(at_work).count(id)
            phases = f"{number} phase{'s' if number > 1 else ''}"
            if id in now:
                self._say(f"machine {node.name} is taken away" + (f": {phases} will be saved" if number else ""))
            else:
                self._say(
                    f"machine {node.name} is gone"
                    + (f"; {phases} of it go{'' if number > 1 else 'es'} on elsewhere" if number else "")
                )
            del self._usable[id]
        self._bad = {id: found for id, found in self._bad.items() if id in now}
        asked = {node.id for node in self._asked.values()}
        new = [node for id, node in now.items() if id not in self._alive and node.cpus and not node.leaving]
        again = [now[id] for id, (_, since) in self._bad.items() if time.monotonic() - since > LOOK_AGAIN_SECONDS]
        self._alive = now
        if self._local:
            self._usable = {id: replace(node, labels=None) for id, node in now.items()}
            return
        self._ask([node for node in (*new, *again) if node.id not in asked])
        self._hear(seconds)

    def refuse(self, machine: str, why: str) -> None:
        """Send no phases to a machine any more; said once."""
        if self._local:
            return  # There is no other to go to.
        before = self._bad.get(machine)
        self._usable.pop(machine, None)
        self._bad[machine] = (why, time.monotonic())
        if machine in self._alive and (before is None or before[0] != why):
            self._say(f"machine {self._alive[machine].name} gets no phases: it {why}")

    def check(self) -> None:
        """Some machine can be used.

        Raises:
            ClusterError: there are machines, and none can.
        """
        if self._bad and not self._usable:
            (id, (why, _)), *rest = self._bad.items()
            others = f" (and {len(rest)} more)" if rest else ""
            raise ClusterError(f"no machine of the cluster can be used: {self._alive[id].name}{others} {why}")

    def _ask(self, nodes: list[Node]) -> None:
        if not nodes:
            return
        if self._probe is None:
            self._probe = f"probe-{uuid.uuid4().hex[:8]}"
            self._store.files.write(self._probe, b"")
        task: Any = ray.remote(max_retries=0)(_examiner())
        for node in nodes:
            there = task.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
            answer = there.remote(self._code, self._store.address, self._probe, LOOKS, self._with_gpus and node.gpus)
            self._asked[answer] = node

    def _hear(self, seconds: float) -> None:
        if not self._asked:
            return
        answered, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=seconds)
        for answer in answered:
            self._judge(self._asked.pop(answer), answer)
        if not self._asked and self._probe:
            self._store.files.remove(self._probe)
            self._probe = None

    def _judge(self, node: Node, answer: Any) -> None:
        if node.id not in self._alive or self._alive[node.id].leaving:
            return
        try:
            found = ray.get(answer)
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
            del self._alive[node.id]  # It is going; should it still be there at the next look, it is as new.
            return
        except ray.exceptions.RayError as error:
            why = (str(error).strip().splitlines() or ["it died"])[-1].strip()
            self.refuse(node.id, f"cannot start a worker ({why}): see the files of its /tmp/ray/session_latest/logs")
            return
        other = difference(found["code"], self._code)
        if other is not None:
            self.refuse(node.id, other)
        elif found["root"] is not None:
            shared = "must be a folder that all machines share and may write, at the same path; name one with --root"
            way_out = "" if is_address(self._store.address) else f": {self._store.address} {shared}"
            self.refuse(node.id, f"{found['root']}{way_out}")
        else:
            if node.id in self._bad:
                self._say(f"machine {node.name} can be used now")
                del self._bad[node.id]
            if found["cuda"] is False:
                self._say(
                    f"machine {node.name} gets no phases with GPUs: torch {found['torch']} sees none of its "
                    "GPUs; install a build of torch for CUDA there, or set resources.device=cpu"
                )
                node = replace(node, gpus=0.0)
            self._usable[node.id] = node


def _examiner() -> Callable[..., dict[str, Any]]:
    """What looks at a machine from there; sent by value, for the package may be missing there, or be another."""
    look_at_code = code

    def examine(ours: dict[str, Any], root: str, probe: str, looks: int, gpus: float) -> dict[str, Any]:
        import socket
        import time

        answer: dict[str, Any] = {"code": look_at_code(), "root": None, "cuda": None}
        if answer["code"] != ours:
            return answer
        try:
            from nbsp_ray.store import Store

            files = Store(root).files
            for _ in range(looks):
                if files.exists(probe):
                    break
                time.sleep(0.5)
            else:
                answer["root"] = "does not see the results root of this machine"
                return answer
            mine = f"{probe}-{socket.gethostname()}"
            files.write(mine, b"")
            files.remove(mine)
        except Exception as error:
            answer["root"] = f"cannot write into the results root ({error})"
        if gpus:
            import torch

            answer |= {"cuda": torch.cuda.is_available(), "torch": torch.__version__}
        return answer

    return examine
