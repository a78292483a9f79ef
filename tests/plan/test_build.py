"""The plan: what is a phase, which are shared, and that a key is a digest of what changes numbers and of nothing else.

`python tests/plan/test_build.py` writes the golden keys anew: only after ALGORITHM_VERSION or LATER_SETTINGS was
dealt with.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nbsp_ray import specs
from nbsp_ray.config.describe import AXES, settings
from nbsp_ray.config.schema import Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.layout import NETWORKS
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.hooks import Arrays, Ingredient, Past
from nbsp_ray.methods import Method, ingredients_of, method_options, methods
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.counts import resolve_counts
from nbsp_ray.specs import PhaseSpec, Plan, PlannedPhase, canonical
from nbsp_ray.sweepfile import load_sweep

GOLDEN = Path(__file__).parents[1] / "golden" / "plan_keys.json"
LEAST: dict[str, Any] = {"benchmark": "toy", "pairs": (("reach", "avoid"),), "methods": ("base",), "seeds": (0,)}
ALL_METHODS = tuple(methods())
CHAIN = ("reach", "avoid", "reach", "avoid")


def sweep(**changes: Any) -> Sweep:
    return Sweep.model_validate(LEAST | changes)


def plan(*changes: dict[str, Any], **more: Any) -> Plan:
    """Of one sweep for each dict of changes, or of one with `more`."""
    return make_plan("x", [sweep(**one) for one in changes or (more,)])


def phase_of(found: Plan, method: str, number: int = -1) -> PlannedPhase:
    """The first (0) or second (-1) phase of the only trial of a method."""
    (trial,) = (trial for trial in found.trials if trial.method == method)
    return found.phases[trial.phases[number]]


# Keys


def golden_specs() -> dict[str, PhaseSpec]:
    toy = plan(methods=("base", "replay_only", "nbsp", "random_nbsp"))
    paper = make_plan("x", [Sweep(benchmark="metaworld", pairs=(("drawer-open", "drawer-close"),), methods=("nbsp",))])
    return {
        "toy first": phase_of(toy, "base", 0).spec,
        "toy base": phase_of(toy, "base").spec,
        "toy replay_only": phase_of(toy, "replay_only").spec,
        "toy nbsp": phase_of(toy, "nbsp").spec,
        "toy random_nbsp": phase_of(toy, "random_nbsp").spec,
        "metaworld first, seed 0": paper.phases[paper.trials[0].phases[0]].spec,
        "metaworld nbsp, seed 4": paper.phases[paper.trials[4].phases[1]].spec,
    }


def test_keys_are_what_they_were() -> None:
    """Results in people's stores hang on these keys.

    If a setting was added: does its default mean the old behaviour? Then it belongs into LATER_SETTINGS, and no key
    changes. If the same settings now give other numbers: raise ALGORITHM_VERSION. Then write the file anew.
    """
    golden = json.loads(GOLDEN.read_text())
    found = {name: specs._without_later_settings(spec.model_dump(mode="json")) for name, spec in golden_specs().items()}
    assert found == {name: one["spec"] for name, one in golden.items()}
    assert {name: spec.key() for name, spec in golden_specs().items()} == {n: one["key"] for n, one in golden.items()}


def test_a_key_is_the_digest_of_the_canonical_spec() -> None:
    for one in json.loads(GOLDEN.read_text()).values():
        text = json.dumps(one["spec"], sort_keys=True, separators=(",", ":"))
        assert one["key"] == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_canonical_json() -> None:
    assert (
        canonical({"b": [1, 1.0, 1e-8], "a": {"d": None, "c": "ä"}})
        == b'{"a":{"c":"\\u00e4","d":null},"b":[1,1.0,1e-08]}'
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


def _reversed(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _reversed(data[key]) for key in reversed(data)}
    return [_reversed(one) for one in data] if isinstance(data, list) else data


def test_a_key_knows_no_order_of_settings() -> None:
    for spec in golden_specs().values():
        turned = _reversed(spec.model_dump(mode="json"))
        assert list(turned) != list(spec.model_dump())
        assert PhaseSpec.model_validate(turned).key() == spec.key()


def test_a_spec_survives_json() -> None:
    for spec in golden_specs().values():
        again = PhaseSpec.model_validate_json(spec.model_dump_json())
        assert again == spec
        assert again.key() == spec.key()


def test_settings_added_later_leave_old_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = phase_of(plan(), "base").spec
    data = spec.model_dump(mode="json")
    later = {"sac.target_period": 1, "auxiliary": {}, "rollouts.env_steps": None}
    monkeypatch.setattr(specs, "LATER_SETTINGS", later)
    del data["sac"]["target_period"], data["auxiliary"]
    assert data["rollouts"] is None
    assert spec.key() == hashlib.sha256(canonical(data)).hexdigest()[:20]
    other = spec.model_copy(update={"sac": spec.sac.model_copy(update={"target_period": 2})})
    assert other.key() != spec.key()


def _other(path: str, value: Any) -> Any:
    """Another allowed value of a setting."""
    node = settings()[path].node
    if "enum" in node:
        return next(one for one in node["enum"] if one != value)
    if isinstance(value, bool):
        return not value
    if path.endswith("labels"):
        return ("market=spot",)
    if isinstance(value, tuple):
        return (*value, 7)
    if value is None or isinstance(value, int):
        return (value or 0) + 1
    if isinstance(value, str):  # `auto`, or true or false
        return True
    return value / 2 or 0.5


def _value(path: str) -> Any:
    value: Any = sweep()
    for key in path.split("."):
        value = getattr(value, key)
    return value


FIRST, SECOND = ({f"{method} {phase}" for method in ALL_METHODS} for phase in (0, 1))


def _phases_with(changed: Callable[[tuple[Ingredient, ...], tuple[Ingredient, ...]], bool], **options: Any) -> set[str]:
    """The phases of all methods whose ingredients, before and after a change of options, are `changed`."""
    counts = dict.fromkeys(NETWORKS, 102)
    pairs = {
        name: (ingredients_of(one, method_options(), counts), ingredients_of(one, method_options(**options), counts))
        for name, one in methods().items()
    }
    found = {name for name, (before, after) in pairs.items() if changed(before, after)}
    # And the first phases of those that act in them.
    acting = {name: [[one for one in each if one.from_first] for each in pairs[name]] for name in found}
    of_first = {name for name, (before, after) in acting.items() if before != after}
    return {f"{name} 1" for name in found} | {f"{name} 0" for name in of_first}


def _expected(path: str, own: dict[str, Any]) -> set[str]:
    section = path.partition(".")[0]
    if path in ("evaluation.episodes", "evaluation.env_steps"):  # of the rollouts that neurons are scored on
        return _phases_with(lambda before, _: any(one.needs_rollouts for one in before))
    if section == "method":
        return _phases_with(lambda before, after: before != after, **own)
    return {"sac": FIRST | SECOND, "first": FIRST | SECOND, "second": SECOND}.get(section, set())


# A search decides which trials there are, not what one of them computes.
@pytest.mark.parametrize("path", [path for path in settings() if "." in path and not path.startswith("search.")])
def test_each_setting_changes_the_keys_of_the_phases_it_changes(path: str) -> None:
    section, _, name = path.partition(".")
    own: dict[str, Any] = {name: _other(path, _value(path))}
    before, after = plan(methods=ALL_METHODS), plan(methods=ALL_METHODS, **{section: own})
    changed = {
        f"{method} {number}"
        for method in ALL_METHODS
        for number in (0, 1)
        if phase_of(before, method, number).key != phase_of(after, method, number).key
    }
    assert changed == _expected(path, own)
    assert changed or section in ("evaluation", "resources")


@pytest.mark.parametrize(
    ("option", "value", "changed"),
    [
        ("replay_interval", 5, {"replay_only", "nbsp", "nbsp_actor", "nbsp_critic", "nbsp_balanced", "random_nbsp"}),
        ("replay_parts", "masked", {"nbsp_actor", "nbsp_critic"}),
        ("mask_strength", 0.8, {"mask_only", "nbsp", "nbsp_actor", "nbsp_critic", "nbsp_balanced", "random_nbsp"}),
        ("score", "balanced", {"mask_only", "nbsp", "nbsp_actor", "nbsp_critic", "random_nbsp"}),
        ("random_among", "all", {"random_nbsp"}),
        ("random_match", "network", {"random_nbsp"}),
    ],
)
def test_options_by_hand(option: str, value: Any, changed: set[str]) -> None:
    some = ("base", "replay_only", "mask_only", "nbsp", "nbsp_actor", "nbsp_critic", "nbsp_balanced", "random_nbsp")
    before, after = plan(methods=some), plan(methods=some, method={option: value})
    assert {name for name in some if phase_of(before, name).key != phase_of(after, name).key} == changed


def test_nbsp_balanced_is_nbsp_with_the_balanced_score() -> None:
    balanced = phase_of(plan(methods=("nbsp",), method={"score": "balanced"}), "nbsp").key
    for score in ("paper", "dormant"):
        assert phase_of(plan(methods=("nbsp_balanced",), method={"score": score}), "nbsp_balanced").key == balanced


def test_a_match_of_random_neurons_is_in_the_key_of_random_neurons_alone() -> None:
    """And the score, where layers are matched to it."""
    found = {}
    for match in ("layer", "network"):
        both = plan(methods=("nbsp", "random_nbsp"), method={"random_match": match})
        found[match] = [phase_of(both, name).spec.ingredients[1] for name in ("nbsp", "random_nbsp")]
    assert found["layer"][0] == found["network"][0]
    assert [(one["match"], one["score"], one["among"]) for one in (found["layer"][1], found["network"][1])] == [
        ("layer", "paper", "active"),
        ("network", None, "active"),
    ]
    assert found["layer"][0]["match"] is None


@hypothesis_settings(deadline=None, max_examples=50)
@given(
    st.builds(
        dict,
        cpus=st.integers(1, 64),
        gpus=st.floats(0, 8),
        device=st.sampled_from(["auto", "cpu", "cuda"]),
    )
)
def test_no_key_knows_of_resources(resources: dict[str, Any]) -> None:
    assert set(plan(methods=("nbsp",), resources=resources).phases) == set(plan(methods=("nbsp",)).phases)


def test_benchmark_revision_and_algorithm_version_change_keys() -> None:
    spec = phase_of(plan(), "base").spec
    for change in ({"revision": "2"}, {"algorithm_version": 0}, {"benchmark": "metaworld"}):
        assert spec.model_copy(update=change).key() != spec.key()


# Phases


def test_a_first_phase_serves_every_method_count_and_second_task() -> None:
    found = plan(
        benchmark="metaworld",
        methods=("base", "replay_only", "mask_only", "nbsp"),
        pairs=(("drawer-open", "drawer-close"), ("drawer-open", "window-open")),
        skill_neurons=(0.1, 0.2),
        seeds=(0, 1),
    )
    first = [phase for phase in found.phases.values() if phase.spec.index == 0]
    assert sorted(phase.spec.seed for phase in first) == [0, 1]
    assert len(found.trials) == 2 * 2 * (2 + 2 * 2)
    assert all(phase.spec.ingredients == () and phase.spec.rollouts is None for phase in first)


def test_a_second_phase_says_what_it_needs() -> None:
    found = plan(methods=("base", "nbsp"))
    base, nbsp = phase_of(found, "base"), phase_of(found, "nbsp")
    first = phase_of(found, "base", 0)
    assert base.spec.needs == nbsp.spec.needs == (first.key,)
    assert base.spec.earlier_tasks == ("reach",)
    assert (base.spec.rollouts, nbsp.spec.rollouts) == (None, first.evaluations["reach.rollouts.200.train"])
    assert [one["kind"] for one in nbsp.spec.ingredients] == ["replay", "mask"]


def test_records_wanted_of_each_phase() -> None:
    def records(**evaluation: Any) -> list[list[str]]:
        found = plan(evaluation={"episodes": 4} | evaluation)
        return [list(phase_of(found, "base", number).evaluations) for number in (0, 1)]

    assert records(deterministic=False) == [
        ["reach.rollouts.4.train"],
        ["reach.stochastic.4.train", "avoid.stochastic.4.train"],
    ]
    assert records() == [
        ["reach.rollouts.4.train", "reach.deterministic.4.train"],
        [
            "reach.stochastic.4.train",
            "reach.deterministic.4.train",
            "avoid.stochastic.4.train",
            "avoid.deterministic.4.train",
        ],
    ]
    assert records(goals="both") == [
        ["reach.rollouts.4.train", "reach.deterministic.4.train", "reach.stochastic.4.heldout"],
        [
            "reach.stochastic.4.train",
            "reach.deterministic.4.train",
            "avoid.stochastic.4.train",
            "avoid.deterministic.4.train",
            "reach.stochastic.4.heldout",
            "avoid.stochastic.4.heldout",
        ],
    ]
    assert records(goals="heldout", deterministic=False) == [
        ["reach.rollouts.4.train", "reach.stochastic.4.heldout"],
        ["reach.stochastic.4.heldout", "avoid.stochastic.4.heldout"],
    ]


def test_heldout_goals_are_those_of_the_first_and_the_newest_task() -> None:
    found = plan(pairs=(("reach", "avoid", "reach", "avoid"),), evaluation={"episodes": 4, "goals": "both"})
    tasks = [
        [one.task for one in found.phases[key].evaluations.values() if one.goals == "heldout"]
        for key in found.trials[0].phases
    ]
    assert tasks == [["reach"], ["reach", "avoid"], ["reach"], ["reach", "avoid"]]
    assert {
        one.mode for key in found.phases for one in found.phases[key].evaluations.values() if one.goals == "heldout"
    } == {"stochastic"}


@pytest.mark.parametrize(
    ("benchmark", "pair", "wanted", "episodes"),
    [
        ("metaworld", ("drawer-open", "drawer-close"), {}, 50),
        ("metaworld", ("drawer-open", "drawer-close"), {"episodes": 20}, 20),
        ("atari", ("Pong", "Bowling"), {"env_steps": 100_000}, 30),
        ("toy", ("reach", "avoid"), {}, 20),
    ],
)
def test_deterministic_evaluations_play_each_variation_once(
    benchmark: str, pair: tuple[str, str], wanted: dict[str, Any], episodes: int
) -> None:
    fixed = {"first": {"stop": "fixed"}, "second": {"stop": "fixed"}}
    found = plan(benchmark=benchmark, pairs=(pair,), evaluation=wanted, **fixed)
    (trial,) = found.trials
    for number, key in enumerate(trial.phases):
        records = {one for one in found.phases[key].evaluations.values() if one.mode == "deterministic"}
        assert {(one.episodes, one.env_steps) for one in records} == {(episodes, None)}
        assert records == {trial.finals.evaluation(task, number, deterministic=True) for task in pair[: number + 1]}
        others = {one for one in found.phases[key].evaluations.values() if one.mode != "deterministic"}
        assert {(one.episodes, one.env_steps) for one in others} == {
            (wanted.get("episodes", 200), wanted.get("env_steps"))
        }


def test_records_that_several_sweeps_want_of_a_phase_are_united() -> None:
    found = plan({"evaluation": {"episodes": 4}}, {"evaluation": {"episodes": 5}})
    assert len(found.phases) == 2
    for phase in found.phases.values():
        assert {one.episodes for one in phase.evaluations.values()} == {4, 5}
    assert [trial.finals.episodes for trial in found.trials] == [4, 5]


def test_env_steps_are_the_most_that_learning_can_take() -> None:
    found = plan(methods=("base", "nbsp"), first={"env_steps": 1000}, second={"env_steps": 100})
    assert found.env_steps() == 1000 + 2 * 100
    assert found.env_steps([phase_of(found, "base").key]) == 100
    assert found.env_steps([]) == 0


def test_labels_are_for_people() -> None:
    found = plan(methods=("base", "nbsp"))
    assert [trial.label for trial in found.trials] == ["reach > avoid, base, seed 0", "reach > avoid, nbsp 0.2, seed 0"]
    assert phase_of(found, "base", 0).label == "reach, first phase, seed 0"
    assert phase_of(found, "nbsp").label == "reach > avoid, nbsp, seed 0"


def test_labels_of_long_sequences_name_the_ends() -> None:
    found = plan(methods=("nbsp",), pairs=(CHAIN,))
    assert [phase.label for phase in found.phases.values()] == [
        "reach, first phase, seed 0",
        "reach > avoid, nbsp, seed 0",
        "reach > avoid > reach, nbsp, seed 0",
        "reach > ... > avoid (4 tasks), nbsp, seed 0",
    ]
    assert found.trials[0].label == "reach > ... > avoid (4 tasks), nbsp 0.2, seed 0"


def test_the_title_is_that_of_the_only_sweep() -> None:
    assert plan(title="One").title == "One"
    assert plan({"title": "One"}, {"title": "Two"}).title == ""
    assert plan({"title": "One"}, {"title": "One", "seeds": (1,)}).title == "One"  # variations of one file


def test_labels_tell_counts_apart_where_there_are_several() -> None:
    found = plan(methods=("nbsp",), skill_neurons=(3, 0.5))
    labels = [phase.label for phase in found.phases.values()]
    assert labels == ["reach, first phase, seed 0", "reach > avoid, nbsp 3, seed 0", "reach > avoid, nbsp 0.5, seed 0"]


SEEDS = st.lists(st.integers(0, 50), min_size=1, max_size=5, unique=True).map(tuple)
METHODS = st.lists(st.sampled_from(ALL_METHODS), min_size=1, unique=True).map(tuple)
COUNTS = st.lists(st.integers(0, 64) | st.floats(0, 1), min_size=1, max_size=3, unique_by=str).map(tuple)
PAIRS = st.lists(st.sampled_from([CHAIN[:2], CHAIN[1:3], CHAIN[:3]]), min_size=1, unique=True).map(tuple)
SWEEPS = st.fixed_dictionaries({"seeds": SEEDS, "methods": METHODS, "skill_neurons": COUNTS, "pairs": PAIRS})


@hypothesis_settings(deadline=None, max_examples=50)
@given(SWEEPS)
def test_each_phase_stands_after_those_it_needs(one: dict[str, Any]) -> None:
    seen: set[str] = set()
    for key, phase in plan(one).phases.items():
        assert phase.key == key == phase.spec.key()
        assert set(phase.spec.needs) <= seen
        seen.add(key)


@hypothesis_settings(deadline=None, max_examples=50)
@given(SWEEPS)
def test_every_phase_is_of_some_trial_and_every_trial_has_its_phases(one: dict[str, Any]) -> None:
    found = plan(one)
    used = {key for trial in found.trials for key in trial.phases}
    assert used | {key for phase in found.phases.values() for key in phase.spec.auxiliary.values()} == set(found.phases)
    for trial in found.trials:
        specs = [found.phases[key].spec for key in trial.phases]
        assert tuple(spec.task for spec in specs) == trial.tasks
        assert {spec.seed for spec in specs} == {trial.seed}
        assert [spec.previous for spec in specs] == [None, *trial.phases[:-1]]


@hypothesis_settings(deadline=None, max_examples=50)
@given(SWEEPS, SEEDS, METHODS, COUNTS, PAIRS)
def test_more_seeds_methods_counts_or_pairs_only_add(
    one: dict[str, Any], seeds: tuple[int, ...], more: tuple[str, ...], counts: tuple[Any, ...], pairs: tuple[Any, ...]
) -> None:
    added = dict(zip(("seeds", "methods", "skill_neurons", "pairs"), (seeds, more, counts, pairs), strict=True))
    wider = {axis: tuple({str(value): value for value in (*one[axis], *added[axis])}.values()) for axis in AXES}
    before, after = plan(one), plan(wider)
    assert set(before.phases) <= set(after.phases)
    assert {(t.method, t.phases) for t in before.trials} <= {(t.method, t.phases) for t in after.trials}


@hypothesis_settings(deadline=None, max_examples=50)
@given(SWEEPS, SWEEPS)
def test_sweeps_that_overlap_share_phases_and_trials(one: dict[str, Any], other: dict[str, Any]) -> None:
    both = plan(one, other)
    assert set(both.phases) == set(plan(one).phases) | set(plan(other).phases)
    cells = [(trial.method, trial.phases) for trial in both.trials]
    assert len(cells) == len(set(cells))
    assert plan(one, one).trials == plan(one).trials


def test_the_same_count_written_twice_is_one_trial() -> None:
    found = plan({"methods": ("nbsp",), "skill_neurons": (0.2, 0.4)}, {"methods": ("nbsp",), "skill_neurons": (102,)})
    assert [trial.skill_neurons for trial in found.trials] == [0.2, 0.4]  # 102 = floor(0.2 x 512 + 0.5)


def test_methods_that_select_no_neurons_have_one_trial_for_all_counts() -> None:
    found = plan(methods=("base", "replay_only", "nbsp"), skill_neurons=(0.1, 0.2))
    assert [(trial.method, trial.skill_neurons) for trial in found.trials] == [
        ("base", None),
        ("replay_only", None),
        ("nbsp", 0.1),
        ("nbsp", 0.2),
    ]


@pytest.mark.parametrize("how", [{"skill_neurons": (0,)}, {"skill_neurons": (0.0,)}, {"method": {"mask_strength": 0}}])
def test_a_mask_that_freezes_nothing_is_none(how: dict[str, Any]) -> None:
    masked = ("nbsp", "nbsp_actor", "nbsp_critic", "random_nbsp")
    found = plan(methods=("base", "replay_only", "mask_only", *masked), **how)
    seconds = {trial.method: trial.phases[1] for trial in found.trials}
    assert len(seconds) == 7
    for method in masked:
        assert seconds[method] == seconds["replay_only"]
    assert seconds["mask_only"] == seconds["base"]
    assert len(found.phases) == 3


def test_5000_trials_are_planned_in_no_time() -> None:
    wide = sweep(methods=("base", "replay_only", "nbsp", "nbsp_actor", "nbsp_critic"), seeds=tuple(range(1000)))
    start = time.process_time()
    found = make_plan("x", [wide])
    assert (len(found.trials), len(found.phases)) == (5000, 6000)
    assert time.process_time() - start < 5  # 0.5 s when alone


# Counts


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.floats(0, 1), st.lists(st.integers(1, 300), min_size=1, max_size=3))
def test_a_fraction_is_rounded_half_up(fraction: float, layers: list[int]) -> None:
    neurons = sum(layers)
    counts = resolve_counts(fraction, layers)
    assert counts == dict.fromkeys(("actor", "q1", "q2"), math.floor(fraction * neurons + 0.5))
    assert 0 <= counts["actor"] <= neurons


@pytest.mark.parametrize(
    ("skill_neurons", "layers", "count"),
    [
        (0.2, (256, 256), 102),
        (0.5, (3,), 2),
        (0.25, (2,), 1),
        (1.0, (32, 32), 64),
        (0.0, (32, 32), 0),
        (1, (32, 32), 1),
        (64, (32, 32), 64),
        (0.001, (256, 256), 1),
        (0.0009, (256, 256), 0),
    ],
)
def test_counts_by_hand(skill_neurons: float, layers: tuple[int, ...], count: int) -> None:
    assert resolve_counts(skill_neurons, layers) == {"actor": count, "q1": count, "q2": count}


def test_more_neurons_than_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"513 is more than the 512 hidden neurons .* \(256 \+ 256\); give a count up to"
    ):
        resolve_counts(513, (256, 256))
    with pytest.raises(ConfigError, match="65 is more than the 64"):
        plan(skill_neurons=(0.2, 65), sac={"hidden": (32, 32)})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"benchmark": "toi"}, "no benchmark 'toi' .did you mean 'toy'"),
        ({"methods": ("nbps",)}, "no method 'nbps' .did you mean 'nbsp'"),
        ({"pairs": (("reach", "avoidd"),)}, "'avoidd' is not a task of toy .did you mean 'avoid'"),
        ({"pairs": (("reach", "reach"),)}, "learns the same task twice"),
        ({"pairs": (("reach", "avoid", "avoid", "reach"),)}, "avoid > avoid learns the same task twice"),
        ({"pairs": (("reach", "slide"),)}, "one network cannot serve reach > slide"),
    ],
)
def test_what_cannot_be_planned(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(**changes)


# More than two tasks


def test_a_longer_sequence_is_a_phase_for_each_task_and_the_first_is_shared() -> None:
    found = plan(methods=("base", "nbsp"), pairs=(CHAIN,), first={"env_steps": 1000}, second={"env_steps": 500})
    assert [len(trial.phases) for trial in found.trials] == [4, 4]
    assert len(found.phases) == 1 + 2 * 3
    assert len({trial.phases[0] for trial in found.trials}) == 1
    for trial in found.trials:
        specs = [found.phases[key].spec for key in trial.phases]
        assert [spec.task for spec in specs] == list(CHAIN)
        assert [spec.earlier_tasks for spec in specs] == [CHAIN[:index] for index in range(4)]
        assert [spec.index for spec in specs] == [0, 1, 2, 3]
        assert [spec.learning.env_steps for spec in specs] == [1000, 500, 500, 500]
        assert [len(spec.ingredients) for spec in specs] == [0, *[2 * (trial.method == "nbsp")] * 3]


@pytest.mark.parametrize("method", ALL_METHODS)
def test_what_a_longer_sequence_begins_with_is_the_shorter_one(method: str) -> None:
    pair, three, four = (plan(methods=(method,), pairs=(CHAIN[:length],)) for length in (2, 3, 4))
    assert set(pair.phases) < set(three.phases) < set(four.phases)
    assert pair.trials[0].phases == three.trials[0].phases[:2] == four.trials[0].phases[:2]
    together = plan(methods=(method,), pairs=(CHAIN[:2], CHAIN))
    assert set(together.phases) == set(four.phases)
    assert len(together.trials) == 2


def _kept(found: Plan, method: str) -> list[bool]:
    return [phase_of(found, method, number).keep_buffer for number in range(4)]


def test_nbsp_reads_the_phase_before_and_replays_all_earlier_ones() -> None:
    found = plan(methods=("nbsp", "ewc", "base"), pairs=(CHAIN,))
    second, third, fourth = (phase_of(found, "nbsp", number) for number in (1, 2, 3))
    assert third.spec.rollouts is not None
    assert third.spec.rollouts.task == second.spec.task == "avoid"
    assert third.spec.rollouts == second.evaluations["avoid.rollouts.200.train"]
    assert fourth.spec.rollouts == third.evaluations["reach.rollouts.200.train"]
    assert not any("rollouts" in record for record in fourth.evaluations)
    assert third.spec.needs == (second.key,)
    assert _kept(found, "nbsp") == [True, True, True, False]
    assert _kept(found, "ewc") == _kept(found, "base") == [True, False, False, False]
    assert all(phase_of(found, "ewc", number).spec.rollouts is None for number in range(4))


def test_a_pair_beside_a_longer_sequence_keeps_what_that_replays() -> None:
    for pairs in ((CHAIN[:2], CHAIN), (CHAIN, CHAIN[:2])):
        found = plan(methods=("replay_only",), pairs=pairs)
        kept = {phase.spec.index: phase.keep_buffer for phase in found.phases.values()}
        assert kept == {0: True, 1: True, 2: True, 3: False}


def test_a_task_that_comes_back_is_evaluated_once() -> None:
    last = phase_of(plan(pairs=(CHAIN,), evaluation={"episodes": 4}), "base")
    assert list(last.evaluations) == [
        "reach.stochastic.4.train",
        "reach.deterministic.4.train",
        "avoid.stochastic.4.train",
        "avoid.deterministic.4.train",
    ]


def test_from_the_third_task_on_the_auxiliary_network_starts_from_ancls_own() -> None:
    found = plan(methods=("base", "ancl"), pairs=(CHAIN[:3],))
    own = phase_of(found, "ancl", 1)
    assert own.spec.auxiliary == {"base": phase_of(found, "base", 1).key}
    auxiliary = found.phases[phase_of(found, "ancl").spec.auxiliary["base"]]
    assert auxiliary.spec.previous == own.key
    assert (auxiliary.spec.task, auxiliary.spec.earlier_tasks) == ("reach", ("reach", "avoid"))
    assert (auxiliary.spec.ingredients, auxiliary.spec.auxiliary, auxiliary.spec.rollouts) == ((), {}, None)
    assert auxiliary.key != phase_of(found, "base").key
    assert auxiliary.label == "reach > avoid > reach, base after ancl, seed 0"
    assert len(found.phases) == 1 + 2 + 2 + 1


# Methods that need another method's phase


class Helped(Ingredient):
    """Reads the phase that `base` trains on the same task."""

    kind: Literal["helped"] = "helped"
    strength: int = 1
    needs_method: ClassVar[str | None] = "base"

    def begin(self, arrays: Arrays, past: Past, agent: Agent) -> None:
        """Start from where `base` ended."""
        agent.restore(past.auxiliary["base"].agent.arrays())


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        name = f"helped_{number}"
        row = Method(name, "for a test", lambda options, counts, number=number: (Helped(strength=number),))  # type: ignore[misc]
        monkeypatch.setitem(methods(), name, row)


@pytest.mark.usefixtures("helped")
def test_the_phase_that_a_method_reads_is_planned_once_and_before_it() -> None:
    found = plan(methods=("helped_1", "helped_2"), seeds=(0, 1))
    alone = plan(methods=("base",), seeds=(0, 1))
    assert len(found.trials) == 4
    assert len(found.phases) == 2 + 2 + 4
    assert set(alone.phases) <= set(found.phases)
    order = list(found.phases)
    for trial in found.trials:
        spec = found.phases[trial.phases[1]].spec
        (helper,) = spec.auxiliary.values()
        assert list(spec.auxiliary) == ["base"]
        assert helper in alone.phases
        assert found.phases[helper].spec.seed == trial.seed
        assert spec.needs == (trial.phases[0], helper)
        assert order.index(helper) < order.index(trial.phases[1])


@pytest.mark.usefixtures("helped")
def test_the_phase_that_a_method_reads_is_that_of_the_trial_if_there_is_one() -> None:
    for order in (("base", "helped_1"), ("helped_1", "base")):
        found = plan(methods=order)
        assert len(found.phases) == 3
        assert phase_of(found, "helped_1").spec.auxiliary == {"base": phase_of(found, "base").key}


@pytest.mark.usefixtures("helped")
def test_a_method_keeps_the_key_of_what_it_reads() -> None:
    one, other = (plan(methods=("helped_1",), second={"env_steps": steps}) for steps in (2000, 2001))
    assert phase_of(one, "helped_1").spec.auxiliary != phase_of(other, "helped_1").spec.auxiliary


if __name__ == "__main__":
    written = {
        name: {"key": spec.key(), "spec": specs._without_later_settings(spec.model_dump(mode="json"))}
        for name, spec in golden_specs().items()
    }
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(written, indent=1) + "\n")


def test_keys_that_are_made_of_one_mould_are_those_of_whole_specs() -> None:
    """Of first phases, of those on top of them, and of those that rest on auxiliary ones."""
    plan = load_sweep("toy", ["methods=nbsp,ewc,ancl_replay,packnet", "seeds=0-2", "skill_neurons=0.1,0.3"]).plan(None)
    sequence = load_sweep("toy_sequence", ["methods=ancl", "seeds=3"]).plan(None)
    phases = {**plan.phases, **sequence.phases}
    assert any(phase.spec.auxiliary for phase in phases.values())
    assert {key: phase.spec.key() for key, phase in phases.items()} == {key: key for key in phases}
    assert {key: type(phase.spec).model_validate(phase.spec.model_dump()) for key, phase in phases.items()} == {
        key: phase.spec for key, phase in phases.items()
    }


def test_phases_are_alike_that_differ_in_their_seed_alone() -> None:
    plan = load_sweep("toy", ["methods=base,nbsp", "seeds=0-9"]).plan(None)
    assert len(plan.phases) == 30
    assert len(set(plan.alike.values())) == 3
    asked: list[str] = []
    once = plan.once_for_alike(lambda phase: asked.append(phase.key) or phase.spec.index)
    assert [once(key) for key in plan.phases] == [phase.spec.index for phase in plan.phases.values()]
    assert len(asked) == 3
