"""The hooks: when each is called, what it may change, and that nothing passes silently."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from small_agent import new_agent, past_of, replay
from toy_phases import phase_run, phases_of, run_whole, toy_plan

from nbsp_ray.errors import PhaseError
from nbsp_ray.layout import Parts
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.hooks import ActiveMethod, Arrays, Ingredient, Past, Prepared
from nbsp_ray.learning.replay import AnyReplay
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.learning.sac import QuadraticPenalty, UpdateRule
from nbsp_ray.store import Store


class Meddler(Ingredient):
    """Changes its past in a hook; `begin` makes it one that may have an effect."""

    kind: Literal["meddler"] = "meddler"
    hook: str
    what: str

    def _meddle(self, hook: str, past: Past) -> None:
        if hook == self.hook:
            MEDDLE[self.what](past)

    def prepare(self, past: Past) -> Prepared:
        self._meddle("prepare", past)
        return Prepared()

    def begin(self, arrays: Arrays, past: Past, agent: Agent) -> None:
        self._meddle("begin", past)

    def finish(self, arrays: Arrays, past: Past, agent: Agent) -> Mapping[str, Any]:
        self._meddle("finish", past)
        return {}


def write_a_row(past: Past) -> None:
    past.replay.restore(0, past.replay.rows(1, 2))


MEDDLE: dict[str, Callable[[Past], Any]] = {
    "nothing": lambda past: past.replay.sample(4, torch.Generator()),
    "agent": lambda past: past.agent.state.actor.zero_(),
    "agent by its memory": lambda past: past.agent.state.critic.numpy().fill(0),
    "optimizers": lambda past: past.agent.state.moments["actor"].mean.add_(1),
    "replay": write_a_row,
    "carried": lambda past: next(iter(past.carried.values())).fill(1),
}


@pytest.mark.parametrize("what", MEDDLE)
@pytest.mark.parametrize("hook", ["prepare", "begin", "finish"])
def test_a_past_that_is_changed_is_an_error(hook: str, what: str) -> None:
    agent, past = new_agent(), past_of(new_agent(), {"meddler.kept": np.zeros(2)})
    method = ActiveMethod((Meddler(hook=hook, what=what),))

    def whole() -> None:
        method.prepare(past)
        method.begin(past, agent)
        method.finish(past, agent)

    if what == "nothing":
        whole()
        return
    with pytest.raises(PhaseError, match=f"`{hook}` of ingredient meddler has changed the .* of its past"):
        whole()


def test_a_class_that_can_have_no_effect_cannot_be_defined() -> None:
    with pytest.raises(TypeError, match=r"OnlyReads can have no effect on learning: override one of begin, replays"):

        class OnlyReads(Ingredient):
            kind: Literal["only_reads"] = "only_reads"

            def prepare(self, past: Past) -> Prepared:
                return Prepared({"read": np.zeros(1)})

    with pytest.raises(TypeError, match=r"Forgetful replays, but is given no D_pre"):

        class Forgetful(Ingredient):
            kind: Literal["forgetful"] = "forgetful"

            def replays(self, update: int) -> Parts:
                return ("actor",)

    with pytest.raises(TypeError, match=r"Other is of kind 'meddler', as .*Meddler is"):

        class Other(Ingredient):
            kind: Literal["meddler"] = "meddler"

            def begin(self, arrays: Arrays, past: Past, agent: Agent) -> None: ...


class Misplaced(Ingredient):
    kind: Literal["misplaced"] = "misplaced"

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        return {"critics": UpdateRule()}


def test_rules_for_parts_that_are_not_there_are_an_error() -> None:
    with pytest.raises(ValueError, match="misplaced restrains 'critics'; there are actor, critic"):
        ActiveMethod((Misplaced(),)).restraints(new_agent())
    with pytest.raises(ValueError, match="restraints on critics, where only actor and critic learn"):
        new_agent().build_update({"critics": UpdateRule()})


class Misshapen(Ingredient):
    kind: Literal["misshapen"] = "misshapen"
    what: str

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        weights, one = agent.state.critic, torch.ones(1)
        if self.what == "update_scale":
            return {"critic": UpdateRule(update_scale=weights[0, 0])}
        given = {"coefficient": one, "weights": weights, "importance": None}
        given[self.what] = one.squeeze() if self.what == "coefficient" else weights[:, :1]
        return {"critic": UpdateRule(quadratic=(QuadraticPenalty(**given),))}


@pytest.mark.parametrize("what", ["update_scale", "weights", "importance", "coefficient"])
def test_rules_of_another_shape_are_an_error(what: str) -> None:
    """An agent alone would broadcast them; in a pack the first parameter's number would go to all of a lane."""
    parameters = new_agent().state.critic.shape[2]
    found = {"update_scale": (parameters,), "coefficient": ()}.get(what, (1, 1, parameters))
    wanted = (1,) if what == "coefficient" else (1, 2, parameters)
    message = f"ingredient misshapen: {what} of critic has shape {found}, it must be {wanted}"
    with pytest.raises(ValueError, match=re.escape(message)):
        ActiveMethod((Misshapen(what=what),)).restraints(new_agent())


def test_rules_that_read_the_memory_need_one() -> None:
    agent = new_agent()
    agent.build_update({"actor": UpdateRule(reads_memory=True)})
    with pytest.raises(ValueError, match="set needs_buffers"):
        agent.learn(replay(), torch.Generator())


def test_a_phase_is_given_the_ingredients_of_its_spec(tmp_path: Path) -> None:
    phase = phases_of(toy_plan(methods=("low_lr",)), "low_lr")[1]
    with pytest.raises(ValueError, match=r"the ingredients of phase .* are .*low_lr"):
        PhaseRun(Store(tmp_path, create=True), phase.spec, [], [], phase.resources)


class Counter(Ingredient):
    """Counts the episodes in its arrays, and moves the actor by a little in each."""

    kind: Literal["counter"] = "counter"

    def between(self, arrays: Arrays, agent: Agent, replay: AnyReplay, rng: np.random.Generator) -> Prepared:
        episodes = arrays.get("episodes", np.zeros(1, np.int64)) + 1
        agent.state.actor.add_(float(rng.normal()) * 1e-3)
        return Prepared({"episodes": episodes}, {"episodes": int(episodes[0])})


def test_what_happens_between_episodes_is_saved_and_resumed(tmp_path: Path) -> None:
    plain = phases_of(toy_plan(first={"env_steps": 150}), "base")[0]
    ingredient = Counter()
    spec = plain.spec.model_copy(update={"ingredients": (ingredient.model_dump(mode="json"),)})
    assert spec.key() != plain.spec.key()
    results = []
    for name, helping in (("whole", 600.0), ("broken", 0.0)):
        store = Store(tmp_path / name, create=True)
        while True:
            run = PhaseRun(store, spec, [ingredient], [], plain.resources)
            if run.advance(helping).done:
                break
            run.save()
        result = store.phase(spec.key()).result()
        assert result is not None
        results.append(result)
        assert store.phase(spec.key()).prepared()["counter.episodes"].tolist() == [result["episodes"]]
    episodes = sum(row["kind"] == "training" for row in store.phase(spec.key()).curve())
    assert [result["episodes"] for result in results] == [episodes, episodes]
    assert results[0]["digest"] == results[1]["digest"]
    assert results[0]["digest"] != run_whole(Store(tmp_path / "plain", create=True), plain)["digest"]


@pytest.mark.parametrize("method", ["l2_init", "redo", "agem"])
def test_a_method_of_the_field_resumes_bit_for_bit(method: str, tmp_path: Path) -> None:
    short = {"first": {"env_steps": 100}, "second": {"env_steps": 150}}
    phases = phases_of(toy_plan(methods=(method,), **short), method)
    digests = []
    for name, helping in (("whole", 600.0), ("broken", 0.0)):
        store = Store(tmp_path / name, create=True)
        for phase in phases:
            while (run := phase_run(store, phase)).advance(helping).stage == "learning":
                run.save()
            run.advance(600)
        result = store.phase(phases[1].key).result()
        assert result is not None
        digests.append((result["digest"], result.get("redo_recycled")))
    assert digests[0] == digests[1]
