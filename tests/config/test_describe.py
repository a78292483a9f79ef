from typing import Any

import pytest

from nbsp_ray.config.describe import MISSING, example, names_in, near, sections, settings, words
from nbsp_ray.config.json_schema import json_schema
from nbsp_ray.config.schema import Evaluation, Sac, Sweep


def test_every_field_of_the_schema_is_a_setting_or_a_section() -> None:
    assert {path.partition(".")[0] for path in settings()} | set(sections()) == set(Sweep.model_fields)
    assert [path for path in settings() if path.startswith("sac.")] == [f"sac.{name}" for name in Sac.model_fields]


def test_every_setting_has_words_help_and_a_default() -> None:
    for one in settings().values():
        assert one.words
        assert one.doc
        assert one.name == one.path.split(".")[-1]
    assert {path for path, one in settings().items() if one.default is MISSING} == {"benchmark", "methods"}
    assert settings()["sac.tau"].default == 0.005
    assert settings()["pairs"].default == "paper"
    assert sections()["first"].doc == "The first phase. Length of one phase's learning, and its evaluations on the way."


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("title", "text"),
        ("sac.tau", "a number > 0 and <= 1"),
        ("sac.gamma", "a number from 0 to 1"),
        ("sac.batch_size", "a whole number >= 1"),
        ("sac.autotune", "true or false"),
        ("sac.hidden", "one or more, each a whole number >= 1"),
        ("first.stop", "one of stable, stable_training, fixed"),
        ("resources.memory_gb", "a number > 0 or null"),
        ("pairs", "pairs first:second, longer sequences such as a:b:a:b, or `paper`"),
        ("seeds", "one or more, each a whole number from 0 to 4,000,000,000"),
    ],
)
def test_words_of_a_setting(path: str, text: str) -> None:
    assert settings()[path].words == text


def test_words_of_skill_neurons_tell_a_count_from_a_fraction() -> None:
    assert settings()["skill_neurons"].item_words == (
        "a whole number >= 0 (a count per network) or a number from 0 to 1 (a fraction of its hidden neurons)"
    )


def test_words_of_a_setting_that_takes_a_word_or_a_flag() -> None:
    assert settings()["resources.compile"].words == "auto or true or false"


def test_words_of_a_node_alone() -> None:
    assert words({"type": "number", "exclusiveMinimum": 0.5, "exclusiveMaximum": 2}) == "a number > 0.5 and < 2"


@pytest.mark.parametrize(
    ("path", "nested", "text"),
    [
        ("sac.gama", True, " (did you mean 'gamma'?)"),
        ("sac.gama", False, " (did you mean 'sac.gamma'?)"),
        ("gamma", True, " (did you mean 'sac.gamma'?)"),
        ("gamma", False, " (did you mean 'sac.gamma'?)"),
        ("sac.env_steps", True, " (did you mean 'first.env_steps' or 'second.env_steps' or 'evaluation.env_steps'?)"),
        ("env_steps", False, " (did you mean 'first.env_steps' or 'second.env_steps' or 'evaluation.env_steps'?)"),
        ("seed", True, " (did you mean 'seeds'?)"),
        ("task", True, " (did you mean 'tasks'?)"),
        ("varry", True, " (did you mean 'vary'?)"),
        ("evaluaton", True, " (did you mean 'evaluation'?)"),
        ("zebra", True, ""),
        ("evaluation.xyz", False, f"; evaluation has {names_in('evaluation')}"),
        ("gama", True, " (did you mean 'sac.gamma'?)"),
        ("gama", False, " (did you mean 'sac.gamma'?)"),
        ("scc.gama", False, " (did you mean 'sac.gamma'?)"),
        ("evaluation.xyz", True, f"; evaluation has {names_in('evaluation')}"),
    ],
)
def test_near_writes_the_setting_as_one_would_there(path: str, nested: bool, text: str) -> None:
    assert near(path, nested=nested) == text


def test_example_is_the_default_on_the_command_line() -> None:
    assert example(settings()["sac.hidden"]) == ", such as sac.hidden=256,256"
    assert example(settings()["sac.autotune"]) == ", such as sac.autotune=true"
    assert example(settings()["first.stop"]) == ", such as first.stop=stable"
    assert example(settings()["benchmark"]) == example(settings()["title"]) == example(None) == ""


def test_names_in_a_section() -> None:
    assert names_in("evaluation") == ", ".join(Evaluation.model_fields)


def test_the_json_schema_names_no_plug_in() -> None:
    """One more method or benchmark must touch one file."""
    listed = str({key: json_schema()["properties"][key] for key in ("benchmark", "methods", "pairs", "tasks")})
    assert "nbsp_actor" not in listed
    assert "toy" not in listed


def test_what_can_be_varied_is_what_stands_in_a_section() -> None:
    varied = json_schema()["properties"]["vary"]["properties"]
    assert list(varied) == [path for path in settings() if "." in path]
    assert varied["second.env_steps"]["items"] == {"$ref": "#/$defs/Learning/properties/env_steps"}


def _nodes(node: Any) -> Any:
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(inner)


def test_the_json_schema_refuses_unknown_keys_everywhere() -> None:
    assert all(node["additionalProperties"] is False for node in _nodes(json_schema()) if "properties" in node)
