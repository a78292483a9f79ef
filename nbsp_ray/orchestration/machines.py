"""The machines of a cluster: what they offer, and whether a phase could work there at all."""

import os
import uuid
from importlib import metadata
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nbsp_ray.errors import ClusterError
from nbsp_ray.orchestration.preflight import Node
from nbsp_ray.store import Store

ANSWER_SECONDS = 60.0
LOOKS = 10
"""A network file system may show a new file late: so many looks, half a second apart."""


def machines() -> list[Node]:
    """The machines that live."""
    return [
        Node(
            name=str(node["NodeManagerHostname"]),
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory_gb=node["Resources"].get("memory", 0.0) / 2**30,
        )
        for node in _alive()
    ]


def check_machines(store: Store) -> None:
    """Every machine has this version of nbsp_ray, and sees the results root at the same path.

    A machine that does not answer is passed over: it may be leaving.

    Raises:
        ClusterError: one has not, or does not.
    """
    probe = f"probe-{uuid.uuid4().hex[:8]}"
    store.files.write(probe, b"")
    try:
        for name, (version, sees) in _look_around(str(store.files.path(probe))).items():
            if version != metadata.version("nbsp-ray"):
                raise ClusterError(
                    f"{name} has nbsp-ray {version or 'not installed'}, this machine {metadata.version('nbsp-ray')}: "
                    "install the same version in the Python environment of every machine"
                )
            if not sees:
                raise ClusterError(
                    f"{name} does not see {store.root}: the results root must be a folder that all machines share, "
                    "at the same path; name one with --root"
                )
    finally:
        store.files.remove(probe)


def _look_around(probe: str) -> dict[str, tuple[str | None, bool]]:
    """Version of nbsp-ray, and whether `probe` is there, by machine."""

    def look(
        path: str, times: int
    ) -> tuple[str | None, bool]:  # Local, so that it is sent by value: the package may be missing.
        import time

        try:
            version = metadata.version("nbsp-ray")
        except metadata.PackageNotFoundError:
            version = None
        for _ in range(times):
            if os.path.exists(path):
                return version, True
            time.sleep(0.5)
        return version, False

    task: Any = ray.remote(look)
    asked: dict[Any, str] = {}
    for node in _alive():
        if node["Resources"].get("CPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answer = task.options(num_cpus=0, scheduling_strategy=there).remote(probe, LOOKS)
            asked[answer] = str(node["NodeManagerHostname"])
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    found: dict[str, tuple[str | None, bool]] = {}
    for answer in answered:
        try:
            found[asked[answer]] = ray.get(answer)
        except ray.exceptions.RayError:
            continue
    return found


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]
