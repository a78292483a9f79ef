"""nbsp_ray: sweeps of two-phase continual reinforcement learning trials on Ray.

    import nbsp_ray

    store = nbsp_ray.Store("results", create=True)
    plan = nbsp_ray.load_sweep("toy", ["seeds=0"]).plan(store)
    nbsp_ray.run_trial(plan, plan.trials[0], store)             # in this process; running again goes on
    nbsp_ray.load_results("results", "toy", "seeds=0").finals   # one row per trial, a data frame
    agent = nbsp_ray.load_agent(store, plan.trials[0].phases[-1])
    action = agent.policy()(observation, None)                  # the most likely one
    phase = nbsp_ray.open_phase(store, plan, key)               # what `nbsp_ray.learning.phase.learn` works on

Each name is loaded when it is first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis import load_results
    from nbsp_ray.agents import load_agent
    from nbsp_ray.local import open_phase, run_trial
    from nbsp_ray.plan.build import make_plan
    from nbsp_ray.store import Store
    from nbsp_ray.sweepfile import load_sweep
else:
    _HOMES = {
        "Store": "nbsp_ray.store",
        "load_agent": "nbsp_ray.agents",
        "load_results": "analysis",
        "load_sweep": "nbsp_ray.sweepfile",
        "make_plan": "nbsp_ray.plan.build",
        "open_phase": "nbsp_ray.local",
        "run_trial": "nbsp_ray.local",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if _HOMES[name] == "analysis":
            import_module("nbsp_ray.namesake").take_name()
        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__version__ = "0.1.0"
__all__ = ["Store", "load_agent", "load_results", "load_sweep", "make_plan", "open_phase", "run_trial"]
