"""Running what is left of a plan: one fresh Tune experiment, of which nothing is kept but what is in the store.

Ray is imported only when there is something to do. The process is left as it was found: signal handlers, environment,
loggers and warnings; and nothing is written outside the results root but a temporary folder that is removed.
"""

import contextlib
import io
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from nbsp_ray.console import LiveStatus
from nbsp_ray.errors import ClusterError
from nbsp_ray.folders import forget_failures, home
from nbsp_ray.limits import memory, usable_cpus
from nbsp_ray.orchestration import preflight
from nbsp_ray.orchestration.gate import Gate, State
from nbsp_ray.orchestration.stopping import StopRequest
from nbsp_ray.plan import Plan
from nbsp_ray.status import SweepStatus, is_complete
from nbsp_ray.store import Store

log = logging.getLogger(__name__)
OBJECT_STORE_BYTES = 80 * 2**20
"""Phases pass nothing through Ray; this is the least it takes."""
FAILURE_RETRIES = 10
KILLED_ALONE = 3
"""So many times killed for want of memory with nothing at work beside it, a phase will be again."""
TUNE_ENVIRONMENT: Mapping[str, str] = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files that nobody reads: 4 ms a result
    "TUNE_GLOBAL_CHECKPOINT_S": "300",  # Tune's own state, of which we restore nothing
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # The new output prints a table even when told to be quiet.
    "RAY_USAGE_STATS_ENABLED": "0",
}
SHIELDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Outcome:
    """What became of a plan; the counts add up to its phases."""

    done: int
    failed: int
    """Phases that were tried and given up."""
    blocked: int
    """Phases that need a failed one."""
    left: int
    """Phases not tried to their end."""
    interrupted: bool
    """A signal ended the run."""

    @property
    def exit_code(self) -> int:
        """0 all done, 3 not finished (run again), 1 the rest failed."""
        return 3 if self.left else 1 if self.failed or self.blocked else 0


def run_plan(
    plan: Plan,
    store: Store,
    *,
    address: str | None = None,
    cpus: int | None = None,
    on_status: Callable[[SweepStatus], None] | None = None,
    max_concurrent: int | None = None,
    autoscaling: bool = False,
    failure_retries: int = FAILURE_RETRIES,
) -> Outcome:
    """Run all phases of `plan` that are not done, and draw how far they are.

    SIGINT, SIGTERM, SIGUSR1 or SIGHUP saves all work and stops; a second one stops at once. A Ray that this process
    has started already is used and left running.

    Args:
        plan: What is wanted.
        store: Where it is kept; the same path on every machine.
        address: A running cluster, `auto` or `host:port`; None starts Ray here.
        cpus: CPUs of a Ray started here; None means all.
        on_status: Gets the status every second, in place of the drawing on the terminal.
        max_concurrent: At most so many phases at work.
        autoscaling: Machines may yet come: do not refuse what none can hold now.
        failure_retries: Dead workers and exceptions that a phase survives.

    Raises:
        ClusterError: Ray is not there, or can never place what is asked for.
        ConfigError: this machine lacks what the settings ask for, memory for one phase not least.
        StoreError: the disk cannot hold it.
    """
    todo = [key for key, phase in plan.phases.items() if not is_complete(phase, store)]
    if not todo:
        return Outcome(len(plan.phases), 0, 0, 0, interrupted=False)
    live = LiveStatus(plan, store, on_status=on_status)
    preflight.check_settings(plan, todo)
    preflight.check_disk(plan, todo, store, live.say)
    if address is None:
        forget_failures()
        here = cpus or usable_cpus()
        preflight.check_cpus(plan, todo, here)
        preflight.check_here(plan, todo, live.say)
        fits = preflight.check_memory(plan, todo, here, live.say)
        if fits is not None:
            max_concurrent = min(fits, max_concurrent or fits)
        # Ray starts a process for each of its CPUs at once, whether it will be used or not.
        cpus = preflight.cpus_in_use(plan, todo, here, max_concurrent)
    launch = _Launch(plan, store, todo, live, max_concurrent=max_concurrent, failure_retries=failure_retries)
    with StopRequest(live.say) as stop, _quiet():
        try:
            with _ray(address, cpus, stop):
                launch.run(stop, local=address is None, autoscaling=autoscaling)
        except KeyboardInterrupt:
            live.say("stopped at once: all that was checkpointed is kept")
    return launch.outcome(interrupted=stop.asked)


class _Launch:
    """One Tune experiment over what is left."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        todo: list[str],
        live: LiveStatus,
        *,
        max_concurrent: int | None,
        failure_retries: int,
    ) -> None:
        self.plan, self.store, self.todo, self.live = plan, store, todo, live
        self.max_concurrent, self.failure_retries = max_concurrent, failure_retries
        self._local = True
        self._killed_alone: Counter[str] = Counter()
        needs = {key: phase.spec.needs for key, phase in plan.phases.items()}
        self.gate = Gate(needs, self._done, max_concurrent=max_concurrent)

    def run(self, stop: StopRequest, *, local: bool, autoscaling: bool) -> None:
        """Start the experiment and see it end."""
        from ray.exceptions import RayError
        from ray.tune.error import TuneError

        from nbsp_ray.orchestration.machines import check_machines, machines

        if not autoscaling:
            preflight.check_nodes(self.plan, self.todo, machines(), local=local)
        if not local:
            check_machines(self.store)
        self._local = local
        slots = self.fit_to_cluster(autoscaling=autoscaling)
        for key in self.todo:
            self.store.phase(key).forget_failures()
        pending = max(2 * slots, 200 if autoscaling else 0)
        environment = {**TUNE_ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG": str(pending)}
        with _environment(environment), _folder() as folder, self.live:
            try:
                self._fit(stop, folder, autoscaling=autoscaling)
            except (RayError, TuneError) as error:
                log.exception("the experiment broke off")
                first = (str(error).splitlines() or [type(error).__name__])[0]
                self.live.say(f"Ray stopped working ({first}); all that is committed and checkpointed is kept")

    def fit_to_cluster(self, *, autoscaling: bool) -> int:
        """Hand out no more phases than the cluster holds now, so that none waits in Tune's queue; how many that is.

        A cluster that grows on demand grows by the queue, so there all that is ready is handed out.
        """
        from nbsp_ray.orchestration.machines import machines

        slots = max(1, preflight.slots(self.plan, self.todo, machines()))
        self.live.concurrent = min(slots, self.max_concurrent or slots)
        self.gate.max_concurrent = self.max_concurrent if autoscaling else self.live.concurrent
        return slots

    def give_room(self, key: str) -> None:
        """A worker was killed for want of memory: on this machine, no more at a time than are left at work.

        A phase to which that happens again and again while it works alone is given up.
        """
        end, at_work = "its worker was killed for want of memory", len(self.gate.keys(State.RUNNING))
        if not self._local:
            way_out = "; with resources.memory_gb set, no more phases share a machine than it has memory for"
        elif at_work:
            way_out = f"; from here on {at_work} at a time"
            self.max_concurrent = at_work
            self.fit_to_cluster(autoscaling=False)
        else:
            way_out = ", and none worked beside it: free memory, or ask for more"
            self._killed_alone[key] += 1
            if self._killed_alone[key] >= KILLED_ALONE:
                self.gate.give_up(key)
        self.live.say(f"{self.plan.phases[key].label}: {end}{way_out}")

    def _fit(self, stop: StopRequest, folder: Path, *, autoscaling: bool) -> None:
        from ray import tune

        from nbsp_ray.orchestration.hooks import ExperimentHooks, Stopper
        from nbsp_ray.orchestration.search import GatedSearch
        from nbsp_ray.orchestration.trainable import Trainable

        # A process starts in seconds, so one works on many phases; but only its end lets go of a GPU.
        reuse = not any(self.plan.phases[key].resources.gpus for key in self.todo)
        hooks = ExperimentHooks(
            self.store,
            self.gate,
            stop,
            lambda: self.fit_to_cluster(autoscaling=autoscaling),
            self.give_room,
            at_once=autoscaling,
        )
        tune.Tuner(
            Trainable,
            tune_config=tune.TuneConfig(
                search_alg=GatedSearch(self.gate, self._config, retries=self.failure_retries),
                reuse_actors=reuse,
                trial_name_creator=_trial_id,
                trial_dirname_creator=_trial_id,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(folder),
                stop=Stopper(hooks),
                callbacks=[hooks],
                failure_config=tune.FailureConfig(max_failures=0),  # `GatedSearch` tries again.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()

    def _config(self, key: str) -> dict[str, Any]:
        from nbsp_ray.orchestration.trainable import Job

        phase = self.plan.phases[key]
        job = Job(
            root=str(self.store.root),
            spec=phase.spec,
            evaluations=tuple(phase.evaluations.values()),
            keep_buffer=phase.keep_buffer,
            resources=phase.resources,
        )
        return job.model_dump(mode="json")

    def _done(self, key: str) -> bool:
        """Whether the store has all of a phase; never raises, for it is asked from within Tune."""
        try:
            return is_complete(self.plan.phases[key], self.store)
        except Exception:
            log.exception("phase %s cannot be looked at", key)
            return False

    def outcome(self, *, interrupted: bool) -> Outcome:
        """What became of the plan, by the store."""
        states = {key: State.DONE if self._done(key) else state for key, state in self.gate.states.items()}
        counts = {state: sum(found is state for found in states.values()) for state in State}
        done, failed, blocked = counts[State.DONE], counts[State.FAILED], counts[State.BLOCKED]
        return Outcome(done, failed, blocked, len(states) - done - failed - blocked, interrupted=interrupted)


def _trial_id(trial: Any) -> str:
    return str(trial.trial_id)


# Ray


@contextlib.contextmanager
def _ray(address: str | None, cpus: int | None, stop: StopRequest) -> Iterator[None]:
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
    alone = _on_loopback() if address is None else contextlib.nullcontext()
    with _environment({"RAY_USAGE_STATS_ENABLED": "0"}), alone, _folder() as folder:
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if address is None:
            _keep_out_others()
            common |= {"address": "local", "num_cpus": cpus, "include_dashboard": False}
            common |= {"object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": str(folder / "ray")}
            common |= {"_memory": memory().available}  # Left to itself, Ray looks at the machine, not at the job's.
        else:
            common |= {"address": address}
        try:
            _connect(common, stop)
            yield
        finally:
            _disconnect()


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
        with _environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):  # Of the processes that it starts.
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _connect(options: dict[str, Any], stop: StopRequest) -> None:
    """Start Ray, or join one.

    Signals that are sent to a whole group of processes (by `timeout`, systemd, Slurm, a closed terminal) must not reach
    Ray's own: they are blocked while it starts, which its processes inherit. They still end with this one, by SIGKILL.
    """
    import ray

    before = signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED)
    try:
        ray.init(**options)
    except Exception as error:
        raise preflight.unreachable(options["address"], error) from error
    finally:
        stop.install()  # Ray has put a handler of its own for SIGTERM.
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _disconnect() -> None:
    """End a Ray started here at once, and leave none of its processes behind.

    They do not hear the SIGTERM by which Ray would end them, waiting a second for each; and the agents of a machine
    whose Ray is gone would look for it for a minute.
    """
    import psutil
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
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
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
def _quiet() -> Iterator[None]:
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
def _folder() -> Iterator[Path]:
    """A temporary folder that only we may enter (Ray opens its part of it to all); short, for it holds sockets."""
    where = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="nbsp-", dir=where if len(where) < 30 else "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
