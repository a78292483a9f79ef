"""Building on imported phases: what came from an archive is a result, and its agent, buffer and rollouts are elsewhere.

A phase that is not done yet and would start from an imported one starts from a *replicate* of it: the same phase once
more, with `replicate` in its spec and so a key of its own, trained here, once, whoever needs it. The imported result
stays as it is. A trial that rests on a replicate says so wherever it is shown, and shares no first phase with imported
trials, so that no table pairs the two.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from nbsp_ray.errors import DamagedPhaseError
from nbsp_ray.specs import PhaseSpec, Plan, PlannedPhase
from nbsp_ray.store import Store


def on_replicates(plan: Plan, store: Store) -> Plan:
    """The plan as it can be run in `store`: phases that would rest on imported ones rest on replicates of them."""
    store = store.snapshot()
    begun = set(store.phases())
    imported = frozenset(key for key in plan.phases if key in begun and _is_imported(store, key))
    return _Rewriter(plan, store, imported).plan() if imported else plan


def _is_imported(store: Store, key: str) -> bool:
    """Whether it is imported and whole: what is damaged is trained anew, which it can be built on."""
    try:
        return store.phase(key).imported()
    except DamagedPhaseError:
        return False


def _is_complete(store: Store, key: str, phase: PlannedPhase) -> bool:
    try:
        return store.phase(key).is_complete(phase.evaluations, with_buffer=phase.keep_buffer)
    except DamagedPhaseError:
        return False


def rests_on(plan: Plan, phases: tuple[str, ...]) -> int | None:
    """The number of the replicate that a trial with these phases rests on; None if it rests on none."""
    return max((number for key in phases if (number := plan.phases[key].spec.replicate)), default=None)


class _Rewriter:
    """Puts replicates into a plan."""

    def __init__(self, plan: Plan, store: Store, imported: frozenset[str]) -> None:
        self._plan, self._store, self._imported = plan, store, imported
        self._phases: dict[str, PlannedPhase] = {}
        self._moved: dict[str, str] = {}
        """The key of each unfinished phase in the plan as it was, and the one it has now."""

    def plan(self) -> Plan:
        for key, phase in self._plan.phases.items():
            if _is_complete(self._store, key, phase):
                self._phases[key] = phase
            else:
                self._moved[key] = self._place(phase)
        trials = tuple(replace(trial, phases=self._chain(trial.phases[-1])) for trial in self._plan.trials)
        return replace(self._plan, phases=self._phases, trials=trials)

    def _place(self, phase: PlannedPhase) -> str:
        """Add an unfinished phase on the first replicate that can be trained here, or on which it has been finished."""
        for number in count(1):
            spec, needs = self._on(phase.spec, number)
            key = spec.key()
            elsewhere = any(_is_imported(self._store, need) for need in needs)
            if not elsewhere or self._store.phase(key).done():
                break
        self._phases |= {need: one for need, one in needs.items() if need not in self._phases}
        label = phase.label if not needs else f"{phase.label}, on replicate {number}"
        self._phases[key] = replace(phase, key=key, spec=spec, label=label)
        return key

    def _on(self, spec: PhaseSpec, number: int) -> tuple[PhaseSpec, dict[str, PlannedPhase]]:
        """A spec on replicates `number` of the imported phases it needs; these and what they need, in order."""
        replicates: dict[str, PlannedPhase] = {}
        keys = {need: self._moved.get(need, need) for need in spec.needs}
        for need in [one for one in keys if one in self._imported]:
            phase = self._plan.phases[need]
            own, before = self._on(phase.spec, number)
            own = own.model_copy(update={"replicate": number})
            keys[need] = own.key()
            label = f"{phase.label}, replicate {number}"
            replicates |= before | {own.key(): replace(phase, key=own.key(), spec=own, label=label)}
        auxiliary = {method: keys[key] for method, key in spec.auxiliary.items()}
        previous = keys[spec.previous] if spec.previous else None
        return spec.model_copy(update={"previous": previous, "auxiliary": auxiliary}), replicates

    def _chain(self, last: str) -> tuple[str, ...]:
        """The phases of the trial that ends with `last`, oldest first."""
        return tuple(reversed(list(self._back(self._moved.get(last, last)))))

    def _back(self, key: str | None) -> Iterator[str]:
        while key is not None:
            yield key
            key = self._phases[key].spec.previous
