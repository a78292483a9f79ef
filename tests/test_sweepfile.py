import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nbsp_ray.benchmarks import benchmarks
from nbsp_ray.config.describe import names_in
from nbsp_ray.errors import ConfigError
from nbsp_ray.methods import methods
from nbsp_ray.sweepfile import find_sweep, load_sweep, own_settings, sweep_names

Write = Callable[[str, str], None]
BENCHMARKS, METHODS = (", ".join(sorted(table)) for table in (benchmarks(), methods()))
MINIMAL = "benchmark: toy\nmethods: base\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a sweep into tune_configs of the current directory, an empty one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tune_configs").mkdir()

    def to_file(name: str, text: str) -> None:
        (tmp_path / "tune_configs" / f"{name}.yaml").write_text(text)

    return to_file


def problems(name: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_sweep(name, overrides)
    return str(caught.value).splitlines()


# Finding


def test_a_name_is_looked_up_here_before_the_package(write: Write) -> None:
    assert load_sweep("toy").name == "toy"
    write("toy", "title: mine\n" + MINIMAL)
    assert load_sweep("toy").title == "mine"


@pytest.mark.parametrize("given", ["tune_configs/x.yaml", "./tune_configs/x.yaml", "x.yaml"])
def test_a_path_has_a_slash_or_ends_in_yaml(given: str, write: Write, tmp_path: Path) -> None:
    write("x", MINIMAL)
    (tmp_path / "x.yaml").write_text(MINIMAL)
    loaded = load_sweep(given)
    assert (loaded.name, loaded.given) == ("x", given)
    assert load_sweep(str(tmp_path / "x.yaml")).name == "x"


def test_an_unknown_name_says_what_lists_the_known_ones(write: Write) -> None:
    (line,) = problems("quikstart")
    assert "no sweep 'quikstart' (did you mean 'quickstart'?); `nbsp-ray explain sweeps` lists all" in line
    assert "./mine.yaml" in line


def test_a_path_to_nothing(write: Write) -> None:
    assert problems("./x.yaml")[0].startswith("there is no file x.yaml; `nbsp-ray explain sweeps` lists")
    assert problems("tune_configs/")[0].startswith("there is no file tune_configs; ")


def test_sweep_names_are_those_here_and_of_the_package(write: Write) -> None:
    write("mine", MINIMAL)
    assert {"mine", "quickstart", "paper_metaworld"} <= set(sweep_names())
    assert sweep_names() == sorted(set(sweep_names()))


def test_own_settings_are_what_the_file_says(write: Write) -> None:
    write("x", "title: t\ninclude: [y]\nsac: {hidden: 64}")
    assert own_settings(find_sweep("x")) == {"title": "t", "include": ["y"], "sac": {"hidden": 64}}
    write("x", "- 1")
    assert own_settings(find_sweep("x")) == {}


def test_entries_apart_hold_anchors_and_are_no_settings(write: Write) -> None:
    write("x", f"x-small: &small {{hidden: [8, 8], tau: 0.1}}\n{MINIMAL}\nsac:\n  <<: *small\n  tau: 0.2")
    (sweep,) = load_sweep("x").sweeps
    assert (sweep.sac.hidden, sweep.sac.tau) == ((8, 8), 0.2)
    assert "x-small" not in own_settings(find_sweep("x"))
    write("y", f"x-small: &small {{hiden: [8, 8]}}\n{MINIMAL}\nsac: {{<<: *small}}")
    with pytest.raises(ConfigError, match=r"y\.yaml:1: 'sac\.hiden' is not a setting \(did you mean 'hidden'"):
        load_sweep("y")


# Layers


def test_the_least_file_takes_the_defaults_of_its_benchmark_and_the_papers_pairs(write: Write) -> None:
    write("x", MINIMAL)
    loaded = load_sweep("x")
    (sweep,) = loaded.sweeps
    assert (loaded.name, loaded.title, loaded.overrides) == ("x", "", ())
    assert sweep.pairs == (("reach", "avoid"),)
    assert sweep.seeds == (0, 1, 2, 3, 4)
    assert sweep.sac.hidden == (32, 32)
    assert (sweep.first.env_steps, sweep.second.stop) == (3_000, "fixed")


def test_the_file_is_above_the_benchmark_and_the_command_line_above_the_file(write: Write) -> None:
    write("x", MINIMAL + "sac: {gamma: 0.5, tau: 0.1}\nfirst: {env_steps: 1e4}\nseeds: [7]\n")
    (sweep,) = load_sweep("x", ["sac.tau=1e-2", "second.env_steps=1e4", "title=now: mine"]).sweeps
    assert (sweep.sac.gamma, sweep.sac.tau, sweep.sac.batch_size) == (0.5, 0.01, 64)
    assert (sweep.first.env_steps, sweep.first.eval_every, sweep.second.env_steps) == (10_000, 250, 10_000)
    assert (sweep.seeds, sweep.title) == ((7,), "now: mine")


@pytest.mark.parametrize(
    ("override", "axis", "values"),
    [
        ("seeds=0-1", "seeds", (0, 1)),
        ("seeds=3", "seeds", (3,)),
        ("seeds=[3, 5]", "seeds", (3, 5)),
        ("methods=base,nbsp", "methods", ("base", "nbsp")),
        ("methods=[nbsp]", "methods", ("nbsp",)),
        ("skill_neurons=0.1,5,1.0", "skill_neurons", (0.1, 5, 1.0)),
        ("pairs=avoid:reach", "pairs", (("avoid", "reach"),)),
        ("pairs=avoid > reach, reach > avoid", "pairs", (("avoid", "reach"), ("reach", "avoid"))),
        ("pairs=[[avoid, reach]]", "pairs", (("avoid", "reach"),)),
        ("pairs=paper", "pairs", (("reach", "avoid"),)),
    ],
)
def test_overrides_of_axes(override: str, axis: str, values: tuple[object, ...], write: Write) -> None:
    write("x", MINIMAL + "pairs: avoid:reach\n")
    loaded = load_sweep("x", [override])
    assert getattr(loaded.sweeps[0], axis) == values
    assert loaded.overrides == (override,)


def test_overrides_of_settings(write: Write) -> None:
    write("x", MINIMAL)
    given = ["sac.hidden=64,32", "sac={gamma: 0.5}", "first.stop=fixed", "resources.memory_gb=null", "seeds = 4"]
    (sweep,) = load_sweep("x", given).sweeps
    assert (sweep.sac.hidden, sweep.sac.gamma, sweep.sac.batch_size) == ((64, 32), 0.5, 64)
    assert (sweep.first.stop, sweep.resources.memory_gb, sweep.seeds) == ("fixed", None, (4,))


def test_an_empty_section_is_no_setting(write: Write) -> None:
    write("x", MINIMAL + "sac:\n#  tau: 0.1\n")
    assert load_sweep("x").sweeps[0].sac.hidden == (32, 32)


def test_another_benchmark_brings_its_own_defaults(write: Write) -> None:
    write("x", MINIMAL)
    (sweep,) = load_sweep("x", ["benchmark=metaworld"]).sweeps
    assert (len(sweep.pairs), sweep.sac.hidden, sweep.first.env_steps) == (4, (256, 256), 1_000_000)


# Problems


def test_all_problems_of_a_file_at_once_each_with_its_line(write: Write) -> None:
    write(
        "bad",
        """\
title: 5
benchmark: metaworld
pairs: [drawer-open:drawer-clos, drawer-open:drawer-open]
methods: [base, nbps]
seeds:
  - 0
  - "5"
  - true
skill_neurons: [0.2, 1.5]
sac: {gama: 0.9, tau: 2, hidden: [],
  batch_size: 1.5}
sac.gamma: 0.9
gamma: 0.9
first: 5
second: {stop: never}
seeds: 3
""",
    )
    assert problems("bad") == [
        "tune_configs/bad.yaml:1: title is 5; it takes text",
        "tune_configs/bad.yaml:3: 'drawer-clos' is not a task of metaworld (did you mean 'drawer-close'?); "
        "`nbsp-ray explain metaworld` lists them",
        "tune_configs/bad.yaml:3: the pair drawer-open > drawer-open learns the same task twice; name two tasks",
        f"tune_configs/bad.yaml:4: no method 'nbps' (did you mean 'nbsp'?); there are {METHODS}",
        'tune_configs/bad.yaml:7: seeds has "5"; each is a whole number from 0 to 4,000,000,000',
        "tune_configs/bad.yaml:8: seeds has true; each is a whole number from 0 to 4,000,000,000",
        "tune_configs/bad.yaml:9: skill_neurons has 1.5; each is a whole number >= 0 (a count per network) or a "
        "number from 0 to 1 (a fraction of its hidden neurons)",
        "tune_configs/bad.yaml:10: 'sac.gama' is not a setting (did you mean 'gamma'?)",
        "tune_configs/bad.yaml:10: sac.hidden is empty; it takes one or more, each a whole number >= 1",
        "tune_configs/bad.yaml:10: sac.tau is 2; it takes a number > 0 and <= 1",
        "tune_configs/bad.yaml:11: sac.batch_size is 1.5; it takes a whole number >= 1",
        "tune_configs/bad.yaml:12: 'sac.gamma': in a file this is `sac:`, and `gamma:` indented below it",
        "tune_configs/bad.yaml:13: 'gamma' is not a setting (did you mean 'sac.gamma'?)",
        f"tune_configs/bad.yaml:14: first is 5; it takes settings: {names_in('first')}",
        'tune_configs/bad.yaml:15: second.stop is "never"; it takes one of stable, stable_training, fixed',
        "tune_configs/bad.yaml:16: 'seeds' is given twice, first on line 5",
    ]


def test_all_problems_of_the_command_line_at_once(write: Write) -> None:
    write("x", MINIMAL)
    given = (
        "sac.gama=1 tau=0.1 seeds sac.tau= seeds=0-1 seeds=0 methods=base,nbps nope=1 env_steps=5 sac.hidden=64,x "
        "first.env_steps=1.5 pairs=reach,avoid seeed=1 foo sac=3 skill_neurons=[1"
    ).split()
    assert problems("x", *given) == [
        "command line: 'sac.gama' is not a setting (did you mean 'sac.gamma'?)",
        "command line: 'tau' is not a setting (did you mean 'sac.tau'?)",
        "command line: seeds has no value; write seeds=VALUE, such as seeds=0,1,2,3,4",
        "command line: sac.tau has no value; write sac.tau=VALUE, such as sac.tau=0.005",
        "command line: seeds is given twice: seeds=0-1 and seeds=0",
        "command line: 'nope' is not a setting",
        "command line: 'env_steps' is not a setting "
        "(did you mean 'first.env_steps' or 'second.env_steps' or 'evaluation.env_steps'?)",
        "command line: 'seeed' is not a setting (did you mean 'seeds'?)",
        "command line: 'foo' is not a setting; a setting is given as KEY=VALUE, such as seeds=0-1",
        "command line: skill_neurons=[1: this is not YAML: expected ',' or ']', but got '<stream end>' while parsing "
        "a flow sequence",
        f"command line: sac is 3; it takes settings: {names_in('sac')}",
        "command line: pairs names tasks, but no pair of them (did you mean reach:avoid?)",
        f"command line: no method 'nbps' (did you mean 'nbsp'?); there are {METHODS}",
        "command line: first.env_steps is 1.5; it takes a whole number >= 1",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["x.yaml: holds no settings; it takes lines such as `benchmark: metaworld`"]),
        ("- base", ["x.yaml: holds no settings; it takes lines such as `benchmark: metaworld`"]),
        (
            "title: t",
            [
                f"x.yaml: benchmark is missing; there are {BENCHMARKS}",
                "x.yaml: methods is missing; `nbsp-ray explain methods` lists them",
            ],
        ),
        ("a: [1\nb: 2", ["x.yaml:2: this is not YAML: expected ',' or ']', but got ':' while parsing a flow sequence"]),
        (
            "benchmark: toi\nmethods: base",
            [f"x.yaml:1: no benchmark 'toi' (did you mean 'toy'?); there are {BENCHMARKS}"],
        ),
        ("benchmark: 5\nmethods: base", ["x.yaml:1: benchmark is 5; it takes text"]),
        (
            "benchmark: toy\nmethods: []\nseeds:",
            ["x.yaml:2: an empty sweep: methods is empty", "x.yaml:3: an empty sweep: seeds is empty"],
        ),
        ("benchmark: toy\nmethods: base\npairs: []", ["x.yaml:3: an empty sweep: pairs is empty"]),
        ("benchmark: toy\nmethods: base\nskill_neurons: []", ["x.yaml:3: an empty sweep: skill_neurons is empty"]),
        ("benchmark: toy\nmethods: [base, base]", ["x.yaml:2: methods lists base twice"]),
        ("benchmark: toy\nmethods: base\nseeds: [0, 0-1]", ["x.yaml:3: seeds lists 0 twice"]),
        (
            "benchmark: toy\nmethods: base\nskill_neurons:\n- 65\n- 64",
            [
                "x.yaml:4: skill_neurons: 65 is more than the 64 hidden neurons of each network (32 + 32); "
                "give a count up to 64, or a fraction such as 0.2"
            ],
        ),
        (
            "benchmark: toy\nmethods: base\npairs:\n- reach:avoid\n- reach:slide",
            [
                "x.yaml:5: one network cannot serve reach > slide: reach has 5 observations and 2 actions, slide 3 "
                "observations and 1 actions; choose tasks with equal spaces"
            ],
        ),
        (
            "benchmark: atari\nmethods: base\nsac:\n  network: normalised",
            [
                "x.yaml:4: sac.network scales rewards, and atari learns from clipped ones, which have a scale already; "
                "set sac.reward_scale=none"
            ],
        ),
        (
            "benchmark: toy\nmethods: base\nsecond: {env_steps: 250}",
            [
                "x.yaml:3: second.env_steps is 250: nothing would be learnt, for the first 250 env steps are random "
                "(sac.learning_starts)"
            ],
        ),
        (
            "benchmark: toy\nmethods: base\nseeds: 4-0",
            ["x.yaml:3: the range 4-0 of seeds is empty; the smaller comes first: 0-4"],
        ),
        ("benchmark: toy\nmethods: base\n1: 2", ["x.yaml:3: '1' is not a setting"]),
        ("benchmark: toy\nmethods: base\nsac: {alpha: .inf}", ['x.yaml:3: sac.alpha is ".inf"; it takes a number > 0']),
    ],
)
def test_problems_of_a_file(text: str, found: list[str], write: Write) -> None:
    write("x", text)
    assert problems("x") == [f"tune_configs/{line}" for line in found]


def test_a_file_elsewhere_is_named_in_full(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("x", "nope: 1\n" + MINIMAL)
    monkeypatch.chdir(tmp_path / "tune_configs")
    assert problems("x.yaml") == ["x.yaml:1: 'nope' is not a setting"]
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert problems("../tune_configs/x.yaml") == [f"{tmp_path}/tune_configs/x.yaml:1: 'nope' is not a setting"]


def test_a_file_that_is_not_text(write: Write, tmp_path: Path) -> None:
    (tmp_path / "tune_configs" / "x.yaml").write_bytes(b"title: \xff\xfe")
    (line,) = problems("x")
    assert line.startswith("tune_configs/x.yaml: cannot be read: 'utf-8' codec can't decode")


# Longer sequences


def test_tasks_are_the_only_sequence(write: Write) -> None:
    write("x", MINIMAL + "tasks: [reach, avoid, reach, avoid]\n")
    assert load_sweep("x").sweeps[0].pairs == (("reach", "avoid", "reach", "avoid"),)
    assert load_sweep("x", ["tasks=avoid,reach,avoid"]).sweeps[0].pairs == (("avoid", "reach", "avoid"),)
    assert load_sweep("x", ["pairs=avoid:reach"]).sweeps[0].pairs == (("avoid", "reach"),)
    write("x", MINIMAL + "pairs: [reach:avoid, reach:avoid:reach]\n")
    assert load_sweep("x").sweeps[0].pairs == (("reach", "avoid"), ("reach", "avoid", "reach"))
    assert load_sweep("x", ["tasks=[avoid, reach]"]).sweeps[0].pairs == (("avoid", "reach"),)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tasks: [reach]", 'tasks is ["reach"]; it takes two tasks or more, such as [a, b, a, b]'),
        (
            "tasks: [reach, avoid]\npairs: avoid:reach",
            "tasks stands for one entry of pairs, which are given too; leave one of them",
        ),
        (
            "tasks: [reach, avoid, avoid]",
            "the pair avoid > avoid learns the same task twice; name two tasks",
        ),
        (
            "tasks: [reach, avoid, slid]",
            "'slid' is not a task of toy (did you mean 'slide'?); `nbsp-ray explain toy` lists them",
        ),
        ("taks: [reach, avoid]", "'taks' is not a setting (did you mean 'tasks'?)"),
    ],
)
def test_problems_of_tasks(text: str, found: str, write: Write) -> None:
    write("x", MINIMAL + text)
    assert problems("x") == [f"tune_configs/x.yaml:3: {found}"]


def test_problems_of_tasks_on_the_command_line(write: Write) -> None:
    write("x", MINIMAL)
    assert problems("x", "tasks=reach") == [
        'command line: tasks is "reach"; it takes two tasks or more, such as [a, b, a, b]'
    ]
    assert problems("x", "tasks=") == ["command line: tasks has no value; write tasks=VALUE"]
    assert problems("x", "tasks=reach,avoid", "pairs=paper") == [
        "command line: tasks stands for one entry of pairs, which are given too; leave one of them"
    ]
    assert problems("x", "tasks=reach,avoid,avoid") == [
        "command line: the pair avoid > avoid learns the same task twice; name two tasks"
    ]


# Variations


def test_a_file_is_one_sweep_for_each_combination_of_what_it_varies(write: Write) -> None:
    write(
        "x", "title: t\n" + MINIMAL + "vary: {sac.tau: [0.1, 0.2], sac.hidden: [8, [8, 8]], first.env_steps: [1e3]}\n"
    )
    loaded = load_sweep("x")
    assert [(one.sac.tau, one.sac.hidden, one.first.env_steps) for one in loaded.sweeps] == [
        (0.1, (8,), 1000),
        (0.1, (8, 8), 1000),
        (0.2, (8,), 1000),
        (0.2, (8, 8), 1000),
    ]
    assert loaded.title == "t"
    assert {one.title for one in loaded.sweeps} == {"t"}


def test_an_override_replaces_a_variation(write: Write) -> None:
    write("x", MINIMAL + "vary: {sac.tau: [0.1, 0.2], sac.gamma: [0.5, 0.6]}\n")
    sweeps = load_sweep("x", ["sac.tau=0.3"]).sweeps
    assert [(one.sac.tau, one.sac.gamma) for one in sweeps] == [(0.3, 0.5), (0.3, 0.6)]
    assert len(load_sweep("x", ["sac={tau: 0.3, gamma: 0.5}"]).sweeps) == 1


def test_a_section_may_be_set_beside_what_is_varied_in_it(write: Write) -> None:
    write("x", MINIMAL + "sac: {gamma: 0.5}\nvary: {sac.tau: [0.1, 0.2]}\n")
    assert [(one.sac.tau, one.sac.gamma) for one in load_sweep("x").sweeps] == [(0.1, 0.5), (0.2, 0.5)]


def test_commas_on_the_command_line_vary_a_setting(write: Write) -> None:
    write("x", MINIMAL + "sac: {gamma: 0.5}\n")
    loaded = load_sweep("x", ["sac.gamma=0.95, 0.99", "first.stop=fixed,stable", "sac.hidden=64,32", "seeds=3,4"])
    assert [(one.sac.gamma, one.first.stop) for one in loaded.sweeps] == [
        (0.95, "fixed"), (0.95, "stable"), (0.99, "fixed"), (0.99, "stable"),
    ]  # fmt: skip
    assert {(one.sac.hidden, one.seeds) for one in loaded.sweeps} == {((64, 32), (3, 4))}
    assert len(loaded.plan(None).trials) == 4 * 2


def test_commas_replace_and_join_the_variations_of_a_file(write: Write) -> None:
    write("x", MINIMAL + "vary: {sac.gamma: [0.1, 0.2, 0.3], sac.tau: [0.5]}\n")
    assert [(one.sac.gamma, one.sac.tau) for one in load_sweep("x", ["sac.gamma=0.8,0.9"]).sweeps] == [
        (0.8, 0.5), (0.9, 0.5),
    ]  # fmt: skip
    write("all", "include: x\n")
    assert [one.sac.gamma for one in load_sweep("all", ["sac.gamma=0.8,0.9"]).sweeps] == [0.8, 0.9]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sac.gamma=0.9,2", "command line: sac.gamma is 2; it takes a number from 0 to 1"),
        ("sac.gamma=0.9,0.9", "command line: vary lists sac.gamma: 0.9 twice"),
        ("sac.gamma=0.9,", "command line: sac.gamma is null; it takes a number from 0 to 1"),
        (
            "sac.gamma=[0.9, 0.8]",
            "command line: sac.gamma is [0.9, 0.8]; it takes a number from 0 to 1; to try several, "
            "`vary: {sac.gamma: [0.9, 0.8]}` in a file, or sac.gamma=A,B on the command line",
        ),
        ("vary={}", "command line: vary stands in sweep files only; here commas vary a setting: sac.gamma=0.95,0.99"),
    ],
)
def test_what_commas_cannot_vary_is_said(override: str, message: str, write: Write) -> None:
    write("x", MINIMAL)
    assert problems("x", override) == [message]


def test_an_empty_vary_varies_nothing(write: Write) -> None:
    write("x", MINIMAL + "vary:\n#  sac.tau: [0.1]\n")
    assert len(load_sweep("x").sweeps) == 1


def test_all_problems_of_variations_at_once_each_with_its_line(write: Write) -> None:
    write(
        "x",
        MINIMAL
        + """\
sac: {gamma: 0.5}
vary:
  sac.gamma: [0.5]
  sac.tua: [0.1]
  tau: [0.1]
  method: {score: [paper]}
  seeds: [0, 1]
  method.ewc_coef: 5
  method.ancl_coef: []
  first.stop: [fixed, fixed]
  sac.tau:
  - 0.1
  - 2
  second.env_steps: [250, 251]
""",
    )
    one_of = names_in("method")
    assert problems("x") == [
        "tune_configs/x.yaml:5: sac.gamma is set in this file and varied; leave one of them",
        "tune_configs/x.yaml:6: 'sac.tua' is not a setting (did you mean 'sac.tau'?)",
        "tune_configs/x.yaml:7: 'tau' is not a setting (did you mean 'sac.tau'?)",
        f"tune_configs/x.yaml:8: vary takes single settings by their dotted names: method. and one of {one_of}",
        "tune_configs/x.yaml:9: vary takes settings of the sections, such as sac.tau; seeds stands outside of it",
        "tune_configs/x.yaml:10: vary has method.ewc_coef: 5; it takes a list of values, such as "
        "`method.ewc_coef: [1, 10, 100]`",
        "tune_configs/x.yaml:11: vary has method.ancl_coef: []; it takes a list of values, such as "
        "`method.ewc_coef: [1, 10, 100]`",
        'tune_configs/x.yaml:12: vary lists first.stop: "fixed" twice',
        "tune_configs/x.yaml:15: sac.tau is 2; it takes a number > 0 and <= 1",
        "tune_configs/x.yaml:16: second.env_steps is 250: nothing would be learnt, for the first 250 env steps are "
        "random (sac.learning_starts)",
    ]
    write("x", MINIMAL + "vary: [sac.tau]")
    assert problems("x")[0].startswith(
        'tune_configs/x.yaml:3: vary is ["sac.tau"]; it takes settings, each with a list'
    )


# Include


@pytest.fixture
def composed(write: Write) -> Write:
    write("one", "title: One\nbenchmark: toy\nmethods: [base]\nseeds: 0-1\n")
    write("two", "title: Two\nbenchmark: toy\nmethods: [nbsp, base]\nseeds: 0-2\npairs: [reach:avoid, avoid:reach]\n")
    write("both", "title: Both\ninclude: [one, two]\n")
    return write


def test_a_file_may_be_made_of_others(composed: Write) -> None:
    loaded = load_sweep("both")
    assert (loaded.name, loaded.title) == ("both", "Both")
    assert [(sweep.title, sweep.seeds) for sweep in loaded.sweeps] == [("One", (0, 1)), ("Two", (0, 1, 2))]


def test_settings_beside_include_and_on_the_command_line_hold_for_each(composed: Write) -> None:
    composed("more", "include: both\nseeds: 5\nsac: {tau: 0.1, gamma: 0.5}\n")
    sweeps = load_sweep("more", ["sac.tau=0.2"]).sweeps
    assert [(sweep.seeds, sweep.sac.tau, sweep.sac.gamma, sweep.title) for sweep in sweeps] == [
        ((5,), 0.2, 0.5, "One"),
        ((5,), 0.2, 0.5, "Two"),
    ]


def test_variations_come_along_and_are_replaced_from_above(composed: Write) -> None:
    def taus(text: str, *overrides: str) -> list[tuple[str, float, float]]:
        composed("more", text)
        return [(one.title, one.sac.tau, one.sac.gamma) for one in load_sweep("more", overrides).sweeps]

    composed("one", "title: One\nbenchmark: toy\nmethods: [base]\nvary: {sac.tau: [0.1, 0.2]}\n")
    two = ("Two", 0.005, 0.9)
    assert taus("include: both") == [("One", 0.1, 0.9), ("One", 0.2, 0.9), two]
    assert taus("include: both", "methods=nbsp") == [two]
    for text, overrides in (("include: both\nsac: {tau: 0.5}", []), ("include: both", ["sac.tau=0.5"])):
        assert taus(text, *overrides) == [("One", 0.5, 0.9), ("Two", 0.5, 0.9)]
    assert taus("include: one\nvary: {sac.tau: [0.3]}") == [("One", 0.3, 0.9)]
    assert taus("include: one\nvary: {sac.gamma: [0.5, 0.6]}", "sac.tau=0.1") == [("One", 0.1, 0.5), ("One", 0.1, 0.6)]


def test_tasks_select_too(composed: Write) -> None:
    composed("one", "title: One\nbenchmark: toy\nmethods: base\npairs: [reach:avoid, reach:avoid:reach]\n")
    assert [one.pairs for one in load_sweep("both", ["tasks=reach,avoid,reach"]).sweeps] == [
        (("reach", "avoid", "reach"),)
    ]


@pytest.mark.parametrize("by_file", [True, False])
def test_methods_and_pairs_select_from_what_is_included(by_file: bool, composed: Write) -> None:
    def selected(axis: str, values: str) -> list[tuple[object, ...]]:
        composed("more", f"include: both\n{axis}: {values}\n" if by_file else "include: both\n")
        loaded = load_sweep("more", [] if by_file else [f"{axis}={values}"])
        return [(sweep.title, *getattr(sweep, axis)) for sweep in loaded.sweeps]

    assert selected("methods", "nbsp") == [("Two", "nbsp")]
    assert selected("methods", "base") == [("One", "base"), ("Two", "base")]
    assert selected("methods", "base,nbsp") == [("One", "base"), ("Two", "nbsp", "base")]
    assert selected("pairs", "avoid:reach") == [("Two", ("avoid", "reach"))]
    assert selected("pairs", "paper") == [("One", ("reach", "avoid")), ("Two", ("reach", "avoid"), ("avoid", "reach"))]


def test_what_no_included_sweep_has_cannot_be_selected(composed: Write) -> None:
    assert problems("both", "methods=base,mask_only") == [
        "command line: none of the included sweeps has the method 'mask_only'; they have base, nbsp"
    ]
    assert problems("both", "methods=nbps") == [
        "command line: none of the included sweeps has the method 'nbps' (did you mean 'nbsp'?); they have base, nbsp"
    ]
    assert problems("both", "pairs=reach:slide") == [
        "command line: none of the included sweeps has the pair 'reach:slide'; they have reach:avoid, avoid:reach"
    ]
    assert problems("both", "methods=[]") == ["command line: an empty sweep: methods is empty"]
    composed("more", "include: both\nmethods:\n- base\n- mask_only\n")
    assert problems("more") == [
        "tune_configs/more.yaml:4: none of the included sweeps has the method 'mask_only'; they have base, nbsp"
    ]


def test_a_method_and_a_pair_that_never_meet_are_an_empty_sweep(composed: Write) -> None:
    composed("two", "benchmark: toy\nmethods: nbsp\npairs: avoid:reach\n")
    assert problems("both", "pairs=reach:avoid", "methods=nbsp") == [
        "command line: none of the included sweeps has the method 'nbsp'; they have base"
    ]


def test_another_benchmark_is_known_before_its_pairs_are_selected(composed: Write) -> None:
    composed("both", "include: one\n")
    (sweep,) = load_sweep("both", ["benchmark=metaworld", "pairs=window-open:window-close"]).sweeps
    assert sweep.pairs == (("window-open", "window-close"),)


def test_problems_of_included_files_come_together_and_once(composed: Write) -> None:
    composed("one", "benchmark: toy\nmethods: base\nsac: {gama: 1}\n")
    composed("both", "title: Both\ninclude:\n- one\n- nope\n- both\n- one\nseeeds: 3\n")
    found = problems("both", "seeds=x")
    assert found[0].startswith("tune_configs/both.yaml:4: no sweep 'nope'")
    assert found[1:] == [
        "tune_configs/both.yaml:5: include goes in a circle: both > both",
        "tune_configs/both.yaml:7: 'seeeds' is not a setting (did you mean 'seeds'?)",
        "tune_configs/one.yaml:3: 'sac.gama' is not a setting (did you mean 'gamma'?)",
        'command line: seeds has "x"; each is a whole number from 0 to 4,000,000,000',
    ]


def test_a_long_circle(composed: Write) -> None:
    composed("one", "include: two")
    composed("two", "include: both")
    composed("both", "include: one")
    assert problems("both") == ["tune_configs/two.yaml:1: include goes in a circle: both > one > two > both"]


def test_the_same_sweep_twice_is_no_circle(composed: Write) -> None:
    composed("more", "include: [both, one]\n")
    assert len(load_sweep("more").sweeps) == 3


def test_includes_are_looked_up_beside_the_file_first(composed: Write, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "one.yaml").write_text("title: Own\n" + MINIMAL)
    (tmp_path / "own" / "all.yaml").write_text("include: [one, two, ../tune_configs/one.yaml]\n")
    assert [sweep.title for sweep in load_sweep("own/all.yaml").sweeps] == ["Own", "Two", "One"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[]", "an empty sweep: include is empty"),
        ("5", "include is 5; it takes names of sweeps, such as [preliminary]"),
        ("[5]", "include is [5]; it takes names of sweeps"),
        ("", "include is null; it takes names of sweeps"),
    ],
)
def test_include_takes_names(value: str, words: str, composed: Write) -> None:
    composed("both", f"include: {value}\n")
    (line,) = problems("both")
    assert line.startswith(f"tune_configs/both.yaml:1: {words}")


def test_include_is_no_override(composed: Write) -> None:
    assert problems("both", "include=one", "vary={sac.tau: [0.1]}") == [
        f"command line: {key} stands in sweep files only; {how}"
        for key, how in (
            ("include", "here a setting has one value: KEY=VALUE"),
            ("vary", "here commas vary a setting: sac.gamma=0.95,0.99"),
        )
    ]


# Speed


def test_loading_needs_neither_torch_nor_ray_nor_the_simulator() -> None:
    code = (
        "import sys, nbsp_ray.verbs.explain; from nbsp_ray.sweepfile import load_sweep; load_sweep('paper_metaworld');"
        "print(*sorted({'torch', 'ray', 'pandas', 'metaworld', 'mujoco', 'gymnasium'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_a_sweep_on_another_benchmark_has_not_its_files_title() -> None:
    assert load_sweep("toy").title.startswith("Two point-mass tasks")
    assert load_sweep("toy", ["benchmark=toy"]).title == load_sweep("toy").title
    other = ["benchmark=metaworld", "pairs=drawer-open:drawer-close"]
    assert load_sweep("toy", other).title == "toy with benchmark=metaworld"
    assert load_sweep("toy", [*other, "title=mine"]).title == "mine"
