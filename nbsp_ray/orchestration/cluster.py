"""Start, join and leave Ray, and leave the process as it was."""

import contextlib
import io
import logging
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import psutil
from filelock import FileLock

from nbsp_ray.errors import ClusterError
from nbsp_ray.folders import LOCK, PREFIX, code_folder, home, remove_stale, temporary_parent
from nbsp_ray.limits import memory
from nbsp_ray.orchestration import preflight
from nbsp_ray.stopping import StopRequest

OBJECT_STORE_BYTES = 80 * 2**20
"""Phases pass nothing through Ray; this is the least it takes."""
HEAD_SECONDS = 40.0
SHIELDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
START_SECONDS = 120.0
"""In which Ray starts on a machine that is not very busy, many times over."""
PATIENCE_SECONDS = 15.0
"""For Ray to start after all, once asked to stop."""
AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


# Ray


@contextlib.contextmanager
def connected_ray(address: str | None, cpus: int | None, stop: StopRequest) -> Iterator[None]:
    """A cluster to work on: the one this process has started already, the one at `address`, or a new one here."""
    if address is not None:
        if cpus is not None:
            raise ClusterError("--cpus is for a Ray started here; with --address the cluster has what it has")
        preflight.check_address(address)
    import ray

    if ray.is_initialized():
        yield
        return
    stop.say(f"connecting to Ray at {address}" if address else "starting Ray here")
    if address is None:
        preflight.check_loopback()
    else:
        from nbsp_ray.orchestration.ask import check_cluster

        address = check_cluster(address)
    alone = _on_loopback() if address is None else contextlib.nullcontext()
    with set_environment({"RAY_USAGE_STATS_ENABLED": "0"}), alone, temporary_folder() as folder:
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if address is None:
            _keep_out_others()
            common |= {"address": "local", "num_cpus": cpus, "include_dashboard": False}
            common |= {"object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": str(folder / "ray")}
            common |= {"_memory": memory().available}  # Left to itself, Ray looks at the machine, not at the job's.
            if (quoted := shlex.quote(sys.executable)) != sys.executable:
                common |= {"runtime_env": {"py_executable": quoted}}  # It gets to a shell as it is.
        else:
            common |= {"address": address}
        try:
            _connect(common, stop)
            yield
        finally:
            _disconnect()


@contextlib.contextmanager
def reservations_released() -> Iterator[None]:
    """What Ray has reserved for this process in the `with` block is given back at its end.

    Tune forgets a placement group now and then if it is stopped, and the CPU of one is lost to whoever runs next on the
    same Ray: the next round of a search, or another sweep on the cluster for as long as this process lives.
    """
    import ray
    from ray import PlacementGroupID
    from ray.util import placement_group_table, remove_placement_group
    from ray.util.placement_group import PlacementGroup

    before = set(placement_group_table())
    try:
        yield
    finally:
        job = ray.get_runtime_context().get_job_id()  # An id of a placement group ends with that of its job.
        for id, group in placement_group_table().items():
            if id.endswith(job) and id not in before and group["state"] != "REMOVED":
                remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(id))))


@contextlib.contextmanager
def head_watched(address: str | None, say: Callable[[str], None], again: str) -> Iterator[None]:
    """In the `with` block this process ends by itself, with code 3, when the cluster's head is lost.

    Left to itself, Ray ends it after 60 seconds without a word, and with the code of a sweep whose phases failed. A
    head that is back within `HEAD_SECONDS` (one whose state is kept in Redis) is not lost.
    """
    if address is None:
        yield
        return
    import ray

    head, over = ray.get_runtime_context().gcs_address, threading.Event()

    def lost() -> None:
        say(
            f"the cluster's head at {head} has not answered for {HEAD_SECONDS:.0f} seconds. All that is committed and "
            f"checkpointed is kept; with a cluster again, `{again}` goes on"
        )
        sys.stdout.flush()
        os._exit(3)  # The main thread hangs in Ray, which would end this process another way.

    threading.Thread(target=watch, args=(head, over, lost), name="nbsp-head", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def watch(address: str, over: threading.Event, lost: Callable[[], object], seconds: float = HEAD_SECONDS) -> None:
    """Call `lost` once nothing has listened at `address` for so long; until then, or until it is `over`, wait."""
    host, _, port = address.rpartition(":")
    seen = time.monotonic()
    while not over.wait(seconds / 10):
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), seconds / 10).close()
            seen = time.monotonic()
        if time.monotonic() - seen > seconds:
            lost()
            return


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """A Ray started here talks over 127.0.0.1, and the machine's network may come and go.

    Left to itself it would take the address of the interface to the world: it hangs where a firewall is before that,
    and dies when the address goes (Wi-Fi, DHCP, a VPN). That it does not where it "supports no clusters" is its only
    switch for this (`_node_ip_address` names the node alone): no public one, so the contract test watches it.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False  # Of this process, which may have read the variable long ago.
    try:
        with set_environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):  # Of the processes that it starts.
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _connect(options: dict[str, Any], stop: StopRequest) -> None:
    """Start Ray, or join one.

    Signals that are sent to a whole group of processes (by `timeout`, systemd, Slurm, a closed terminal) must not reach
    Ray's own: they are blocked while it starts, which its processes inherit. They still end with this one, by SIGKILL.
    Meanwhile a thread takes them, for Ray may hang.
    """
    import ray

    before = signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED)
    over = threading.Event()

    def give_up() -> None:
        stop.say("stopped before Ray was there: nothing was begun, and the same command goes on")
        for process in psutil.Process().children(recursive=True):
            process.kill()
        if "_temp_dir" in options:
            shutil.rmtree(Path(options["_temp_dir"]).parent, ignore_errors=True)
        os._exit(3)  # The main thread hangs in Ray.

    listener = threading.Thread(target=_hear_signals, args=(stop, over, give_up), name="nbsp-start", daemon=True)
    listener.start()
    try:
        ray.init(**options)
    except Exception as error:
        raise preflight.unreachable(options["address"], str(error) or type(error).__name__) from error
    finally:
        over.set()
        listener.join()
        stop.install()  # Ray has put a handler of its own for SIGTERM.
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hear_signals(stop: StopRequest, over: threading.Event, give_up: Callable[[], object]) -> None:
    """Until it is `over`, take the signals that are blocked: a second one, or patience that ends, gives up."""
    began, asked_at, told = time.monotonic(), None, False
    while not over.wait(0.2):
        now = time.monotonic()
        if waiting := signal.sigpending() & set(SHIELDED):
            signal.sigwait(waiting)
            if stop.asked:
                give_up()
            stop.asked = True
        if stop.heard():
            asked_at = asked_at or now
            if now - asked_at > PATIENCE_SECONDS:
                give_up()
        elif not told and now - began > START_SECONDS:
            told = True
            stop.say(
                f"Ray has not started in {START_SECONDS / 60:.0f} minutes: is the machine very busy? `nbsp-ray doctor` "
                "looks at what Ray needs, Ctrl-C stops, and `nbsp-ray try` does without"
            )


def _disconnect() -> None:
    """End a Ray started here at once, and leave none of its processes behind.

    They do not hear the SIGTERM by which Ray would end them, waiting a second for each; and the agents of a machine
    whose Ray is gone would look for it for a minute.
    """
    import ray

    ours: list[psutil.Process] = []
    with contextlib.suppress(Exception):
        node: Any = ray._private.worker._global_node
        for started in (started for of_a_kind in node.all_processes.values() for started in of_a_kind):
            process = psutil.Process(started.process.pid)
            ours += [process, *process.children(recursive=True)]
            started.process.terminate = started.process.kill
    with contextlib.redirect_stdout(io.StringIO()):  # It hands on messages of its machines that it held back.
        ray.shutdown()
    for process in ours:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _keep_out_others() -> None:
    """All users of this machine reach what listens here: give Ray a token that only this process and its children know.

    Left to itself, Ray would write one to the home directory, readable by all. It keeps to one token in a process.
    """
    at_home = home()
    if not any(name in os.environ for name in AUTH) and not (at_home and (at_home / ".ray" / "auth_token").exists()):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # With no mode set, a local Ray turns tokens on by itself.


# The process is left as it was found


@contextlib.contextmanager
def set_environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """These variables, until the end of the `with` block."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def home_for_ray() -> Iterator[None]:
    """Ray cannot be imported without a home directory; where there is none, it gets a folder of ours for one."""
    with set_environment({} if home() else {"HOME": str(code_folder())}):
        yield


@contextlib.contextmanager
def quiet_ray() -> Iterator[None]:
    """Ray and Tune say nothing: what matters is in the store, and drawn from there."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    out: Any = _WithoutRay(sys.stdout)
    with warnings.catch_warnings(), contextlib.redirect_stdout(out):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(before)


class _WithoutRay:
    """An output without what Ray's own threads print there (`(raylet) A worker died ...`)."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else self._out.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder that only we may enter (Ray opens its part of it to all); short, for it holds sockets.

    It is locked as long as it is in use: what a killed process left is removed by the next one.
    """
    remove_stale()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=temporary_parent()))
    with FileLock(folder / LOCK):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
