"""Asks a cluster who it is before this process joins it: in a process of its own, for Ray ends those that it refuses.

`ray.init` ends a process with a stack trace of C++ where no raylet runs, waits for 20 seconds with the wrong token, and
says of other versions what is lost when a line is cut. So the head is asked first, by `python -m` of this file: its
answer is JSON on the standard output, and all that Ray writes besides is read here, and shown to nobody.
"""

import json
import os
import platform
import subprocess
import sys
import time
from typing import Any

import ray

from nbsp_ray.orchestration import preflight

SECONDS = 60.0
"""On a busy machine importing Ray takes most of it; a head answers in a second."""
JOIN_SECONDS = 5.0
EMPTY_SECONDS = 30.0
"""A head answers before the raylet beside it has joined: so long while there is none at all."""


def check_cluster(address: str) -> str:
    """A sweep can be driven at `address` from this machine; the address of its head, `host:port`.

    Raises:
        ClusterError: no cluster is there, or it has other versions, or takes no token of ours, or this machine is no
            part of it.
    """
    answer = _ask(address)
    if (found := answer.get("address")) and address == "auto":
        preflight.check_address(found)
    if "nodes" not in answer:
        raise preflight.unreachable(address, answer.get("error", "it did not answer"))
    preflight.check_versions(answer["versions"], {"ray": ray.__version__, "python": platform.python_version()})
    preflight.check_member(str(found), answer["nodes"], answer["ours"])
    return str(found)


def _ask(address: str) -> dict[str, Any]:
    """What the cluster said, or why it did not."""
    command = [sys.executable, "-m", __name__, address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, noise = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, noise = process.communicate()
    lines = [line for line in out.splitlines() if line.startswith("{")]
    answer: dict[str, Any] = {}
    for line in lines:
        answer |= json.loads(line)
    if "nodes" not in answer and ("AuthToken" in noise or "nauthenticated" in noise or "authentication" in noise):
        answer["error"] = preflight.WRONG_TOKEN
    return answer


def main(address: str) -> None:
    """Ask the cluster at `address`, and print what it says, a JSON object a line."""
    import psutil
    from ray._common.usage import usage_lib
    from ray._private import services
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    try:
        if address == "auto":
            address = services.canonicalize_bootstrap_address_or_die(address)
        _print(address=address)
        client = GcsClient(address=address)
        metadata = usage_lib.get_cluster_metadata(client)
        ours = [each.address for card in psutil.net_if_addrs().values() for each in card]
        began = time.monotonic()
        while True:
            alive = [node for node in client.get_all_node_info(timeout=10).values() if node.state == 0]
            nodes = [(node.node_manager_address, os.path.exists(node.raylet_socket_name)) for node in alive]
            waited = time.monotonic() - began
            if waited > (JOIN_SECONDS if nodes else EMPTY_SECONDS) or any(ip in ours and seen for ip, seen in nodes):
                break
            time.sleep(0.5)
        versions = {"ray": metadata.get("ray_version"), "python": metadata.get("python_version")}
        _print(versions=versions, nodes=nodes, ours=ours)
    except Exception as error:
        _print(error=" ".join(str(error).split()) or type(error).__name__)
    sys.stdout.flush()
    os._exit(0)  # Whatever thread of Ray's still waits for the head.


def _print(**answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
