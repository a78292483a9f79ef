import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from nbsp_ray.config import schema as config
from nbsp_ray.config.schema import Evaluation, Learning, Resources, Sac, Settings, Sweep
from nbsp_ray.methods import method_options, options_model

MODELS = [one for one in vars(config).values() if isinstance(one, type) and issubclass(one, Settings)]
MODELS += [options_model()]
FIELDS = [(model, name) for model in MODELS for name in model.model_fields]
LEAST: dict[str, Any] = {"benchmark": "toy", "pairs": [["reach", "avoid"]], "methods": ["base"]}


def sweep(**changes: Any) -> Sweep:
    return Sweep.model_validate_json(json.dumps(LEAST | changes), strict=True)


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda one: getattr(one, "__name__", one))
def test_every_setting_says_what_it_is(model: type[BaseModel], name: str) -> None:
    field = model.model_fields[name]
    is_section = isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
    assert field.description or (is_section and field.annotation and field.annotation.__doc__)


@pytest.mark.parametrize("model", [Sac, Learning, Evaluation, options_model(), Resources])
def test_defaults_stand_their_own_check(model: type[Settings]) -> None:
    assert model.model_validate_json(model().model_dump_json(), strict=True) == model()


def test_defaults_are_those_of_table_2() -> None:
    sac = Sac()
    assert (sac.hidden, sac.gamma, sac.buffer_size, sac.learning_starts) == ((256, 256), 0.99, 1_000_000, 10_000)
    assert (sac.batch_size, sac.actor_lr, sac.critic_lr, sac.tau) == (256, 3e-4, 1e-3, 0.005)
    assert (Learning().env_steps, Learning().stop_threshold, Learning().eval_episodes) == (1_000_000, 0.9, 10)
    assert method_options().replay_interval == 10
    assert Evaluation().episodes == 200


def test_a_preset_is_the_settings_that_it_stands_for() -> None:
    preset = sweep(sac={"network": "normalised", "gamma": 0.9}).sac
    alone = sweep(sac={"layer_norm": True, "reward_scale": "running", "updates_per_env_step": 2.0, "gamma": 0.9}).sac
    assert preset == alone
    assert "network" not in preset.model_dump()
    assert sweep(sac={"network": "normalised", "updates_per_env_step": 1.0}).sac.updates_per_env_step == 1
    assert sweep(sac={"network": "plain"}).sac == Sac()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Sac().gamma = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"gama": 0.9},
        {"sac": {"gama": 0.9}},
        {"sac": {"network": "normal"}},
        {"sac": {"gamma": 1.5}},
        {"sac": {"gamma": "0.9"}},
        {"sac": {"gamma": True}},
        {"sac": {"batch_size": "5"}},
        {"sac": {"batch_size": 1.5}},
        {"sac": {"batch_size": True}},
        {"sac": {"hidden": []}},
        {"sac": {"hidden": [0]}},
        {"sac": {"tau": 0}},
        {"sac": {"autotune": 1}},
        {"first": {"stop": "never"}},
        {"first": {"env_steps": 0}},
        {"seeds": [-1]},
        {"seeds": [2**32]},
        {"seeds": []},
        {"seeds": ["0-4"]},
        {"methods": []},
        {"pairs": []},
        {"pairs": [["reach"]]},
        {"pairs": [["reach", "avoid"], []]},
        {"skill_neurons": [-1]},
        {"skill_neurons": [-0.1]},
        {"skill_neurons": [1.1]},
        {"resources": {"memory_gb": 0}},
    ],
    ids=json.dumps,
)
def test_what_cannot_be_right_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        sweep(**wrong)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(ValidationError):
        Sac(alpha=value)


def test_a_whole_number_of_skill_neurons_is_a_count_and_a_fraction_is_not() -> None:
    one, every = sweep(skill_neurons=[1, 1.0]).skill_neurons
    assert (type(one), type(every)) == (int, float)


@pytest.mark.parametrize(
    ("axis", "values", "named"),
    [
        ("seeds", [0, 1, 0], "0"),
        ("methods", ["base", "base"], "base"),
        ("pairs", [["reach", "avoid"]] * 2, "reach > avoid"),
        ("pairs", [["reach", "avoid", "reach"]] * 2, "reach > avoid > reach"),
        ("skill_neurons", [0.2, 0.2], "0.2"),
    ],
)
def test_an_axis_lists_nothing_twice(axis: str, values: list[Any], named: str) -> None:
    with pytest.raises(ValidationError, match=f"{axis} lists {named} twice") as caught:
        sweep(**{axis: values})
    assert caught.value.errors()[0]["loc"] == (axis,)


def test_a_pair_there_and_back_is_two_pairs() -> None:
    assert len(sweep(pairs=[["reach", "avoid"], ["avoid", "reach"]]).pairs) == 2


def test_a_pair_may_be_a_longer_sequence() -> None:
    chain = ("reach", "avoid", "reach", "avoid")
    assert sweep(pairs=[chain, chain[:2], chain[:3]]).pairs == (chain, chain[:2], chain[:3])


@hypothesis_settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 4_000_000_000), min_size=1, unique=True))
def test_a_sweep_survives_json(seeds: list[int]) -> None:
    one = sweep(seeds=seeds, skill_neurons=[0.2, 3])
    assert Sweep.model_validate_json(one.model_dump_json(), strict=True) == one
