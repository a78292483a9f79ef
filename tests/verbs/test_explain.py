import json
from pathlib import Path

import pytest

from nbsp_ray.benchmarks import benchmarks
from nbsp_ray.config.describe import FILE_KEYS, sections, settings
from nbsp_ray.errors import ConfigError
from nbsp_ray.methods import methods
from nbsp_ray.states import State
from nbsp_ray.sweepfile import sweep_names
from nbsp_ray.verbs.explain import GLOSSARY, WIDTH, Explanation, explain

LISTS = ("settings", "methods", "benchmark", "benchmarks", "sweeps", "states", "words")
WORDS = ("", *LISTS, *settings(), *sections(), *FILE_KEYS, *methods(), *benchmarks(), *sweep_names(), *State, *GLOSSARY)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_explained_as_text_and_as_json(word: str) -> None:
    found = explain(word)
    text = str(found)
    assert found.summary
    assert text.startswith(f"{found.name} ({found.kind})\n\n")
    assert all(len(line) <= WIDTH and line == line.rstrip() for line in text.splitlines())
    assert json.loads(json.dumps(found.to_json()))["name"] == found.name
    assert all(len(row) == len(found.columns) for row in found.rows)


@pytest.mark.parametrize("word", ["sac.tau", "tau"])
def test_a_setting(word: str) -> None:
    found = explain(word)
    assert (found.kind, found.name) == ("setting", "sac.tau")
    assert "Table 2" in found.summary
    assert found.facts["takes"] == "a number > 0 and <= 1"
    assert found.facts["default"] == 0.005


def test_a_setting_that_a_benchmark_and_a_sweep_set() -> None:
    facts = explain("sac.hidden").facts
    assert facts["default"] == [256, 256]
    assert facts["default of toy"] == [32, 32]
    assert "default of metaworld" not in facts
    learning_starts = explain("sac.learning_starts").facts
    assert learning_starts["set by"]["quickstart"] == 2500
    assert "metaworld_main" not in learning_starts["set by"]


def test_a_setting_that_a_sweep_varies() -> None:
    assert explain("score").facts["set by"] == {"metaworld_scores": ["paper", "dormant"]}


def test_keys_of_sweep_files() -> None:
    found = explain("vary")
    assert (found.kind, found.name) == ("key of sweep files", "vary")
    assert "replaces its variation" in found.summary
    assert found.facts["in sweeps"]["metaworld_scores"] == {"method.score": ["paper", "dormant"]}
    assert "`pairs: [a:b:a:b]`" in explain("tasks").summary
    including = {"atari_main", "metaworld_controls", "metaworld_controls_fixed", "paper", "paper_atari"}
    assert including | {"paper_metaworld", "paper_metaworld_fixed"} <= set(explain("include").facts["in sweeps"])


def test_a_setting_that_must_be_given() -> None:
    assert explain("benchmark").kind == "list"  # the list is more use than the setting
    found = explain("pairs")
    assert found.facts["default"] == "paper"
    assert "drawer-open:drawer-close" in found.summary


def test_a_section_lists_its_settings() -> None:
    found = explain("evaluation")
    assert found.kind == "section"
    assert [row[0] for row in found.rows] == [path for path in settings() if path.startswith("evaluation.")]


def test_methods_say_what_is_in_the_paper() -> None:
    rows = {row[0]: row[1:] for row in explain("methods").rows}
    assert sorted(rows) == sorted(methods())
    groups = [group for group, _ in rows.values()]
    assert list(dict.fromkeys(groups)) == ["paper", "control", "field"]
    assert groups == sorted(groups, key=["paper", "control", "field"].index)
    assert rows["redo"][0] == "field"
    assert rows["nbsp"] == ("paper", methods()["nbsp"].summary)
    assert rows["mask_only"][0] == "control"


def test_a_method_and_its_ingredients() -> None:
    found = explain("nbsp")
    assert found.facts["from"] == "the paper"
    assert found.rows == (
        ("replay", "interval", 10),
        ("replay", "parts", ["actor", "critic"]),
        ("mask", "select", "skill"),
        ("mask", "score", "paper"),
        ("mask", "strength", 1.0),
        ("mask", "counts", {"actor": 102, "q1": 102, "q2": 102}),
    )
    assert {"metaworld_main", "paper_metaworld", "tradeoff"} <= set(found.facts["in sweeps"])
    assert "preliminary" not in found.facts["in sweeps"]
    assert explain("base").rows == ()


def test_a_benchmark_its_tasks_and_pairs() -> None:
    found = explain("metaworld")
    assert found.kind == "benchmark"
    assert "window-close:window-open" in found.facts["pairs"]
    ((observations, actions, tasks),) = found.rows
    assert (observations, actions, len(tasks.split(", "))) == ("39", 4, 50)
    assert [row[:2] for row in explain("toy").rows] == [("5", 2), ("3", 1)]
    assert explain("toy").facts["default second.stop"] == "fixed"


def test_a_task_and_what_it_can_be_paired_with() -> None:
    found = explain("Pong")
    assert (found.kind, found.facts["actions"], found.facts["in the pairs"]) == (
        "task",
        6,
        "Bowling:Pong, Pong:Bowling",
    )
    assert {"Bowling", "Carnival"} < set(found.facts["can be paired with"].split(", "))
    assert "normalised" in found.facts["judged by"]
    assert explain("Carnival").facts["judged by"] == "its score"
    assert explain("slide").facts["can be paired with"] == explain("slide").facts["in the pairs"] == "none"
    assert explain("drawer-open").facts["judged by"] == "success"


def test_a_word_with_two_meanings_names_the_other() -> None:
    assert explain("toy").facts["also"] == "a sweep"
    assert explain("methods").facts["also"] == "a setting"


@pytest.mark.parametrize(
    "word", ["paper_metaworld", str(Path(__file__).parents[2] / "tune_configs/paper_metaworld.yaml")]
)
def test_a_sweep_its_title_and_size(word: str) -> None:
    found = explain(word)
    assert (found.kind, found.name) == ("sweep", "paper_metaworld")
    assert "Table 1" in found.summary
    assert found.facts["trials"] == 180
    assert found.facts["phases"] == "20 first and 180 later ones"
    assert found.facts["env steps"] == "at most 200,000,000"


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (
            "sac.tua",
            "nothing is known of 'sac.tua' (did you mean 'sac.tau'?); `nbsp-ray explain` alone says what can be",
        ),
        ("gama", "(did you mean 'gamma'?)"),
        ("nbps", "(did you mean 'nbsp'?)"),
        ("metawold", "(did you mean 'metaworld'?)"),
        ("quikstart", "(did you mean 'quickstart'?)"),
        ("zebra", "nothing is known of 'zebra'; "),
        ("eval_every", "'eval_every' is 2 settings: first.eval_every and second.eval_every; name one of them"),
        ("Bowlin", "nothing is known of 'Bowlin' (did you mean 'Bowling'?); "),
        ("./zebra.yaml", "there is no file"),
    ],
)
def test_an_unknown_word(word: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        explain(word)
    assert text in str(caught.value)


def test_the_text_is_aligned_and_wrapped() -> None:
    found = Explanation(
        "list",
        "x",
        "Why.",
        {"a": 1, "long": [1, "b"], "none": {}},
        ("one", "two"),
        (("a", "word " * 40), ("bcde", None)),
    )
    assert str(found) == (
        "x (list)\n\nWhy.\n\n"
        "a:     1\nlong:  1, b\nnone:  -\n\n"
        "one   two\n"
        f"a     {' '.join(['word'] * 21)}\n"
        f"      {' '.join(['word'] * 19)}\n"
        "bcde  null"
    )
