"""Running what is left of a plan: one fresh Tune experiment, of which nothing is kept but what is in the store.

Ray is imported only when there is something to do. The process is left as it was found: signal handlers, environment,
loggers and warnings; and nothing is written outside the results root but a temporary folder that is removed.
"""

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import NbspError, StorageAwayError
from nbsp_ray.folders import forget_failures
from nbsp_ray.limits import usable_cpus
from nbsp_ray.orchestration import preflight
from nbsp_ray.orchestration.attempts import Attempts
from nbsp_ray.orchestration.cluster import (
    connected_ray,
    head_watched,
    home_for_ray,
    quiet_ray,
    reservations_released,
    set_environment,
    temporary_folder,
)
from nbsp_ray.orchestration.gate import Gate
from nbsp_ray.orchestration.jobs import Job, PackJob, PhaseJob, pace
from nbsp_ray.orchestration.nodes import Node, cpus_in_use, placed, slots
from nbsp_ray.plan.build import check_benchmarks
from nbsp_ray.plan.lanes import Packing, capacity, lane_bytes, packing
from nbsp_ray.specs import Plan
from nbsp_ray.states import State
from nbsp_ray.status import SweepStatus, is_complete
from nbsp_ray.stopping import StopRequest
from nbsp_ray.store import Store
from nbsp_ray.store.leases import Driver
from nbsp_ray.terminal.live import LiveStatus

log = logging.getLogger(__name__)
FAILURE_RETRIES = 10
WAIT_SECONDS = 600.0
"""For the machines that the user counts on; more of them may come later."""
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
    min_machines: int = 0,
    failure_retries: int = FAILURE_RETRIES,
    again: str = "running it again",
    whole: Plan | None = None,
    stop: StopRequest | None = None,
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
        min_machines: Wait until so many machines of the cluster offer CPUs, `WAIT_SECONDS` at most.
        failure_retries: Dead workers and exceptions that a phase survives without getting any further in between.
        again: What goes on later, for the sentence with which this process ends when the cluster's head is lost.
        whole: A larger plan that this one is a part of, for the ETA.
        stop: Who takes the signals already (`one_ray`); None: they are taken here.

    Raises:
        ClusterError: Ray is not there, or can never place what is asked for.
        ConfigError: this machine lacks what the settings ask for, memory for one phase not least.
        StoreError: the disk cannot hold it.
        StorageAwayError: the storage has not answered for so long that nothing is to be waited for.
    """
    live = LiveStatus(plan, store, on_status=on_status, whole=whole)
    for sentence in store.mend(plan.phases):
        live.say(sentence)
    now = store.snapshot(plan.phases)
    todo = [key for key, phase in plan.phases.items() if not is_complete(phase, now)]
    if not todo:
        return Outcome(len(plan.phases), 0, 0, 0, interrupted=False)
    preflight.check_settings(plan, todo)
    check_benchmarks(plan, todo)
    if address is None:
        preflight.check_disk(plan, todo, store, live.say)
        forget_failures()
        here = cpus or usable_cpus()
        preflight.check_cpus(plan, todo, here)
        preflight.check_here(plan, todo, live.say)
        fits = preflight.check_memory(plan, todo, here, live.say)
        if fits is not None:
            max_concurrent = min(fits, max_concurrent or fits)
        # Ray starts a process for each of its CPUs at once, whether it will be used or not.
        cpus = cpus_in_use(plan, todo, here, max_concurrent)
    else:
        plan = preflight.with_memory(plan, todo)
    launch = _Launch(plan, store, todo, live, max_concurrent=max_concurrent, failure_retries=failure_retries)
    if stop is not None:
        stop.say = live.say
    with contextlib.nullcontext(stop) if stop else StopRequest(live.say) as asked, quiet_ray(), home_for_ray():
        try:
            with connected_ray(address, cpus, asked), head_watched(address, live.say, again):
                launch.run(asked, local=address is None, autoscaling=autoscaling, min_machines=min_machines)
        except KeyboardInterrupt:
            live.say("stopped at once: all that was checkpointed is kept")
    if launch.away is not None:
        raise launch.away
    return launch.outcome(interrupted=asked.asked)


@contextlib.contextmanager
def one_ray(
    plan: Plan, store: Store, say: Callable[[str], None], *, address: str | None = None, cpus: int | None = None
) -> Iterator[StopRequest | None]:
    """One Ray, as large as `plan` needs, for all `run_plan`s of the block, which is given what takes the signals.

    If nothing of `plan` is left, or it cannot start, none is started: `run_plan` says why.
    """
    now = store.snapshot(plan.phases)
    todo = [key for key, phase in plan.phases.items() if not is_complete(phase, now)]
    try:
        preflight.check_settings(plan, todo)
        if address is None:
            preflight.check_cpus(plan, todo, cpus or usable_cpus())
            preflight.check_here(plan, todo, lambda said: None)
    except NbspError:
        todo = []
    if not todo:
        yield None
        return
    if address is None:
        cpus = cpus_in_use(plan, todo, cpus or usable_cpus(), None)
    with StopRequest(say) as stop, quiet_ray(), home_for_ray(), connected_ray(address, cpus, stop):
        yield stop


class Kind(NamedTuple):
    """What decides where a phase can be at work, and beside which others."""

    resources: Resources
    pack: Packing | None


def _resources(places: Mapping[Kind, int]) -> Counter[Resources]:
    """What so many trials of each kind ask for."""
    found = Counter[Resources]()
    for kind, number in places.items():
        found[kind.resources] += number
    return found


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
        self.away: StorageAwayError | None = None
        """The storage does not answer."""
        self._local = True
        self._killed_alone: Counter[str] = Counter()
        self._packing = packing(plan, todo)
        self._packs: dict[Packing, PackJob] = {}
        self._nodes: Sequence[Node] = ()
        self._apart = set[str]()
        """Phases that are tried without others beside them, whatever `resources.lanes` says."""
        needs = {key: phase.spec.needs for key, phase in plan.phases.items()}
        self._seen = store.snapshot(plan.phases)
        """What is asked whether a phase is done: of all of them at once, a snapshot."""
        self.gate = Gate(needs, self._done, max_concurrent=max_concurrent, kind=self._kind)
        self._seen = store

    def _kind(self, key: str) -> "Kind":
        pack = None if key in self._apart else self._packing.get(key)
        return Kind(self.plan.phases[key].resources, pack)

    def run(self, stop: StopRequest, *, local: bool, autoscaling: bool, min_machines: int) -> None:
        """Start the experiment and see it end."""
        from ray.exceptions import RayError
        from ray.tune.error import TuneError

        from nbsp_ray.orchestration.gated_search import GatedSearch
        from nbsp_ray.orchestration.machines import ANSWER_SECONDS, Machines

        wanted = [self.plan.phases[key].resources for key in self.todo]
        with_gpus = any(resources.gpus and resources.device != "cpu" for resources in wanted)
        self.machines = Machines(self.store, self.live.say, with_gpus=with_gpus, local=local)
        self.search = GatedSearch(
            self.gate,
            self._config,
            attempts=Attempts(self.failure_retries, self.machines.holds),
            together=self._together,
            apart=self._apart.add,
            gave_up=self._gave_up,
            machine_at=self.machines.at,
            refuse=self.machines.refuse,
            look=lambda: self.fit_to_cluster(autoscaling=autoscaling),
            stopped=stop.heard,
        )
        self._await_machines(min_machines, stop)
        self.machines.look(seconds=ANSWER_SECONDS)
        self.machines.check()
        if not autoscaling and not stop.asked:
            preflight.check_nodes(self.plan, self.todo, self.machines.usable(), local=local)
        self._local = local
        room = self.fit_to_cluster(autoscaling=autoscaling)
        if not local:
            preflight.check_disk(self.plan, self.todo, self.store, self.live.say, self.live.concurrent)
        begun = set(self.store.phases())
        for key in (key for key in self.todo if key in begun):
            self.store.phase(key).forget_failures()
        pending = max(2 * room, 200 if autoscaling else 0)
        environment = {**TUNE_ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG": str(pending)}
        with set_environment(environment), temporary_folder() as folder, self.live, Driver(self.store.files) as driver:
            self.gate.claim = driver.claim
            try:
                self._fit(stop, folder, autoscaling=autoscaling)
            except (RayError, TuneError) as error:
                log.exception("the experiment broke off")
                first = (str(error).splitlines() or [type(error).__name__])[0]
                self.live.say(f"Ray stopped working ({first}); all that is committed and checkpointed is kept")

    def _await_machines(self, number: int, stop: StopRequest) -> None:
        """Wait for so many machines; those that come later are used when they come."""
        from nbsp_ray.orchestration.machines import machines

        end, said = time.monotonic() + WAIT_SECONDS, False
        while (there := sum(node.cpus > 0 for node in machines())) < number and not stop.heard():
            if time.monotonic() > end:
                self.live.say(
                    f"{there} of {number} machines have joined in {WAIT_SECONDS / 60:.0f} minutes: going on with those"
                )
                return
            if not said:
                self.live.say(f"waiting for {number} machines; {there} are there")
                said = True
            time.sleep(1)

    def fit_to_cluster(self, *, autoscaling: bool) -> int:
        """Look at the machines, and hand out no more phases than they hold now; how many that is.

        So none waits in Tune's queue, and one that finds no room does not keep another, which would, from being handed
        out. A cluster that grows on demand grows by the queue, so there all that is ready is handed out.
        """
        self.machines.look(at_work=[*self.search.trials.machines(), *self.search.attempts.where()])
        nodes = self.machines.usable()
        room = max(1, slots(self.plan, self.todo, nodes))
        self.live.concurrent = min(room, self.max_concurrent or room)
        self.gate.max_concurrent = self.max_concurrent
        if not autoscaling:
            self._nodes = nodes
            self.gate.has_room = lambda places: placed(wanted := _resources(places), nodes) == wanted
        return room

    def _together(self, kind: "Kind", ready: int) -> int:
        """How many of the ready phases of a kind begin as one trial: all its lanes, unless places stayed empty so."""
        if kind.pack is None:
            return 1
        taken = _resources(Counter(place.kind for place in set(self.gate.out.values())))
        before = taken[kind.resources] - 1
        places = placed(taken + Counter({kind.resources: ready}), self._nodes)[kind.resources] - before
        return min(kind.pack.lanes, math.ceil(ready / max(1, places)))

    def _gave_up(self, key: str) -> None:
        """A phase of a pack has failed too often, whatever it was."""
        folder = self.store.phase(key)
        last = (folder.failures() or [{"error": "it failed"}])[-1]
        folder.write_failure({**last, "error": f"{last['error']}; tried often enough", "final": True})

    def give_room(self, keys: list[str]) -> None:
        """A worker was killed for want of memory: on this machine, no more at a time than are left at work, or one
        less than it had itself.

        A phase to which that happens again and again while it works alone is given up.
        """
        at_work = sum(state is State.RUNNING for state in self.gate.states.values()) + len(keys) - 1
        if not self._local:
            way_out = "; with more in resources.memory_gb, fewer phases share a machine"
        elif at_work:
            way_out = f"; from here on {at_work} at a time"
            self.max_concurrent = at_work
            self.fit_to_cluster(autoscaling=False)
        else:
            way_out = ", and none worked beside it: free memory, or ask for more"
            (key,) = keys
            self._killed_alone[key] += 1
            if self._killed_alone[key] >= KILLED_ALONE:
                self.gate.give_up(key)
        label = self.plan.phases[keys[0]].label + (f" and {len(keys) - 1} beside it" if len(keys) > 1 else "")
        self.live.say(f"{label}: its worker was killed for want of memory{way_out}")

    def _fit(self, stop: StopRequest, folder: Path, *, autoscaling: bool) -> None:
        from ray import tune

        from nbsp_ray.orchestration.callbacks import ExperimentHooks, Stopper
        from nbsp_ray.orchestration.trainable import Trainable

        # A process starts in seconds, so one works on many phases; but only its end lets go of a GPU.
        reuse = not any(self.plan.phases[key].resources.gpus for key in self.todo)
        hooks = ExperimentHooks(
            self.store,
            self.gate,
            self.search.trials.keys_of,
            stop,
            lambda: self.fit_to_cluster(autoscaling=autoscaling),
            self.give_room,
            at_once=autoscaling,
            host=lambda ip: self.machines.name(self.machines.at(ip)),
        )
        tuner = tune.Tuner(
            Trainable,
            tune_config=tune.TuneConfig(
                search_alg=self.search,
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
        )
        with reservations_released():
            tuner.fit()

    def _config(self, keys: list[str]) -> dict[str, Any]:
        from nbsp_ray.orchestration.machines import code

        kind = self._kind(keys[0])
        phases = [
            PhaseJob(
                spec=phase.spec,
                evaluations=tuple(phase.evaluations.values()),
                keep_buffer=phase.keep_buffer,
                label=phase.label,
            )
            for phase in (self.plan.phases[key] for key in keys)
        ]
        job = Job(
            root=self.store.address,
            phases=tuple(phases),
            pack=None if kind.pack is None else self._pack_job(kind.pack),
            resources=kind.resources,
            pace=pace(self.live.concurrent or 1),
            code=None if self._local else code(),
            selector={} if self._local else self.machines.selector(kind.resources),
        )
        return job.model_dump(mode="json")

    def _pack_job(self, pack: Packing) -> PackJob:
        """Made once: all phases of the sweep are looked at for it, and packs are handed phases all the time."""
        if pack in self._packs:
            return self._packs[pack]
        alike = [self.plan.phases[key] for key, one in self._packing.items() if one == pack]
        self._packs[pack] = PackJob(
            lanes=pack.lanes,
            largest=max((phase.spec for phase in alike), key=lambda one: one.learning.env_steps),
            capacity=capacity(alike),
            lane_bytes=lane_bytes(self.plan, [phase.key for phase in alike]),
        )
        return self._packs[pack]

    def _done(self, key: str) -> bool:
        """Whether the store has all of a phase; it only raises, to end all, if the storage stays away."""
        try:
            return is_complete(self.plan.phases[key], self._seen)
        except StorageAwayError as error:
            self.away = error
            self.store.files.patience = 0.0  # On the way out nobody waits for it again.
            raise
        except Exception:
            log.exception("phase %s cannot be looked at", key)
            return False

    def outcome(self, *, interrupted: bool) -> Outcome:
        """What became of the plan, by the store."""
        self._seen = self.store.snapshot(self.plan.phases)
        states = {key: State.DONE if self._done(key) else state for key, state in self.gate.states.items()}
        counts = {state: sum(found is state for found in states.values()) for state in State}
        done, failed, blocked = counts[State.DONE], counts[State.FAILED], counts[State.BLOCKED]
        return Outcome(done, failed, blocked, len(states) - done - failed - blocked, interrupted=interrupted)


def _trial_id(trial: Any) -> str:
    return str(trial.trial_id)
