"""Small toy sweeps for the tests of learning, methods and the store: a trial of them is learnt in about a second."""

from typing import Any

from nbsp_ray.config.schema import Resources, Sweep
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.methods import read_ingredients
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan, PlannedPhase, Trial
from nbsp_ray.store import Store

SMALL: dict[str, Any] = {
    "benchmark": "toy",
    "pairs": (("reach", "avoid"),),
    "methods": ("base",),
    "seeds": (0,),
    "sac": {
        "hidden": (12, 10),
        "batch_size": 16,
        "learning_starts": 50,
        "updates_per_env_step": 0.5,
        "actor_lr": 3e-3,
        "gamma": 0.9,
    },
    "first": {"env_steps": 200, "eval_every": 75, "eval_episodes": 2, "stop": "fixed"},
    "second": {"env_steps": 125, "eval_every": 75, "eval_episodes": 2, "stop": "fixed"},
    "evaluation": {"episodes": 5},
    # What a method does every thousand updates and more, a trial of two hundred would never see.
    "method": {"packnet_retrain_updates": 40, "redo_period": 40},
}
ONE_THREAD = Resources(cpus=1)


def toy_plan(**changes: Any) -> Plan:
    """A plan of `SMALL` with some settings changed: `toy_plan(first={"env_steps": 100})`."""
    settings = {
        name: value | changes.get(name, {}) if isinstance(value, dict) else changes.get(name, value)
        for name, value in (SMALL | {"skill_neurons": (0.2,), "resources": {}}).items()
    }
    return make_plan("toy", [Sweep.model_validate(settings)])


def trial_of(plan: Plan, method: str) -> Trial:
    """The only trial of a method."""
    (trial,) = (trial for trial in plan.trials if trial.method == method)
    return trial


def phases_of(plan: Plan, method: str) -> list[PlannedPhase]:
    """The phases of the only trial of a method."""
    return [plan.phases[key] for key in trial_of(plan, method).phases]


def phase_run(store: Store, phase: PlannedPhase, resources: Resources = ONE_THREAD) -> PhaseRun:
    """A phase at work."""
    return PhaseRun(
        store,
        phase.spec,
        read_ingredients(phase.spec),
        list(phase.evaluations.values()),
        resources,
        keep_buffer=phase.keep_buffer,
    )


def run_whole(store: Store, phase: PlannedPhase) -> dict[str, Any]:
    """Run a phase to its end in one go; its result."""
    assert phase_run(store, phase).advance(600).done
    result = store.phase(phase.key).result()
    assert result is not None
    return result
