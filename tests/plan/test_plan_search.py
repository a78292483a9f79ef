"""Searches as the store has them: what was tried, what it was worth, and what is left."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import new_store, write_evaluations, write_result
from typer.testing import CliRunner

import analysis
from nbsp_ray.config.schema import Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.search import CountSearch, resolve_searches, rounds_left, searches, spread
from nbsp_ray.store import Store
from nbsp_ray.verbs import main as cli

SETTINGS = {
    "benchmark": "toy",
    "pairs": (("reach", "avoid"), ("avoid", "reach")),
    "methods": ("base", "nbsp"),
    "seeds": (0, 1),
    "sac": {"hidden": (16, 16)},
    "first": {"env_steps": 1_000},
    "second": {"env_steps": 500},
    "evaluation": {"episodes": 4},
    "search": {"trials": 6, "start": 3, "weight_stability": 0.25},
}


def sweep_of(**changes: object) -> Sweep:
    return Sweep.model_validate(SETTINGS | changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path)


def test_it_begins_evenly_spread_with_both_ends(store: Store) -> None:
    search = CountSearch(sweep_of(), store)
    assert (search.method, search.budget, search.tried, search.left) == ("nbsp", 6, (0, 16, 32), 3)
    (grid,) = resolve_searches([sweep_of()], store)
    assert (grid.skill_neurons, grid.search.trials) == ((0, 16, 32), 0)
    assert len(make_plan("x", [grid]).trials) == 2 * 2 * (1 + 3)


def test_what_was_chosen_is_remembered_and_more_seeds_or_trials_go_on_with_it(store: Store) -> None:
    CountSearch(sweep_of(), store).add([20])
    CountSearch(sweep_of(), store).add([7, 18])
    more = sweep_of(seeds=(0, 1, 2), search={"trials": 9, "start": 3, "weight_stability": 0.25})
    assert CountSearch(more, store).tried == (0, 16, 32, 20, 7, 18)
    assert CountSearch(more, store).left == 3
    fewer = sweep_of(search={"trials": 4, "start": 3, "weight_stability": 0.25})
    assert (CountSearch(fewer, store).tried, CountSearch(fewer, store).left) == ((0, 16, 32, 20), 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"search": {"trials": 6, "start": 3, "weight_stability": 0.5}},
        {"search": {"trials": 6, "start": 3, "weight_stability": 0.25, "skill_neurons": (0.0, 0.5)}},
        {"second": {"env_steps": 600}},
        {"evaluation": {"episodes": 5}},
        {"pairs": (("reach", "avoid"),)},
        {"method": {"score": "balanced"}},
    ],
    ids=str,
)
def test_another_question_is_another_search(store: Store, changes: dict[str, object]) -> None:
    assert CountSearch(sweep_of(**changes), store).id != CountSearch(sweep_of(), store).id
    same = sweep_of(title="x", resources={"cpus": 2}, methods=("nbsp",))
    assert CountSearch(same, store).id == CountSearch(sweep_of(), store).id


def fill(store: Store, sweep: Sweep) -> None:
    """All of a plan done: success falls with the place of a phase in it."""
    plan = make_plan("x", [sweep])
    for place, phase in enumerate(plan.phases.values()):
        write_evaluations(store, phase, success=1 - place / len(plan.phases))
        write_result(store, phase)


def test_the_value_of_a_number_is_a_mean_over_pairs_and_seeds(store: Store) -> None:
    search = CountSearch(sweep_of(), store)
    assert search.value(16) is None
    (pair, *_), one = search.sweep.pairs, search.grid([16])
    plan = make_plan("x", [one.model_copy(update={"methods": ("nbsp",), "pairs": (pair,)})])
    fill(store, one.model_copy(update={"methods": ("nbsp",), "pairs": (pair,)}))
    assert search.value(16) is None  # the other pair is missing
    alone = CountSearch(sweep_of(pairs=(pair,)), store)
    # Both evaluations of a phase are alike here, so that the weights do not matter: the last phases are 2 and 4 of 4.
    places = [list(plan.phases).index(trial.phases[-1]) for trial in plan.trials]
    assert alone.value(16) == pytest.approx(sum(1 - place / 4 for place in places) / 2)


def test_the_objective_is_that_of_advise(store: Store) -> None:
    search = CountSearch(sweep_of(), store)
    (grid,) = resolve_searches([search.sweep], store)
    plan = make_plan("x", [grid])
    for place, phase in enumerate(plan.phases.values()):
        write_result(store, phase)
        for number, (name, record) in enumerate(phase.evaluations.items()):
            wins = [int(episode < (place + number) % 5) for episode in range(4)]
            data = record.model_dump() | {"success": wins, "success_rate": sum(wins) / 4}
            store.phase(phase.key).write_evaluation(name, data, None)
    *_, over_pairs = analysis.advise(analysis.load(store.root, plan), 0.25)
    assert over_pairs.label == "all 2 pairs, nbsp"
    assert {count.neurons: count.value.mean for count in over_pairs.counts} == pytest.approx(
        {count: search.value(count) for count in search.tried}
    )


def test_the_budget_is_priced_with_others_in_place_of_what_is_not_chosen(store: Store) -> None:
    CountSearch(sweep_of(), store).add([15])
    (grid,) = resolve_searches([sweep_of()], store, rounds=3)
    assert len(set(grid.skill_neurons)) == 6
    assert set(grid.skill_neurons) >= {0, 16, 32, 15}
    plan = make_plan("x", [grid])
    without_store = make_plan("x", resolve_searches([sweep_of()], rounds=rounds_left([sweep_of()])))
    assert plan.env_steps() == without_store.env_steps()
    assert len(plan.trials) == 2 * 2 * (1 + 6)


def test_a_plan_knows_grids_only() -> None:
    with pytest.raises(ConfigError, match=r"resolve_searches\(sweeps, store\)"):
        make_plan("x", [sweep_of()])


@given(st.integers(0, 32), st.data())
def test_spread_is_distinct_and_within_the_range(low: int, data: st.DataObject) -> None:
    high = data.draw(st.integers(low, 32))
    numbers = data.draw(st.integers(1, high - low + 1))
    sweep = sweep_of(search={"trials": numbers, "skill_neurons": (low, high)})
    found = spread(sweep, numbers)
    assert len(set(found)) == numbers
    assert all(low <= count <= high for count in found)
    assert numbers == 1 or (found[0], found[-1]) == (low, high)


def test_what_is_next_to_a_tried_number_is_left_out_unless_nothing_else_is_there(store: Store) -> None:
    wide = sweep_of(sac={"hidden": (256, 256)})
    assert not {*range(503, 512), *range(1, 10)} & {*CountSearch(wide, store).untried}
    narrow = sweep_of(search={"trials": 6, "start": 3, "skill_neurons": (4, 9)})
    assert CountSearch(narrow, store).untried == [5, 6, 8]


# As the verbs tell it

SWEEP = """\
benchmark: toy
methods: [base, nbsp]
seeds: 0-1
search: {trials: 5, start: 2}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "mine.yaml").write_text(SWEEP)
    return str(tmp_path / "mine.yaml")


def test_plan_prices_the_whole_budget(file: str, store: Store) -> None:
    said = CliRunner().invoke(cli.app, ["plan", file, "--root", str(store.root)]).stdout
    assert "12 trials: 2 first and 12 later phases" in said
    assert "2 of 5 chosen (0, 64), the others by what these give" in said


def test_status_is_not_done_before_the_budget_is_spent(file: str, store: Store) -> None:
    from nbsp_ray.sweepfile import load_sweep

    sweeps = load_sweep(file).sweeps
    for grid in resolve_searches(sweeps, store):
        fill(store, grid)
        for phase in make_plan("x", [grid]).phases.values():
            if phase.keep_buffer:
                assert store.phase(phase.key).has_replay()
    asked = CliRunner().invoke(cli.app, ["status", file, "--root", str(store.root)])
    assert "8 of 8 phases done" in asked.stdout
    assert asked.exit_code == 3
    (search,) = searches(sweeps, store)
    search.add([1, 2, 3])
    fill(store, search.grid(search.tried))
    assert CliRunner().invoke(cli.app, ["status", file, "--root", str(store.root)]).exit_code == 0


def test_a_number_given_by_hand_takes_the_place_of_the_search(file: str, tmp_path: Path) -> None:
    from nbsp_ray.errors import ConfigError
    from nbsp_ray.sweepfile import load_sweep

    (one,) = load_sweep(file, ["skill_neurons=7"]).sweeps
    assert (one.skill_neurons, one.search.trials) == ((7,), 0)
    (searching,) = load_sweep("tradeoff", ["search.trials=4"]).sweeps
    assert searching.search.trials == 4
    with pytest.raises(ConfigError, match=r"command line: skill_neurons is given, and searched too"):
        load_sweep(file, ["skill_neurons=7", "search.trials=4"])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("search: {trial: 5}", r"x.yaml:3: 'search.trial' is not a setting \(did you mean 'trials'\?\)"),
        ("search: {trials: -1}", r"x.yaml:3: search.trials is -1; it takes a whole number >= 0"),
        ("search: {trials: 5, skill_neurons: [0.1]}", r"x.yaml:3: search.skill_neurons is .*two, each"),
        ("search: {trials: 5, skill_neurons: [0.5, 0.2]}", r"x.yaml:3: .* goes from 32 to 13 neurons, which is 0 numb"),
        (
            "search: {trials: 9, skill_neurons: [3, 9]}",
            r"x.yaml:3: .*from 3 to 9 neurons, which is 7 numbers, and sear",
        ),
        (
            "search: {trials: 9, skill_neurons: [3, 99]}",
            r"x.yaml:3: search.skill_neurons: 99 is more than the 64 hidden",
        ),
        ("search: {trials: 5}\nskill_neurons: 0.2", r"x.yaml:4: skill_neurons is given, and searched too"),
        ("search: 5", r"x.yaml:3: search is 5; it takes settings: trials, skill_neurons"),
    ],
)
def test_a_search_that_cannot_be_is_refused_at_its_line(tmp_path: Path, line: str, problem: str) -> None:
    from nbsp_ray.errors import ConfigError
    from nbsp_ray.sweepfile import load_sweep

    (tmp_path / "x.yaml").write_text(f"benchmark: toy\nmethods: [nbsp]\n{line}\n")
    with pytest.raises(ConfigError, match=problem):
        load_sweep(str(tmp_path / "x.yaml"))


@pytest.mark.parametrize(
    ("methods", "found"), [("[base]", "of base none do"), ("[nbsp, nbsp_actor]", "nbsp and nbsp_")]
)
def test_a_search_is_for_one_method(tmp_path: Path, methods: str, found: str) -> None:
    from nbsp_ray.errors import ConfigError
    from nbsp_ray.sweepfile import load_sweep

    (tmp_path / "x.yaml").write_text(f"benchmark: toy\nmethods: {methods}\nsearch: {{trials: 5}}\n")
    with pytest.raises(ConfigError, match=rf"x.yaml:2: search chooses for one method .*{found}"):
        load_sweep(str(tmp_path / "x.yaml"))
