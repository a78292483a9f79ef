"""For those who want it: finished trials as runs of an experiment tracker, and a command when something ends.

Off by default, and nothing is sent anywhere unasked: each tracker writes to its local or offline form unless its own
variables (WANDB_MODE, MLFLOW_TRACKING_URI, ...) say otherwise. Everything is read from the store by a thread of the
driver, so whatever goes wrong with a tracker is said once, and the sweep goes on.
"""

import contextlib
import importlib.util
import math
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nbsp_ray.errors import ConfigError
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.status import StatusReader, SweepStatus
from nbsp_ray.store import Store

SECONDS = 30.0
HOOK_SECONDS = 60.0
METRICS = {
    "stability": "first_after",
    "plasticity": "second",
    "first_before": "first_before",
    "forgetting": "forgetting",
}
"""Names in a tracker, and the columns of `Results.finals` they come from."""


@dataclass(frozen=True)
class TrackedTrial:
    """What a tracker gets of a trial; its run has one curve per phase and task, over env steps."""

    project: str
    name: str
    config: Mapping[str, Any]
    curves: Sequence[tuple[str, int, float]]
    """Name, env steps, value; env steps count from the beginning of the trial."""
    metrics: Mapping[str, float]


def _tensorboard(trial: TrackedTrial, folder: str) -> None:
    from tensorboardX import SummaryWriter

    with SummaryWriter(logdir=f"{folder}/{trial.name}") as writer:
        writer.add_text("config", "\n".join(f"- {name}: {value}" for name, value in trial.config.items()))
        for name, env_steps, value in trial.curves:
            writer.add_scalar(name, value, env_steps)
        for name, value in trial.metrics.items():
            writer.add_scalar(name, value, 0)


def _wandb(trial: TrackedTrial, folder: str) -> None:
    import wandb

    mode = os.environ.get("WANDB_MODE", "offline")
    quiet = wandb.Settings(silent=True)
    run = wandb.init(
        project=trial.project, name=trial.name, config=dict(trial.config), dir=folder, mode=mode, settings=quiet
    )
    with run:
        for name, env_steps, value in sorted(trial.curves, key=lambda one: one[1]):
            run.log({name: value, "env_steps": env_steps})
        run.summary.update(dict(trial.metrics))


def _mlflow(trial: TrackedTrial, folder: str) -> None:
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(trial.project)
    with mlflow.start_run(run_name=trial.name):
        mlflow.log_params(dict(trial.config))
        for name, env_steps, value in trial.curves:
            mlflow.log_metric(name, value, step=env_steps)
        mlflow.log_metrics(dict(trial.metrics))


def _trackio(trial: TrackedTrial, folder: str) -> None:
    os.environ.setdefault("TRACKIO_DIR", folder)
    import trackio

    trackio.init(project=trial.project, name=trial.name, config=dict(trial.config))
    for name, env_steps, value in sorted(trial.curves, key=lambda one: one[1]):
        trackio.log({name: value}, step=env_steps)
    trackio.log(dict(trial.metrics))
    trackio.finish()


TRACKERS: dict[str, tuple[str, Callable[[TrackedTrial, str], None]]] = {
    "tensorboard": ("tensorboardX", _tensorboard),
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
    "trackio": ("trackio", _trackio),
}
"""By name: the module that must be there, and what writes a trial."""


def check_tracker(name: str | None) -> None:
    """The tracker is known, and installed.

    Raises:
        ConfigError: it is not.
    """
    if name is None:
        return
    if name not in TRACKERS:
        raise ConfigError(f"no tracker {name!r}; there are {', '.join(TRACKERS)}")
    module = TRACKERS[name][0]
    if importlib.util.find_spec(module) is None:
        package = f"nbsp-ray[{name}]" if name in ("wandb", "mlflow") else module
        raise ConfigError(f"--tracker {name} needs the Python module {module}: pip install {package!r}")


@contextlib.contextmanager
def notices(
    plan: Plan, store: Store, *, tracker: str | None, on_end: str | None, say: Callable[[str], None]
) -> Iterator[None]:
    """While the `with` block runs, finished trials go to the tracker, and `on_end` is called at a first failure.

    Args:
        plan: What is run.
        store: Where it is kept; what a tracker writes goes to its folder `trackers`.
        tracker: One of `TRACKERS`; None for none.
        on_end: A command for the shell. It finds NBSP_RAY_EVENT (`failure`: a phase was given up, once; `end`: see
            `tell_end`), NBSP_RAY_SWEEP, NBSP_RAY_DONE, NBSP_RAY_FAILED, NBSP_RAY_LEFT and NBSP_RAY_ERROR in its
            environment.
        say: Told of trouble.
    """
    if tracker is None and on_end is None:
        yield
        return
    watch = _Watch(plan, store, tracker, on_end, say)
    over = threading.Event()

    def run() -> None:
        while not over.wait(SECONDS):
            watch.look()

    thread = threading.Thread(target=run, name="nbsp-notices", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        watch.look()


def tell_end(plan: Plan, store: Store, on_end: str | None, say: Callable[[str], None]) -> None:
    """Call `on_end` for the end of a sweep; of a search, for that of its last round."""
    _Watch(plan, store, None, on_end, say).look(ended=True)


class _Watch:
    """What has been told of a plan."""

    def __init__(
        self, plan: Plan, store: Store, tracker: str | None, on_end: str | None, say: Callable[[str], None]
    ) -> None:
        self._plan, self._store, self._tracker, self._on_end, self._say = plan, store, tracker, on_end, say
        self._reader = StatusReader(plan, store)
        self._left = list(plan.trials)
        self._failure_told = False

    def look(self, *, ended: bool = False) -> None:
        """Tell what is new."""
        try:
            now = self._reader.read()
            self._track(now)
            if ended:
                self._call("end", now)
            elif now.failed and not self._failure_told:
                self._failure_told = True
                self._call("failure", now)
        except Exception as error:  # The sweep is worth more than its notices.
            if self._tracker is None and self._on_end is None:
                return
            self._say(f"notices end, the sweep goes on: {type(error).__name__}: {error}")
            self._tracker = self._on_end = None

    def _track(self, now: SweepStatus) -> None:
        if self._tracker is None:
            return
        done = set(now.done)
        for trial in [trial for trial in self._left if done.issuperset(trial.phases)]:
            mark = f"trackers/{self._tracker}.{trial.phases[-1]}.{trial.name}"
            if not self._store.files.exists(mark):
                folder = self._store.files.path(f"trackers/{self._tracker}")
                folder.mkdir(parents=True, exist_ok=True)
                TRACKERS[self._tracker][1](tracked(self._plan, trial, self._store), str(folder))
                self._store.files.write(mark, b"")  # Running again tells no trial twice.
            self._left.remove(trial)

    def _call(self, event: str, now: SweepStatus) -> None:
        if self._on_end is None:
            return
        errors = [phase.error for phase in now.phases if phase.state == "failed" and phase.error]
        told = {
            "EVENT": event,
            "SWEEP": now.name,
            "DONE": str(len(now.done)),
            "FAILED": str(len(now.failed)),
            "LEFT": str(len(now.left)),
            "ERROR": errors[0] if errors else "",
        }
        environment = os.environ | {f"NBSP_RAY_{name}": value for name, value in told.items()}
        ended = subprocess.run(self._on_end, shell=True, env=environment, timeout=HOOK_SECONDS, check=False)
        if ended.returncode:
            self._say(f"--on-end: `{self._on_end}` ended with code {ended.returncode}")


def tracked(plan: Plan, trial: Trial, store: Store) -> TrackedTrial:
    """What a tracker gets of a finished trial."""
    from analysis import load

    phases = {key: plan.phases[key] for key in trial.phases}
    found = load(store.address, replace(plan, trials=(trial,), phases=phases))
    row = found.finals.iloc[0].to_dict()
    began, starts = 0, dict[int, int]()
    for place, key in enumerate(trial.phases):
        starts[place] = began
        began += plan.phases[key].spec.learning.env_steps
    curves = [
        (f"{point['task']}/{name}", starts[int(point["phase"])] + int(point["env_steps"]), float(point[name]))
        for point in found.curves.to_dict("records")
        if point["kind"] == "evaluation"
        for name in ("success", "env_return")
        if _is_number(point[name])
    ]
    metrics = {name: float(row[column]) for name, column in METRICS.items() if _is_number(row.get(column))}
    config = {
        "benchmark": trial.benchmark,
        "tasks": " > ".join(trial.tasks),
        "method": trial.method,
        "seed": trial.seed,
        "skill_neurons": trial.skill_neurons,
        "phases": " ".join(trial.phases),
    }
    return TrackedTrial(plan.name, trial.name, config, curves, metrics)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)
