"""A cluster of virtual machines that are Linux namespaces, for trying what docs/cluster.md promises; needs root.

Each machine has a network of its own (10.9.0.10 and on, behind one bridge), a hostname, processes, /tmp, /dev/shm and
home directory; all see the folder STATE/shared at /mnt, as a lab's machines see a file server. So a power cut, a cut
cable, another Python or a disk that is not mounted are the real thing; GPUs are not (`ray start --num-gpus` counts).

    python tests/virtual_cluster.py STATE up n0 n1 n2        start machines (n and a number), or more of them
    python tests/virtual_cluster.py STATE on n0 COMMAND...   run a command on one (as ssh would)
    python tests/virtual_cluster.py STATE power-cut n1       kill all of its processes
    python tests/virtual_cluster.py STATE cut|mend n1        its network cable
    python tests/virtual_cluster.py STATE down               end all, and leave nothing
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

INIT = "while true; do sleep 3600; done"
"""The first process of a machine: a shell, which buries orphans; with it all others end."""
MACHINE = """
set -e
hostname {name}
mount --make-rprivate /
mount --bind {shared} /mnt
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir /tmp/home
echo ready
"""
WITHIN = ["--net", "--mount", "--uts", "--ipc", "--pid"]


class VirtualCluster:
    """Machines by name; their first processes are remembered in a file, so that other processes can go on."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._file = state / "machines.json"
        (state / "shared").mkdir(parents=True, exist_ok=True)
        self.pids: dict[str, int] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def up(self, *names: str) -> None:
        """Start machines."""
        if "bridge" not in self.pids:
            self._start("bridge", ["unshare", "--net"], "ip link set lo up; ip link add br0 type bridge; "
                        "ip addr add 10.9.0.1/24 dev br0; ip link set br0 up; echo ready")  # fmt: skip
        for name in names:
            unshare = ["unshare", *WITHIN, "--fork", "--kill-child", "--mount-proc"]
            self._start(name, unshare, MACHINE.format(name=name, shared=self.state / "shared"))
            number = 10 + int(name.removeprefix("n"))
            cable = f"ip link add {name} type veth peer name eth0 netns {self.pids[name]}; "
            self._enter("bridge", f"{cable} ip link set {name} master br0 up")
            self._enter(
                name,
                f"ip link set lo up; ip addr add 10.9.0.{number}/24 dev eth0; ip link set eth0 up; "
                "ip route add default via 10.9.0.1",
            )

    def on(self, name: str, *command: str, **options: object) -> "subprocess.Popen[str]":
        """Start a command on a machine, in the working folder of this process."""
        enter = ["nsenter", "--target", str(self.pids[name]), *WITHIN, f"--wd={Path.cwd()}", "--", *command]
        environment = os.environ | {"HOME": "/tmp/home", "TMPDIR": "/tmp", "RAY_USAGE_STATS_ENABLED": "0"}
        return subprocess.Popen(enter, env=environment, text=True, **options)  # type: ignore[call-overload,no-any-return]

    def power_cut(self, name: str) -> None:
        """All processes of a machine end at once."""
        # The bridge has no process namespace with which its children would end.
        (os.killpg if name == "bridge" else os.kill)(self.pids.pop(name), signal.SIGKILL)
        if "bridge" in self.pids:  # The kernel takes its time to do it.
            self._enter("bridge", f"ip link del {name} 2>/dev/null || true")
        self._remember()

    def cable(self, name: str, *, mended: bool) -> None:
        """Nothing reaches a machine any more, or again."""
        self._enter("bridge", f"ip link set {name} {'up' if mended else 'down'}")

    def down(self) -> None:
        """End all machines."""
        for name in list(self.pids):
            self.power_cut(name)
        self._file.unlink()

    def _start(self, name: str, unshare: list[str], setup: str) -> None:
        ready = "exec </dev/null >/dev/null 2>&1"
        started = subprocess.Popen(
            [*unshare, "bash", "-c", f"{setup}\n{ready}\n{INIT}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert started.stdout is not None
        if (said := started.stdout.readline()) != "ready\n":
            raise SystemExit(f"{name} cannot be started ({said.strip()}): namespaces need root")
        children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        self.pids[name] = int(children[0]) if "--fork" in unshare else started.pid
        self._remember()

    def _enter(self, name: str, script: str) -> None:
        subprocess.run(["nsenter", "--target", str(self.pids[name]), "--net", "bash", "-ec", script], check=True)

    def _remember(self) -> None:
        self._file.write_text(json.dumps(self.pids))


def main() -> None:
    """See the top of the file."""
    state, what, *rest = sys.argv[1:]
    cluster = VirtualCluster(Path(state))
    if what == "on":
        sys.exit(cluster.on(rest[0], *rest[1:]).wait())
    elif what in ("cut", "mend"):
        cluster.cable(rest[0], mended=what == "mend")
    else:
        {"up": cluster.up, "down": cluster.down, "power-cut": cluster.power_cut}[what](*rest)


if __name__ == "__main__":
    main()
