"""Checks: a layer of settings becomes a `Sweep`, or every problem it has is reported with its place."""

import json
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nbsp_ray.benchmarks import Benchmark, Score, benchmarks, get_benchmark
from nbsp_ray.config.describe import AXES, PAPER, can_vary, settings
from nbsp_ray.config.schema import Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.layout import NETWORKS
from nbsp_ray.methods import get_method
from nbsp_ray.plan.counts import resolve_counts
from nbsp_ray.sweepfile.layers import Layer
from nbsp_ray.sweepfile.strictyaml import Keys, shown

Problem = Callable[[str, object], None]
"""Takes the place and the text of a problem."""


def make_sweep(layer: Layer, problem: Problem) -> Sweep | None:
    """The sweep that a layer describes above its benchmark's defaults; None if `problem` was called."""
    benchmark = _benchmark(layer, problem)
    if benchmark is not None:
        # Through JSON, so that tuples are lists, as they are in a file.
        layer = layer.over(Layer(json.loads(json.dumps(benchmark.defaults)), {(): layer.at()}))
    pairs = axis_values(layer, "pairs")
    if pairs is not None:
        layer = Layer(layer.data | {"pairs": pairs}, layer.origins)
    _check_names(layer, benchmark, problem)
    try:
        sweep = Sweep.model_validate_json(json.dumps(layer.data), strict=True)
    except ValidationError as error:
        details = {_keys(one, layer.data): one for one in error.errors()}
        for keys, one in details.items():
            unresolved = keys == ("pairs",) and pairs is None  # for want of a benchmark, a problem of its own
            of_items = one["type"] == "too_short" and any(other[:-1] == keys for other in details)
            if not (unresolved or of_items):
                problem(layer.at(*keys), _what(keys, one, layer.data))
        return None
    _check_sense(layer, sweep, benchmark, problem)
    return sweep


def axis_values(layer: Layer, axis: str) -> list[Any] | None:
    """The values of `pairs` or `methods`; the benchmark's own pairs if none are given."""
    values = layer.data.get(axis, PAPER if axis == "pairs" else None)
    if values == PAPER:
        benchmark = benchmarks().get(str(layer.data.get("benchmark")))
        return [list(pair) for pair in benchmark.pairs] if benchmark else None
    return None if values is None else list(values)


def _benchmark(layer: Layer, problem: Problem) -> Benchmark | None:
    name = layer.data.get("benchmark")
    try:
        return get_benchmark(name) if isinstance(name, str) else None
    except ConfigError as error:
        problem(layer.at("benchmark"), error)
        return None


def _check_names(layer: Layer, benchmark: Benchmark | None, problem: Problem) -> None:
    """Report methods and tasks that do not exist, and sequences that one network cannot learn."""
    for number, name in enumerate(layer.data.get("methods", ())):
        try:
            if isinstance(name, str):
                get_method(name)
        except ConfigError as error:
            problem(layer.at("methods", number), error)
    if benchmark is None:
        return
    for number, pair in enumerate(layer.data["pairs"]):
        try:
            benchmark.check_sequence(tuple(pair))
        except ConfigError as error:
            problem(layer.at("pairs", number), error)


def _check_sense(layer: Layer, sweep: Sweep, benchmark: Benchmark | None, problem: Problem) -> None:
    """Report settings that are allowed alone, but not together."""
    for number, value in enumerate(sweep.skill_neurons if benchmark else ()):
        try:
            assert benchmark is not None
            resolve_counts(value, benchmark.layers(sweep.sac))
        except ConfigError as error:
            problem(layer.at("skill_neurons", number), error)
    if benchmark and sweep.search.trials:
        _check_search(layer, sweep, benchmark, problem)
    if (
        benchmark
        and sweep.sac.reward_scale != "none"
        and any(one.clipped_rewards for one in benchmark.spaces().values())
    ):
        given = "reward_scale" if "reward_scale" in layer.data["sac"] else "network"
        problem(
            layer.at("sac", given),
            f"sac.{given} scales rewards, and {benchmark.name} learns from clipped ones, which have a scale already; "
            "set sac.reward_scale=none",
        )
    for name, learning in (("first", sweep.first), ("second", sweep.second)):
        if learning.env_steps <= sweep.sac.learning_starts:
            problem(
                layer.at(name, "env_steps"),
                f"{name}.env_steps is {learning.env_steps}: nothing would be learnt, for the first "
                f"{sweep.sac.learning_starts} env steps are random (sac.learning_starts)",
            )


def _check_search(layer: Layer, sweep: Sweep, benchmark: Benchmark, problem: Problem) -> None:
    """A search needs one method to choose for, room for its numbers, and a measure to compare them by."""
    search, layers = sweep.search, benchmark.layers(sweep.sac)
    if "skill_neurons" in layer.data:
        problem(
            layer.at("skill_neurons"), "skill_neurons is given, and searched too (search.trials); leave one of them"
        )
    selecting = [name for name in sweep.methods if get_method(name).selects_neurons]
    if len(selecting) != 1:
        found = f"of {', '.join(sweep.methods)} {' and '.join(selecting) or 'none'} do"
        problem(layer.at("methods"), f"search chooses for one method that selects neurons, such as nbsp; {found}")
    try:
        low, high = (resolve_counts(value, layers)[NETWORKS[0]] for value in search.skill_neurons)
    except ConfigError as error:
        problem(layer.at("search", "skill_neurons"), f"search.{error}")
        return
    if high - low + 1 < search.trials:
        problem(
            layer.at("search", "skill_neurons"),
            f"search.skill_neurons goes from {low} to {high} neurons, which is {max(0, high - low + 1)} numbers, and "
            f"search.trials is {search.trials}; widen the range, or lower search.trials",
        )
    for task in dict.fromkeys(task for pair in sweep.pairs for task in pair):
        if isinstance(benchmark.judged_by, Score) and task not in benchmark.judged_by.references:
            problem(
                layer.at("search"),
                f"search weighs scores of two {benchmark.noun}s, and {task} has no reference scores; "
                "leave its pairs out",
            )


def _keys(error: ErrorDetails, data: Any) -> Keys:
    """Where in the data the error is: pydantic adds steps for the members of a union, which share one problem."""
    if error["type"] == "missing":
        return error["loc"]
    keys: list[str | int] = []
    for step in error["loc"]:
        if not isinstance(data, dict | list) or (isinstance(data, dict) and step not in data):
            break
        data = data[step]  # type: ignore[index]
        keys.append(step)
    return tuple(keys)


def _what(keys: Keys, error: ErrorDetails, data: Any) -> str:
    path = ".".join(key for key in keys if isinstance(key, str))
    setting = settings()[path]
    if error["type"] == "missing":
        known = f"there are {', '.join(sorted(benchmarks()))}" if path == "benchmark" else ""
        return f"{path} is missing; {known or f'`nbsp-ray explain {path}` lists them'}"
    if error["type"] == "too_short":
        return f"an empty sweep: {path} is empty" if path in AXES else f"{path} is empty; it takes {setting.words}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    for key in keys:
        data = data[key]
    if isinstance(keys[-1], int):
        return f"{path} has {shown(data)}; each is {setting.item_words}"
    several = isinstance(data, list) and not setting.is_list and can_vary(path)
    how = f"; to try several, `vary: {{{path}: {shown(data)}}}` in a file, or {path}=A,B on the command line"
    return f"{path} is {shown(data)}; it takes {setting.words}{how if several else ''}"
