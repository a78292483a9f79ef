"""What a shell offers where it completes a word: sweeps, settings with their values, keys of phases, words."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from nbsp_ray.benchmarks import benchmarks
from nbsp_ray.config.describe import example, settings
from nbsp_ray.errors import NbspError
from nbsp_ray.methods import methods
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.sweepfile import sweep_names


def complete_sweep(incomplete: str) -> list[str]:
    """Names of sweeps."""
    return _beginning(incomplete, sweep_names())


def complete_key(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of phases in the results root; none if it cannot be read."""
    try:
        store = Store(ctx.params.get("root") or os.environ.get("NBSP_RAY_ROOT") or DEFAULT_ROOT)
        return _beginning(incomplete, store.phases())
    except (NbspError, OSError):
        return []


def complete_key_or_sweep(ctx: typer.Context, incomplete: str) -> list[str]:
    """Sweeps, and once a digit is there, keys of phases."""
    return complete_sweep(incomplete) + (complete_key(ctx, incomplete) if incomplete else [])


def complete_word(incomplete: str) -> list[str]:
    """All that can be explained."""
    from nbsp_ray.verbs.explain import words

    return _beginning(incomplete, dict.fromkeys(words()))


def complete_override(ctx: typer.Context, incomplete: str) -> list[str]:
    """`KEY=`, and behind it what the setting takes; of a list the item under way.

    Bash takes `=` for a word of its own, other shells for a part of one.
    """
    given: Sequence[str] = ctx.params.get("overrides") or ()
    last = given[-1] if given else ""
    before = [one for one in given if one != "="]
    if "=" in incomplete:
        key, _, value = incomplete.partition("=")
        return [f"{key}={found}" for found in _values(key, value)]
    if last == "=" and before:
        return _values(before[-1], incomplete)
    if last in settings() and not incomplete:
        return _values(last, "")
    keys = _beginning(incomplete, settings())
    if len(keys) != 1:
        return [f"{key}=" for key in keys]
    # With its values beside it the shell adds no blank behind the `=`.
    (key,) = keys
    default = example(settings()[key]).rpartition(f"{key}=")[2]
    return [f"{key}=", *(f"{key}={value}" for value in _values(key, "") or [default])]


def _values(key: str, begun: str) -> list[str]:
    """What a setting takes, where it can be listed."""
    setting = settings().get(key)
    if setting is None:
        return []
    given, comma, item = begun.rpartition(",")
    known = list(methods() if key == "methods" else benchmarks() if key == "benchmark" else _allowed(setting.node))
    return [f"{given}{comma}{found}" for found in _beginning(item, known) if found not in given.split(",")]


def _allowed(node: Mapping[str, Any]) -> list[str]:
    if node.get("type") == "boolean":
        return ["true", "false"]
    inner = [value for one in node.get("anyOf", ()) for value in _allowed(one)]
    return [*inner, *map(str, node.get("enum", ())), *([str(node["const"])] if "const" in node else [])]


def _beginning(begun: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(begun)]
