"""One phase as Tune sees it: a class that works for a few seconds when asked, around the Ray-free `PhaseRun`.

Whatever ends a worker, the next one goes on from the phase's checkpoint in the store; Tune's own checkpoints are not
used. A phase that fails in the same way at the same place again and again is given up.
"""

import contextlib
import logging
import os
import re
import socket
import traceback
from typing import TYPE_CHECKING, Any

import ray
from pydantic import Field
from ray import tune

from nbsp_ray.config.schema import Resources, Settings
from nbsp_ray.errors import ClusterError, ConfigError, DamagedPhaseError, StorageAwayError
from nbsp_ray.methods import read_ingredients
from nbsp_ray.orchestration.gated_search import GAVE_UP, LEAVES, NODE, PUT_BACK
from nbsp_ray.orchestration.machines import code, difference
from nbsp_ray.specs import EvaluationSpec, PhaseSpec
from nbsp_ray.store import Store
from nbsp_ray.store.files import WORKING_PATIENCE

if TYPE_CHECKING:
    from nbsp_ray.learning.run import PhaseRun, Progress

log = logging.getLogger(__name__)
STEP_SECONDS = 3.0
"""A step ends with the episode under way; a wish to stop is heard between two steps."""
SAME_FAILURES = 3
"""The same traceback at the same env step so many times is no accident."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Job(Settings):
    """All that a worker must know of a phase; Tune's config of its trial."""

    root: str
    """The results root, absolute: the same path on every machine."""
    spec: PhaseSpec
    evaluations: tuple[EvaluationSpec, ...]
    keep_buffer: bool = False
    resources: Resources
    label: str = ""
    """For people who look at Ray's lists of workers."""
    code: dict[str, str | None] | None = None
    """What of the driver's code this worker's must equal; None where both run from the same files."""
    pace: float = 0.0
    """Seconds between two tellings of how far it is, at least: the more work side by side, the longer."""
    selector: dict[str, str] = Field(default_factory=dict[str, str])
    """Labels of the machines that may be used, as Ray understands them."""


class Trainable(tune.Trainable):
    """Works on one phase."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What the phase asks of the cluster."""
        job = Job.model_validate(config)
        where: dict[str, Any] = {"bundle_label_selector": [job.selector]} if job.selector else {}
        return tune.PlacementGroupFactory([request(job.resources)], **where)

    def setup(self, config: dict[str, Any]) -> None:
        """Settle the worker's environment. The first step opens the phase, for Tune does not retry a failed setup."""
        self._run: PhaseRun | None = None
        self._job = Job.model_validate(config)
        if self._job.code is not None and (other := difference(code(), self._job.code)) is not None:
            raise ClusterError(f"{socket.gethostname()} {other}")
        store = Store(self._job.root, patience=WORKING_PATIENCE)
        self._store, self._folder = store, store.phase(self._job.spec.key())
        for name in THREADS:
            os.environ[name] = str(self._job.resources.cpus)
        if not self._job.resources.gpus and self._job.resources.device != "cuda":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves a trial without GPUs all of them to see.

    def step(self) -> dict[str, Any]:
        """Work for a few seconds."""
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
            if not self._give_up(error, failed_at):
                raise
            return {"done": True, GAVE_UP: True}
        return {**_scalars(progress), NODE: node}

    def __repr__(self) -> str:
        """What the dashboard and `ray list actors` call the worker."""
        job = getattr(self, "_job", None)
        return (job.label or job.spec.key()) if job else type(self).__name__

    def cleanup(self) -> None:
        """Save where the phase stands; Tune stops the worker, and allows ten seconds for it."""
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

        job = self._job
        ingredients = read_ingredients(job.spec)
        run = PhaseRun(self._store, job.spec, ingredients, job.evaluations, job.resources, keep_buffer=job.keep_buffer)
        run.pace = max(run.pace, job.pace)
        return run

    def _env_steps(self) -> int:
        with contextlib.suppress(Exception):
            return self._run.progress().env_steps if self._run else 0
        return 0

    def _give_up(self, error: Exception, env_steps: int) -> bool:
        """Keep the traceback, and say whether the phase has failed like that too often."""
        failure = describe(error) | {"env_steps": env_steps, "host": socket.gethostname()}
        same = SAME_FAILURES if isinstance(error, ConfigError) else 1  # What the settings ask for is not here, ever.
        try:
            same += sum(fingerprint(earlier) == fingerprint(failure) for earlier in self._folder.failures())
            self._folder.write_failure(failure | {"final": same >= SAME_FAILURES})
        except Exception:
            log.exception("the failure of phase %s could not be stored", self._folder.key)
        return same >= SAME_FAILURES

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


def describe(error: BaseException) -> dict[str, str]:
    """`error` (kind and first line of its text) and `traceback`, for `write_failure`."""
    text = str(error).strip()
    first = text.splitlines()[0] if text else ""
    return {
        "error": f"{type(error).__name__}: {first}" if first else type(error).__name__,
        "traceback": "".join(traceback.format_exception(error)),
    }


def fingerprint(failure: dict[str, Any]) -> tuple[Any, str]:
    """What makes two failures the same: where the phase was, and the traceback without addresses and random names."""
    return failure.get("env_steps"), re.sub(r"0x[0-9a-f]+|[0-9a-f]{8,}", "#", str(failure.get("traceback")))


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
