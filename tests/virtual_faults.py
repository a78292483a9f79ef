"""A sweep on the virtual cluster while machines, raylets, workers, the driver and the head die; needs root, minutes.

    python tests/virtual_faults.py [--seed 7] [--faults 8] [--state /tmp/virtual-faults] [--s3]

An undisturbed sweep goes first; then the same one among faults, drawn by the seed. The digests of all phases must be
equal, and every fault is printed with what became of it. What docs/cluster.md promises of faults rests on this. With
--s3 the results lie on an S3 server beside the machines, which is away at times as well.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from s3 import BUCKET, KEYS
from virtual_cluster import VirtualCluster

from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep

OVERRIDES = [
    "methods=base,nbsp", "seeds=0-1", "first.env_steps=1500", "second.env_steps=1000", "first.stop=fixed",
    "second.stop=fixed", "evaluation.episodes=20", "resources.checkpoint_minutes=0.05", "resources.compile=false",
]  # fmt: skip
HEAD = "10.9.0.10"
WORKERS = ("n1", "n2")
S3 = ("10.9.0.1", "9000")
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--object-store-memory=80000000"]
DRAIN = """
import sys, time
from ray._raylet import GcsClient
client = GcsClient(address="10.9.0.10:6379")
for id, node in client.get_all_node_info(timeout=10).items():
    if node.node_manager_hostname == sys.argv[1] and node.state == 0:
        client.drain_node(id.hex(), 2, "spot", int((time.time() + 10) * 1000))
"""


class Faults:
    """The cluster, a driver on its head, and what can happen to them."""

    def __init__(self, state: Path, rng: random.Random) -> None:
        self.cluster, self.rng = VirtualCluster(state), rng
        self.driver: subprocess.Popen[str] | None = None
        self.server: subprocess.Popen[str] | None = None
        self.root = ""

    def start_server(self) -> None:
        self.cluster.up()
        os.environ.update(KEYS, AWS_ENDPOINT_URL=f"http://{':'.join(S3)}")
        self.server = self.cluster.on("bridge", sys.executable, str(Path(__file__).with_name("s3.py")), *S3)

    def start_head(self) -> None:
        self.cluster.up("n0")
        self._quietly("n0", *RAY, "--head", "--port=6379", f"--node-ip-address={HEAD}", "--num-cpus=0")

    def start_worker(self, name: str) -> None:
        if name not in self.cluster.pids:
            self.cluster.up(name)
        address = f"10.9.0.{10 + int(name[1:])}"
        self._quietly(name, *RAY, f"--address={HEAD}:6379", f"--node-ip-address={address}", "--num-cpus=2")

    def start_driver(self) -> None:
        where = ["--root", self.root, "--address", f"{HEAD}:6379"]
        command = [sys.executable, "-m", "nbsp_ray", "run", "toy", *OVERRIDES, *where]
        self.driver = self.cluster.on("n0", *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def run(self, faults: int) -> None:
        """The sweep from beginning to end, with so many faults."""
        self.start_driver()
        left = faults
        while True:
            assert self.driver is not None
            try:
                _, said = self.driver.communicate(timeout=self.rng.uniform(12, 25) if left else 900)
            except subprocess.TimeoutExpired:
                left -= 1
                fault: Callable[[], str] = self.rng.choice([
                    self.worker_killed, self.raylet_killed, self.power_cut, self.drained, self.cable_cut,
                    self.driver_killed, self.driver_stopped, self.head_lost,
                    *([self.storage_away] * 2 if self.server else []),
                ])  # fmt: skip
                print(f"{time.strftime('%H:%M:%S')} {fault()}", flush=True)
                continue
            told = [line for line in said.splitlines() if "machine" in line or "head" in line or "saving" in line]
            print(f"{time.strftime('%H:%M:%S')} driver ended with code {self.driver.returncode}", *told, sep="\n    ")
            if self.driver.returncode == 0:
                return
            assert self.driver.returncode in (3, 137, -9), said
            self.start_driver()

    def worker_killed(self) -> str:
        name = self.rng.choice(WORKERS)
        self._kill(name, "ray::Trainable")
        return f"a worker on {name} killed"

    def raylet_killed(self) -> str:
        name = self.rng.choice(WORKERS)
        self._kill(name, "raylet/raylet")
        self.start_worker(name)
        return f"the raylet of {name} killed, and started again"

    def power_cut(self) -> str:
        name = self.rng.choice(WORKERS)
        self.cluster.power_cut(name)
        self.start_worker(name)
        return f"power cut on {name}, which came back"

    def drained(self) -> str:
        name = self.rng.choice(WORKERS)
        self._quietly("n0", sys.executable, "-c", DRAIN, name)
        time.sleep(10)
        self.cluster.power_cut(name)
        self.start_worker(name)
        return f"{name} drained, gone after ten seconds, and another came"

    def cable_cut(self) -> str:
        name = self.rng.choice(WORKERS)
        self.cluster.cable(name, mended=False)
        time.sleep(5)
        self.cluster.cable(name, mended=True)
        return f"the cable of {name} cut for five seconds"

    def driver_killed(self) -> str:
        self._kill("n0", "nbsp_ray run")
        return "the driver killed"

    def driver_stopped(self) -> str:
        self._kill("n0", "nbsp_ray run", "-TERM")
        return "SIGTERM to the driver"

    def head_lost(self) -> str:
        """The driver, on the same machine, goes with it."""
        self.cluster.power_cut("n0")
        for name in WORKERS:
            self.cluster.power_cut(name)
        self.start_head()
        for name in WORKERS:
            self.start_worker(name)
        return "the head lost, and a new cluster"

    def storage_away(self) -> str:
        """It answers nothing, and closes nothing."""
        seconds = self.rng.uniform(20, 40)
        self.signal_server(signal.SIGSTOP)
        time.sleep(seconds)
        self.signal_server(signal.SIGCONT)
        return f"the object store silent for {seconds:.0f} s"

    def signal_server(self, number: signal.Signals) -> None:
        """To the server itself, which is a child of `nsenter`."""
        assert self.server is not None
        for process in psutil.Process(self.server.pid).children():
            process.send_signal(number)

    def digests(self) -> dict[str, str]:
        """Of all phases of the sweep, as the head sees them."""
        asked = self.cluster.on("n0", sys.executable, __file__, "--digests", self.root, stdout=subprocess.PIPE)
        said, _ = asked.communicate()
        found: dict[str, str] = json.loads(said)
        return found

    def _kill(self, name: str, pattern: str, number: str = "-9") -> None:
        """Of processes of that machine only: it has a process namespace of its own."""
        self.cluster.on(name, "pkill", number, "-o", "-f", pattern, stderr=subprocess.DEVNULL).wait()

    def _quietly(self, name: str, *command: str) -> None:
        done = self.cluster.on(name, *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = done.communicate()
        assert done.returncode == 0, said


def digests(root: str) -> dict[str, str]:
    store = Store(root)
    plan = load_sweep("toy", OVERRIDES).plan(store)
    return {phase.label: str((store.phase(key).result() or {}).get("digest")) for key, phase in plan.phases.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--faults", type=int, default=8)
    parser.add_argument("--state", type=Path, default=Path("/tmp/virtual-faults"))
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--digests", metavar="ROOT", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.digests:
        print(json.dumps(digests(asked.digests)))
        return
    os.environ.pop("OMP_NUM_THREADS", None)
    faults = Faults(asked.state, random.Random(asked.seed))
    try:
        if asked.s3:
            faults.start_server()
        faults.start_head()
        for name in WORKERS:
            faults.start_worker(name)
        of = dict[str, dict[str, str]]()
        for name, number in (("undisturbed", 0), ("disturbed", asked.faults)):
            faults.root = f"s3://{BUCKET}/{name}" if asked.s3 else f"/mnt/{name}"
            faults.run(number)
            of[name] = faults.digests()
        wanted, found = of.values()
        print(f"{sum(wanted[label] == found[label] for label in wanted)} of {len(wanted)} digests are equal")
        sys.exit(0 if wanted == found and "None" not in wanted.values() else 1)
    finally:
        if faults.server is not None:
            faults.signal_server(signal.SIGKILL)
        faults.cluster.down()
        shutil.rmtree(asked.state, ignore_errors=True)


if __name__ == "__main__":
    main()
