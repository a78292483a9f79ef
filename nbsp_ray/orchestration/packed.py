"""A pack as a worker of Ray has it: phases are handed to it while it works, and it tells how each of them ends."""

import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbsp_ray.errors import DamagedPhaseError, StorageAwayError
from nbsp_ray.methods import read_ingredients
from nbsp_ray.orchestration.failures import keep_failure
from nbsp_ray.orchestration.jobs import DONE, FAILED, GAVE_UP, PHASES, PUT_BACK, ROOM, End, Job, PhaseJob
from nbsp_ray.plan.lanes import lanes_on_gpu
from nbsp_ray.store import Store

if TYPE_CHECKING:
    from nbsp_ray.learning.pack import Pack
    from nbsp_ray.learning.run import PhaseRun

log = logging.getLogger(__name__)
SAVING_SECONDS = 8.0
"""Tune allows ten to a worker that it stops; the driver of a pack asks it to halt first, which may take longer."""


class PackWork:
    """What becomes of the phases of a pack.

    Args:
        store: Where they are kept.
        job: What there is to do.
    """

    def __init__(self, store: Store, job: Job) -> None:
        assert job.pack is not None
        self._store, self._job, self._about = store, job, job.pack
        self._pack: Pack | None = None
        self._waiting = deque[PhaseJob]()
        self._runs: dict[str, PhaseRun | None] = {}
        """The phases that were handed to it and have not ended, by key; None of one that has not begun."""
        self._done: list[str] = []
        self._halted = False
        self.hand(job.phases)

    def hand(self, phases: Sequence[PhaseJob]) -> None:
        """Take more phases."""
        self._waiting.extend(phases)
        self._runs |= dict.fromkeys(one.spec.key() for one in phases)

    def halt(self) -> None:
        """Save each phase where its episode ends, and begin no more."""
        self._halted = True

    @property
    def over(self) -> bool:
        """Whether all is told, and nothing is left to do here."""
        return self._pack is not None and self._pack.idle and (self._halted or not self._waiting)

    def step(self, seconds: float) -> dict[str, Any]:
        """Work for about so long; how far each phase is and which have ended, and the room for more."""
        try:
            if self._pack is None:
                self._pack = self._made()
            self._pack.run(self._open_next, seconds)
        except Exception as error:  # Of all of them: a launch on the device, a lack of memory.
            self._let_go()
            return {"done": True, PHASES: [self._end(key, self._failed(key, error)) for key in list(self._runs)]}
        self._runs |= {run.folder.key: run for run in self._pack.runs}
        failures = list(self._pack.failures.items())
        self._pack.failures.clear()
        ended = [self._end(key, DONE) for key in self._done]
        ended += [self._end(key, self._failed(key, error)) for key, error in failures]
        self._done.clear()
        at_work = [(key, self._env_steps(key), None) for key in self._runs]
        room = 0 if self._halted else max(0, self._pack.room - len(self._waiting))
        return {"done": False, PHASES: [*ended, *at_work], ROOM: room}

    def save(self) -> None:
        """Save what can be saved within Tune's patience, and let go of all."""
        self._halted = True
        if self._pack is not None:
            self._pack.run(self._open_next, SAVING_SECONDS)
            self._let_go()
        for key in self._runs:
            folder = self._store.phase(key)
            if told := folder.progress():
                folder.write_progress(told | {"stopped": True})

    def _let_go(self) -> None:
        pack, self._pack = self._pack, None
        if pack is not None:
            pack.close()

    def _made(self) -> "Pack":
        from nbsp_ray.learning.pack import new_pack  # Imports torch, which reads the environment.

        about, resources = self._about, self._job.resources
        return new_pack(
            about.largest,
            self._slots(),
            about.capacity,
            resources,
            resources.cpus,
            stopped=lambda: self._halted,
            report=self._report,
        )

    def _slots(self) -> int:
        """As many lanes as are asked for, or as the GPU here holds."""
        import torch

        from nbsp_ray.learning.machine import find_device

        about, resources = self._about, self._job.resources
        device = find_device(resources)
        if device.type != "cuda":
            return about.lanes
        free, total = torch.cuda.mem_get_info(device)
        share = min(free, int(total * resources.gpus)) if 0 < resources.gpus < 1 else free
        return lanes_on_gpu(resources, about.lanes, about.lane_bytes, share)

    def _open_next(self) -> "PhaseRun | None":
        from nbsp_ray.learning.run import PhaseRun

        if not self._waiting:
            return None
        one = self._waiting.popleft()
        ingredients = read_ingredients(one.spec)
        resources = self._job.resources
        run = PhaseRun(self._store, one.spec, ingredients, one.evaluations, resources, keep_buffer=one.keep_buffer)
        self._runs[run.folder.key] = run
        return run

    def _report(self, run: "PhaseRun") -> None:
        if run.progress().done:
            self._done.append(run.folder.key)

    def _end(self, key: str, how: End) -> tuple[str, int, End]:
        env_steps = self._env_steps(key)
        del self._runs[key]
        return key, env_steps, how

    def _env_steps(self, key: str) -> int:
        run = self._runs[key]
        return 0 if run is None else run.progress().env_steps

    def _failed(self, key: str, error: Exception) -> End:
        if isinstance(error, DamagedPhaseError):
            self._store.phase(error.key).set_aside(error)
            return PUT_BACK
        if isinstance(error, StorageAwayError):
            return FAILED
        return GAVE_UP if keep_failure(self._store.phase(key), error, self._env_steps(key)) else FAILED
