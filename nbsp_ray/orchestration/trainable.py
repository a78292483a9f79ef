"""One phase, or a pack of them, as Tune sees it: a class that works for a few seconds when asked.

Whatever ends a worker, the next one goes on from the phases' checkpoints in the store; Tune's own checkpoints are not
used. A phase that fails in the same way at the same place again and again is given up.
"""

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle, tune

from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import ClusterError, DamagedPhaseError, StorageAwayError
from nbsp_ray.methods import read_ingredients
from nbsp_ray.orchestration.failures import keep_failure
from nbsp_ray.orchestration.jobs import GAVE_UP, LEAVES, NODE, PHASES, PUT_BACK, STEP_SECONDS, WORKER, Job, PhaseJob
from nbsp_ray.orchestration.machines import code, difference
from nbsp_ray.orchestration.packed import PackWork
from nbsp_ray.store import Store
from nbsp_ray.store.files import WORKING_PATIENCE
from nbsp_ray.units import plural

if TYPE_CHECKING:
    from nbsp_ray.learning.run import PhaseRun, Progress

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Trainable(tune.Trainable):
    """Works on one phase, or on a pack."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What is asked of the cluster."""
        job = Job.model_validate(config)
        where: dict[str, Any] = {"bundle_label_selector": [job.selector]} if job.selector else {}
        return tune.PlacementGroupFactory([request(job.resources)], **where)

    def setup(self, config: dict[str, Any]) -> None:
        """Settle the worker's environment. The first step opens the phase, for Tune does not retry a failed setup."""
        self._run: PhaseRun | None = None
        self._packed: PackWork | None = None
        self._job = Job.model_validate(config)
        if self._job.code is not None and (other := difference(code(), self._job.code)) is not None:
            raise ClusterError(f"{socket.gethostname()} {other}")
        store = Store(self._job.root, patience=WORKING_PATIENCE)
        self._store, self._phase = store, self._job.phases[0]
        self._folder = store.phase(self._phase.spec.key())
        for name in THREADS:
            os.environ[name] = str(self._job.resources.cpus)
        if not self._job.resources.gpus and self._job.resources.device != "cuda":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves a trial without GPUs all of them to see.
        if self._job.pack is not None:
            self._packed = PackWork(store, self._job)

    def step(self) -> dict[str, Any]:
        """Work for a few seconds."""
        return self._step_of_one() if self._packed is None else self._step_of_pack(self._packed)

    def _step_of_pack(self, packed: PackWork) -> dict[str, Any]:
        node, draining = self._node()
        if draining:
            packed.halt()
        if packed.over:
            self.cleanup()
            return {"done": True, PHASES: [], NODE: node, LEAVES: draining}
        worker = cloudpickle.dumps(ray.get_runtime_context().current_actor).hex()
        return {**packed.step(STEP_SECONDS), NODE: node, WORKER: worker}

    def hand(self, phases: list[dict[str, Any]]) -> None:
        """More phases for the pack."""
        if self._packed is not None:
            self._packed.hand([PhaseJob.model_validate(one) for one in phases])

    def halt(self) -> None:
        """The pack saves each phase where its episode ends, and then is over."""
        if self._packed is not None:
            self._packed.halt()

    def _step_of_one(self) -> dict[str, Any]:
        try:
            if self._run is None:
                self._run = self._open()
            progress = self._run.advance(STEP_SECONDS)
            node, draining = self._node()
            if not progress.done and draining:
                self.cleanup()
                return {**_scalars(progress), NODE: node, "done": True, LEAVES: True}
        except StorageAwayError:
            self._run = None
            raise
        except DamagedPhaseError as error:
            self._store.phase(error.key).set_aside(error)
            self._run = None
            return {"done": True, PUT_BACK: True}
        except Exception as error:
            failed_at = self._env_steps()
            self._run = None  # It may stand in the middle of an episode, so it must not be saved any more.
            if not keep_failure(self._folder, error, failed_at):
                raise
            return {"done": True, GAVE_UP: True}
        return {**_scalars(progress), NODE: node}

    def __repr__(self) -> str:
        """What the dashboard and `ray list actors` call the worker."""
        job = getattr(self, "_job", None)
        if job is None:
            return type(self).__name__
        first = job.phases[0]
        label = first.label or first.spec.key()
        return label if job.pack is None else f"{plural(len(job.phases), 'phase')}, the first {label}"

    def cleanup(self) -> None:
        """Save where the phase stands; Tune stops the worker, and allows ten seconds for it."""
        packed, self._packed = self._packed, None
        if packed is not None:
            packed.save()
        run, self._run = self._run, None
        if run is None or run.progress().done:
            return
        run.save()
        told = self._folder.progress()
        if told:
            self._folder.write_progress(told | {"env_steps": run.progress().env_steps, "stopped": True})

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another phase: starting a process takes longer than a small phase."""
        self.cleanup()
        self.setup(new_config)
        return True

    def _open(self) -> "PhaseRun":
        from nbsp_ray.learning.run import PhaseRun  # Imports torch, which reads the environment.

        one, resources = self._phase, self._job.resources
        ingredients = read_ingredients(one.spec)
        run = PhaseRun(self._store, one.spec, ingredients, one.evaluations, resources, keep_buffer=one.keep_buffer)
        run.pace = max(run.pace, self._job.pace)
        return run

    def _env_steps(self) -> int:
        with contextlib.suppress(Exception):
            return self._run.progress().env_steps if self._run else 0
        return 0

    def _node(self) -> tuple[str | None, bool]:
        """Ray's id of this machine, and whether the cluster takes it away soon (a spot machine); false if unknown."""
        try:
            node = str(ray.get_runtime_context().get_node_id())
            return node, node in ray._private.state.state.get_draining_nodes()
        except Exception:
            return None, False


def request(resources: Resources) -> dict[str, float]:
    """What a phase asks for, in Ray's words."""
    asked: dict[str, float] = {"CPU": resources.cpus}
    if resources.gpus:
        asked["GPU"] = resources.gpus
    if resources.memory_gb:
        asked["memory"] = resources.memory_gb * 2**30
    return asked


def _scalars(progress: "Progress") -> dict[str, Any]:
    """A light report: Tune's driver reads every one of them."""
    return {
        "done": progress.done,
        "stage": progress.stage,
        "env_steps": progress.env_steps,
        "updates": progress.updates,
        "success": progress.success,
        "env_steps_per_second": progress.env_steps_per_second,
    }
