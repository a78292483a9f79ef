"""Reads one layer: only known settings are let in, shorthands are expanded, `include`, `tasks` and `vary` understood.

`checks` says whether the values are right, once all layers lie above each other.
"""

from typing import Any

from nbsp_ray.config.describe import can_vary, names_in, near, sections, settings
from nbsp_ray.sweepfile.checks import Problem
from nbsp_ray.sweepfile.layers import Data, Layer
from nbsp_ray.sweepfile.shorthand import expand, expand_tasks
from nbsp_ray.sweepfile.strictyaml import shown

APART = "x-"
"""What begins so is no setting: a place for anchors that others refer to, as in compose files."""


def checked(raw: Layer, problem: Problem) -> Layer:
    """Return `raw` in the schema's own form; entries that cannot be right are told to `problem` and left out."""
    return _Entries(raw, problem).layer


class _Entries:
    """Fills a layer, entry by entry."""

    def __init__(self, raw: Layer, problem: Problem) -> None:
        self.layer = Layer({}, dict(raw.origins))
        self.problem = problem
        for name, value in raw.data.items():
            match name:
                case "include":
                    self._include(value)
                case "tasks":
                    self._tasks(value, also_pairs="pairs" in raw.data)
                case "vary":
                    self._vary(value, raw.data)
                case _ if name.startswith(APART):
                    pass
                case _ if name in sections():
                    self._section(name, value)
                case _:
                    self._setting(self.layer.data, value, name)

    def _section(self, name: str, value: Any) -> None:
        if isinstance(value, dict):
            inner: Data = self.layer.data.setdefault(name, {})
            for key, one in value.items():
                self._setting(inner, one, name, key)
        elif value is not None:
            self.problem(self.layer.at(name), f"{name} is {shown(value)}; it takes settings: {names_in(name)}")

    def _setting(self, inner: Data, value: Any, *keys: str) -> None:
        layer, path, name = self.layer, ".".join(keys), keys[-1]
        if "." in name and path in settings():
            section, _, below = path.partition(".")
            self.problem(layer.at(*keys), f"{path!r}: in a file this is `{section}:`, and `{below}:` indented below it")
        elif path not in settings():
            self.problem(layer.at(*keys), f"{path!r} is not a setting{near(path, nested=True)}")
        else:
            try:
                inner[name] = expanded = expand(settings()[path], value)
            except ValueError as error:
                self.problem(layer.at(*keys), error)
                return
            # A range of seeds has become several: from here on item 1 is not what stood on the line of item 1.
            if isinstance(value, list) and len(value) != len(expanded):
                for number in range(len(value)):
                    layer.origins.pop((*keys, number), None)

    def _tasks(self, value: Any, *, also_pairs: bool) -> None:
        """Turn `tasks` into the only entry of `pairs`, which is what it stands for."""
        where = self.layer.at("tasks")
        if also_pairs:
            self.problem(where, "tasks stands for one entry of pairs, which are given too; leave one of them")
            return
        try:
            self.layer.data["pairs"] = expand_tasks(value)
        except ValueError as error:
            self.problem(where, error)
        self.layer.origins["pairs",] = where

    def _vary(self, value: Any, beside: Data) -> None:
        if isinstance(value, dict):
            self.layer.data["vary"] = varied = {}
            for path, values in value.items():
                if wrong := _cannot_vary(path, values, beside):
                    self.problem(self.layer.at("vary", path), wrong)
                else:
                    varied[path] = [expand(settings()[path], one) for one in values]
        elif value is not None:
            self.problem(self.layer.at("vary"), f"vary is {shown(value)}; it takes settings, each with {_VALUES}")

    def _include(self, value: Any) -> None:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            where, names = self.layer.at("include"), []
            self.problem(where, f"include is {shown(value)}; it takes names of sweeps, such as [preliminary]")
        elif not names:
            self.problem(self.layer.at("include"), "an empty sweep: include is empty")
        self.layer.data["include"] = names


_VALUES = "a list of values, such as `method.ewc_coef: [1, 10, 100]`"


def _cannot_vary(path: str, values: Any, beside: Data) -> str | None:
    """Return the fault of an entry of `vary`, or None."""
    section, _, name = path.partition(".")
    if path in sections():
        return f"vary takes single settings by their dotted names: {path}. and one of {names_in(path)}"
    if path not in settings():
        return f"{path!r} is not a setting{near(path, nested=False)}"
    if not can_vary(path):
        return f"vary takes settings of the sections, such as sac.tau; {path} stands outside of it"
    if not isinstance(values, list) or not values:
        return f"vary has {path}: {shown(values)}; it takes {_VALUES}"
    if repeated := [one for number, one in enumerate(values) if one in values[:number]]:
        return f"vary lists {path}: {shown(repeated[0])} twice"
    if isinstance(inner := beside.get(section), dict) and name in inner:
        return f"{path} is set in this file and varied; leave one of them"
    return None
