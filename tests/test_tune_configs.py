"""The files of tune_configs: what each plans, that the README says so, and that editors agree with the loader."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.json_schema import json_schema
from nbsp_ray.config.schema import Evaluation, Sweep
from nbsp_ray.methods import get_method, methods
from nbsp_ray.specs import Plan
from nbsp_ray.sweepfile import load_sweep, own_settings

FOLDER = Path(__file__).parents[1] / "tune_configs"
FILES = sorted(FOLDER.glob("*.yaml"))
NAMES = [path.stem for path in FILES]
BALANCED = "nbsp_balanced"
"""A row of the main sweeps beside the paper's methods."""
PAPER = ("preliminary", "metaworld_main", "metaworld_components", "metaworld_modules")


def plan_of(name: str) -> Plan:
    loaded = load_sweep(str(FOLDER / f"{name}.yaml"))
    return loaded.plan(None, whole_budget=True)


def phases(plan: Plan) -> tuple[int, int]:
    """First phases and later ones, auxiliary ones included."""
    first = sum(phase.spec.index == 0 for phase in plan.phases.values())
    return first, len(plan.phases) - first


SIZES = {
    "quickstart": (4, (1, 4), 100_000),
    "toy": (8, (2, 8), 22_000),
    "preliminary": (20, (20, 20), 40_000_000),
    "metaworld_main": (120, (20, 120), 140_000_000),
    "metaworld_components": (60, (20, 60), 80_000_000),
    "metaworld_modules": (60, (20, 60), 80_000_000),
    "paper_metaworld": (180, (20, 180), 200_000_000),
    "atari_smoke": (2, (1, 2), 6_000),
    "dm_control_smoke": (2, (1, 2), 9_000),
    "atari_irrelevant": (60, (10, 60), 105_000_000),
    "atari_relevant": (60, (10, 60), 210_000_000),
    "atari_main": (120, (20, 120), 315_000_000),
    "paper_atari": (120, (20, 120), 315_000_000),
    "paper": (300, (40, 300), 515_000_000),
    "tradeoff": (180, (20, 180), 200_000_000),
    "tradeoff_fixed": (180, (20, 180), 200_000_000),
    "tradeoff_search": (160, (20, 160), 180_000_000),  # as many as its budget: eight numbers
    "tradeoff_atari": (90, (10, 90), 150_000_000),
    "tuning_ewc": (52, (4, 52), 3_000_000),  # base, and six coefficients on one part or both, by two pairs and seeds
    "tuning_ancl": (52, (4, 52), 3_000_000),  # base is the auxiliary phase
    "metaworld_ablations": (140, (20, 140), 160_000_000),
    "metaworld_scores": (60, (20, 60), 80_000_000),
    # nbsp with the paper's score, and nbsp_balanced, are in both parts.
    "metaworld_controls": (160, (20, 160), 180_000_000),
    "metaworld_rivals": (100, (20, 120), 140_000_000),  # 20 x (nbsp, and four rivals), and base for ANCL
    "metaworld_rivals_fixed": (100, (20, 120), 140_000_000),
    "paper_metaworld_fixed": (180, (20, 180), 200_000_000),
    "metaworld_controls_fixed": (160, (20, 160), 180_000_000),
    "reproduction_1": (60, (10, 60), 4_000_000),
    "reproduction_2": (70, (10, 80), 5_000_000),  # and ten of base, the auxiliary networks
    "reproduction_2_counts": (45, (5, 45), 2_750_000),
    "reproduction_3": (60, (10, 60), 17_000_000),
    "metaworld_normalised": (60, (20, 60), 80_000_000),
    "metaworld_normalised_fixed": (60, (20, 60), 80_000_000),
    "reproduction_normalised": (30, (10, 30), 2_500_000),
    "field": (200, (40, 200), 240_000_000),
    "field_fixed": (200, (40, 200), 240_000_000),
    "metaworld_sequences": (25, (5, 85), 90_000_000),  # 5 x (5 x 3 later phases, and 2 of ancl's auxiliary networks)
    "metaworld_sequences_fixed": (25, (5, 85), 90_000_000),
    "toy_sequence": (10, (2, 34), 74_000),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_each_file_plans(name: str) -> None:
    plan = plan_of(name)
    assert (len(plan.trials), phases(plan), plan.env_steps()) == SIZES[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_says_so(name: str) -> None:
    plan = plan_of(name)
    first, later = phases(plan)
    (row,) = re.findall(rf"^\| \[{name}\]\({name}\.yaml\) .*$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:] == [
        str(len(plan.trials)),
        f"{first} + {later}",
        f"{plan.env_steps():,}",
        f"`nbsp-ray run {name}`",
    ]


def test_the_readme_lists_each_file_once() -> None:
    assert sorted(re.findall(r"^\| \[\w+\]\((\w+)\.yaml\)", (FOLDER / "README.md").read_text(), re.MULTILINE)) == NAMES


def test_the_readmes_own_sweep_is_right(tmp_path: Path) -> None:
    (text, *_) = re.findall(r"```yaml\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    (tmp_path / "x.yaml").write_text(text)
    (sweep,) = load_sweep(str(tmp_path / "x.yaml")).sweeps
    assert (len(sweep.pairs), sweep.skill_neurons, sweep.sac.hidden) == (2, (0.1, 0.2), (512, 512))
    assert load_sweep("toy", ["seeds=0-9", "sac.gamma=0.95"]).sweeps[0].seeds == tuple(range(10))


def test_the_readmes_own_variation_is_right(tmp_path: Path) -> None:
    (_, text, _) = re.findall(r"```yaml\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    (tmp_path / "x.yaml").write_text("benchmark: metaworld\nmethods: ewc\n" + text)
    assert len(load_sweep(str(tmp_path / "x.yaml")).sweeps) == 6
    (one,) = {sweep.method.ewc_coef for sweep in load_sweep("tuning_ewc", ["method.ewc_coef=10"]).sweeps}
    assert one == 10


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_each_file_begins_with_its_schema_and_says_what_it_shows(path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=sweep.schema.json\n")
    assert len(load_sweep(str(path)).title) > 20


# The paper


@pytest.mark.parametrize("name", [*PAPER, "tradeoff", "paper_metaworld"])
def test_sweeps_of_the_paper_use_its_pairs_its_seeds_and_its_settings(name: str) -> None:
    for sweep in load_sweep(name).sweeps:
        assert sweep.benchmark == "metaworld"
        assert sweep.pairs == get_benchmark("metaworld").pairs
        assert sweep.seeds == (0, 1, 2, 3, 4)
        assert all(get_method(method).in_paper or method == BALANCED for method in sweep.methods)
        changed = sweep.model_dump(exclude_unset=True)
        assert set(changed) <= {"title", "benchmark", "pairs", "methods", "seeds", "skill_neurons", "evaluation"}
        # The paper says nothing of other goals: they are a column beside its own.
        assert sweep.evaluation == Evaluation(goals="train" if name == "tradeoff" else "both")


def test_the_papers_atari_sweeps_use_its_pairs_seeds_and_budgets() -> None:
    sweeps = load_sweep("paper_atari").sweeps
    assert [pair for sweep in sweeps for pair in sweep.pairs] == list(get_benchmark("atari").pairs)
    assert [sweep.first.env_steps for sweep in sweeps] == [1_500_000, 3_000_000]
    for sweep in sweeps:
        assert sweep.methods == ("base", "nbsp", BALANCED, "importance_nbsp", "ewc", "ancl")
        assert sweep.seeds == (0, 1, 2, 3, 4)
        assert sweep.first == sweep.second
        own = Sweep.model_validate({"benchmark": "atari", "pairs": sweep.pairs, "methods": sweep.methods} | _ATARI)
        assert (sweep.sac, sweep.evaluation, sweep.method) == (own.sac, own.evaluation, own.method)


_ATARI = dict(get_benchmark("atari").defaults)


def test_the_whole_paper_is_both_benchmarks() -> None:
    paper, parts = plan_of("paper"), [plan_of("paper_metaworld"), plan_of("paper_atari")]
    assert set(paper.phases) == {key for part in parts for key in part.phases}
    assert len(paper.trials) == sum(len(part.trials) for part in parts)


def test_the_smoke_test_is_tiny_and_claims_nothing() -> None:
    loaded = load_sweep("atari_smoke")
    assert "no evidence for the paper" in loaded.title
    (sweep,) = loaded.sweeps
    assert max(sweep.first.env_steps, sweep.second.env_steps, sweep.evaluation.env_steps or 0) <= 2_000


def test_the_paper_is_its_four_sweeps_and_trains_what_they_share_once() -> None:
    paper, parts = plan_of("paper_metaworld"), [plan_of(name) for name in PAPER]
    assert set(paper.phases) == {key for part in parts for key in part.phases}
    of_paper = {name for name, one in methods().items() if one.in_paper}
    assert {trial.method for trial in paper.trials} == of_paper | {BALANCED}


def test_the_trade_off_overlaps_the_paper() -> None:
    paper, tradeoff = plan_of("paper_metaworld"), plan_of("tradeoff")
    shared = [tradeoff.phases[key] for key in tradeoff.phases if key in paper.phases]
    assert len(shared) == 20 + 20 + 20  # the first phases, NBSP at 0.2, and NBSP without neurons: replay_only
    (sweep,) = load_sweep("tradeoff").sweeps
    assert all(isinstance(value, float) for value in sweep.skill_neurons)
    frozen = {
        sum(one["counts"]["actor"] for one in phase.spec.ingredients if one["kind"] == "mask")
        for phase in tradeoff.phases.values()
    }
    assert {0, 102, 512} < frozen


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("paper_metaworld_fixed", 20),  # the first phases
        ("metaworld_controls_fixed", 20),
        ("metaworld_rivals", 20 + 4 * 20),  # base, nbsp, ewc and ancl
        ("tradeoff_fixed", 20),
        ("metaworld_rivals_fixed", 20),
        ("field_fixed", 20),
        ("metaworld_sequences_fixed", 5),
        ("metaworld_controls", 20 + 4 * 20),  # base, replay_only, nbsp with the paper's score, and nbsp_balanced
        ("metaworld_sequences", 5 + 5 * 5),  # all phases of the pair that the sequence begins with
    ],
)
def test_sweeps_beyond_the_paper_share_what_they_can_with_it(name: str, shared: int) -> None:
    assert len(set(plan_of(name).phases) & set(plan_of("paper_metaworld").phases)) == shared


REDUCED = (("drawer-close", "door-close"), ("door-close", "drawer-close"))


@pytest.mark.parametrize("method", ["ewc", "ancl"])
def test_tuning_tries_six_coefficients_on_one_part_or_both_and_says_by_what(method: str) -> None:
    loaded = load_sweep(f"tuning_{method}")
    names = f"{method}_coef", f"{method}_parts"
    tried = {tuple(getattr(sweep.method, name) for name in names) for sweep in loaded.sweeps}
    assert tried == {(10**power, parts) for power in range(6) for parts in ("actor", "actor_critic")}
    assert "by the mean of stability and plasticity over pairs and seeds" in loaded.title
    for sweep in loaded.sweeps:
        assert sweep.pairs == REDUCED
        assert not set(sweep.pairs) & set(get_benchmark("metaworld").pairs)
        assert sweep.seeds == (100, 101)


def test_the_reproduction_shares_its_first_phases_and_never_its_tuning_ones() -> None:
    one, two, counts = (plan_of(f"reproduction_{name}") for name in ("1", "2", "2_counts"))
    first = {key for key, phase in one.phases.items() if phase.spec.index == 0}
    assert len(first) == 10
    assert set(one.phases) & set(two.phases) == first | {
        trial.phases[1] for trial in one.trials if trial.method == "base"
    }
    # Of the counts 0.0 and 0.2, replay_only and nbsp of one pair.
    assert len(set(counts.phases) & set(one.phases)) == 5 + 5 + 5
    tuned = {key for name in ("tuning_ewc", "tuning_ancl") for key in plan_of(name).phases}
    assert not tuned & (set(one.phases) | set(two.phases))
    assert {trial.tasks for trial in one.trials} == {trial.tasks for trial in two.trials} == set(REDUCED)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [(f"reproduction_{step}", 100_000, 50_000) for step in ("1", "2", "2_counts")]
    + [("reproduction_3", 500_000, 200_000)],
)
def test_the_reproduction_is_at_the_budgets_that_its_claims_were_fixed_with(name: str, first: int, second: int) -> None:
    loaded = load_sweep(name)
    (sweep,) = loaded.sweeps
    assert (sweep.first.env_steps, sweep.first.stop) == (first, "stable")
    assert (sweep.second.env_steps, sweep.second.stop) == (second, "fixed")
    assert sweep.seeds == (0, 1, 2, 3, 4)
    assert "at reduced" in loaded.title


FIXED = [name.removesuffix("_fixed") for name in NAMES if name.endswith("_fixed")]


def test_every_comparison_of_stability_ships_at_equal_env_steps_too() -> None:
    """All second phases that the stop rule may end early are there without it, on the same first phases."""
    there = {key for name in FIXED for key in plan_of(f"{name}_fixed").phases}
    for name in NAMES:
        loaded = load_sweep(name)
        if {sweep.benchmark for sweep in loaded.sweeps} != {"metaworld"} or name == "tradeoff_search":
            continue  # games are never stopped, and what a search tries is not known before
        if any(sweep.second.stop == "stable" for sweep in loaded.sweeps):
            assert set(load_sweep(name, ["second.stop=fixed"]).plan(None).phases) <= there, name


@pytest.mark.parametrize("name", FIXED)
def test_what_is_fixed_differs_in_the_stop_rule_of_the_second_phase_alone(name: str) -> None:
    stable, fixed = load_sweep(name).sweeps, load_sweep(f"{name}_fixed").sweeps
    assert {sweep.second.stop for sweep in stable} == {"stable"}
    changed = [
        sweep.model_copy(update={"second": sweep.second.model_copy(update={"stop": "fixed"})}) for sweep in stable
    ]
    assert [sweep.model_dump(exclude={"title"}) for sweep in fixed] == [
        sweep.model_dump(exclude={"title"}) for sweep in changed
    ]


def test_the_trade_off_on_games_counts_neurons_and_shares_what_it_can() -> None:
    (sweep,) = load_sweep("tradeoff_atari").sweeps
    assert all(isinstance(value, int) for value in sweep.skill_neurons)
    assert max(sweep.skill_neurons) == sum(get_benchmark("atari").layers(sweep.sac))
    shared = set(plan_of("tradeoff_atari").phases) & set(plan_of("paper_atari").phases)
    assert len(shared) == 10 + 10  # the first phases, and NBSP at 0.2


def test_the_controls_are_beyond_the_paper_and_say_so() -> None:
    loaded = load_sweep("metaworld_controls")
    assert loaded.title.startswith("Beyond the paper")
    assert [(sweep.methods, sweep.method.score) for sweep in loaded.sweeps] == [
        (("base", "replay_only", "nbsp", "nbsp_balanced", "random_nbsp", "mask_only", "low_lr"), "paper"),
        (("nbsp", "nbsp_balanced"), "paper"),
        (("nbsp", "nbsp_balanced"), "dormant"),
    ]


def test_the_quick_start_is_none_of_the_papers_pairs_and_says_so() -> None:
    loaded = load_sweep("quickstart")
    (sweep,) = loaded.sweeps
    assert not set(sweep.pairs) & set(get_benchmark("metaworld").pairs)
    assert "not one of the paper's pairs" in loaded.title
    assert sweep.sac.hidden == (256, 256)


# Editors


def _valid(data: Any) -> bool:
    return bool(jsonschema.Draft7Validator(json_schema()).is_valid(data))


def test_the_schema_beside_the_files_is_that_of_the_code() -> None:
    """If not: nbsp-ray explain --schema > tune_configs/sweep.schema.json."""
    assert (FOLDER / "sweep.schema.json").read_text() == json.dumps(json_schema(), indent=1) + "\n"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_editors_accept_each_file(path: Path) -> None:
    jsonschema.Draft7Validator(json_schema()).validate(own_settings(path))


LEAST = {"benchmark": "toy", "methods": "base"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"methods": ["base", "nbsp"]},
        {"methods": "base,nbsp"},
        {"seeds": 3},
        {"seeds": "0-4"},
        {"seeds": "0-4,7"},
        {"seeds": [0, "5-7"]},
        {"skill_neurons": 1.0},
        {"skill_neurons": [0.1, 5]},
        {"skill_neurons": "0.1, 0.2"},
        {"pairs": "paper"},
        {"pairs": "reach:avoid"},
        {"pairs": "reach:avoid, avoid > reach"},
        {"pairs": [["reach", "avoid"], "avoid > reach"]},
        {"pairs": ["reach:avoid:reach:avoid", ["avoid", "reach", "avoid"]]},
        {"pairs": "reach:avoid:reach,avoid:reach"},
        {"tasks": ["reach", "avoid", "reach"]},
        {"tasks": "reach, avoid, reach"},
        {"tasks": "reach:avoid"},
        {"vary": None},
        {"vary": {"sac.tau": [0.1, 1e-2], "second.env_steps": [1e3], "sac.hidden": [8, "8,8", [8, 8, 8]]}},
        {"vary": {"resources.memory_gb": [None, 1], "first.stop": ["fixed"]}},
        {"sac": None},
        {"sac": {"hidden": 64, "tau": 1e-3}},
        {"sac": {"hidden": "64,64"}},
        {"first": {"env_steps": 1e6, "stop": "fixed"}},
        {"resources": {"memory_gb": None}},
    ],
    ids=json.dumps,
)
def test_editors_and_the_loader_accept_every_shorthand(more: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(json.dumps(LEAST | more))
    assert load_sweep(str(tmp_path / "x.yaml")).sweeps
    assert _valid(LEAST | more)


@pytest.mark.parametrize(
    "more",
    [
        {"gama": 1},
        {"sac": {"gama": 1}},
        {"sac": {"gamma": "0.9"}},
        {"sac": {"tau": 0}},
        {"sac": {"batch_size": 1.5}},
        {"sac": 5},
        {"first": {"stop": "never"}},
        {"seeds": "five"},
        {"seeds": True},
        {"seeds": []},
        {"skill_neurons": 1.5},
        {"pairs": "reach,avoid"},
        {"pairs": ["reach", "avoid"]},
        {"pairs": [["reach"]]},
        {"tasks": ["reach"]},
        {"tasks": "reach"},
        {"tasks": []},
        {"tasks": None},
        {"tasks": ["reach", 1]},
        {"tasks": ["reach", "avoid"], "pairs": "reach:avoid"},
        {"vary": 5},
        {"vary": {"seeds": [0, 1]}},
        {"vary": {"tau": [0.1]}},
        {"vary": {"sac": {"tau": [0.1]}}},
        {"vary": {"sac.tau": 0.1}},
        {"vary": {"sac.tau": []}},
        {"vary": {"sac.tau": [0.1, 0.1]}},
        {"vary": {"sac.tau": [0.1, 2]}},
        {"vary": {"sac.hidden": [[]]}},
        {"benchmark": 5},
        {"title": 5},
    ],
    ids=json.dumps,
)
def test_editors_and_the_loader_refuse_what_is_wrong(more: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(json.dumps(LEAST | more))
    with pytest.raises(Exception, match=r"x\.yaml:1: "):
        load_sweep(str(tmp_path / "x.yaml"))
    assert not _valid(LEAST | more)


def test_editors_want_a_benchmark_and_methods_unless_others_are_included() -> None:
    assert not _valid({"benchmark": "toy"})
    assert not _valid({"methods": ["base"]})
    assert _valid({"include": ["toy"], "seeds": 5})
    assert _valid({"include": "toy"})
    assert not _valid({"include": []})


def _keys(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _keys(inner)


def test_every_setting_has_help_in_the_editor() -> None:
    schema = json_schema()
    leaves = [node for model in schema["$defs"].values() for node in model["properties"].values()]
    assert all(node["description"] for node in leaves)
    assert "prefixItems" not in set(_keys(schema))  # not in draft 7, which editors know best
