"""The schema of `nbsp_ray.config.schema` as words, for messages, `explain` and editors.

Type, range, default and help stand once, in the models; this module only puts them another way. Knows no files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from nbsp_ray.config.schema import Sweep

Node = Mapping[str, Any]
"""One node of a JSON schema."""

AXES = ("pairs", "methods", "seeds", "skill_neurons")
"""The settings whose product is the trials."""
PAPER = "paper"
"""`pairs: paper` stands for the pairs that the paper compares methods on; so does no `pairs` at all."""
FILE_KEYS: Mapping[str, str] = {
    "tasks": (
        "One sequence of tasks in place of `pairs`: `[a, b, a, b]` is `pairs: [a:b:a:b]`. The first is learnt with "
        "`first`, all others with `second`."
    ),
    "vary": (
        "Settings with a list of values each, `{method.ewc_coef: [1, 10, 100]}`: one sweep for every combination. On "
        "the command line commas do it, `sac.gamma=0.95,0.99` (of a setting that is a list itself, such as sac.hidden, "
        "they make the list). What sets a varied setting from above, another file or the command line, replaces its "
        "variation."
    ),
    "include": "Names of other sweeps, which this one is made of; settings beside it apply to each of them.",
}
"""Keys that a sweep file may have beside its settings."""
MISSING = object()
"""The default of a setting that a sweep must give."""


@dataclass(frozen=True)
class Setting:
    """One value that a sweep may give."""

    path: str
    """Its name on the command line: `sac.tau`."""
    node: Node
    default: Any
    """Its default as a sweep file writes it, or `MISSING`."""
    doc: str

    @property
    def name(self) -> str:
        """Its name in a sweep file, within its section."""
        return self.path.rpartition(".")[2]

    @property
    def is_list(self) -> bool:
        """Whether it holds any number of values."""
        return "items" in self.node

    @property
    def words(self) -> str:
        """Type and range for people."""
        if self.path == "pairs":
            return "pairs first:second, longer sequences such as a:b:a:b, or `paper`"
        return words(self.node)

    @property
    def item_words(self) -> str:
        """Type and range of one value of a list."""
        return words(self.node["items"] if self.is_list else self.node)


@dataclass(frozen=True)
class Section:
    """Settings that belong together."""

    path: str
    doc: str


def can_vary(path: str) -> bool:
    """Whether `vary` takes the setting: the axes are lists already, and what stands beside them is one for all."""
    return "." in path


@cache
def _schema() -> dict[str, Any]:
    schema = Sweep.model_json_schema()
    for model in (schema, *schema["$defs"].values()):
        model.pop("title", None)
        model["description"] = " ".join(model["description"].split())
        for node in model["properties"].values():
            node.pop("title", None)
            if "description" in node:
                node["description"] = " ".join(node["description"].split())
    return schema


def _reference(node: Node) -> Node | None:
    return _schema()["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else None


@cache
def sections() -> dict[str, Section]:
    """All sections, in the order of the schema."""
    found: dict[str, Section] = {}
    for name, node in _schema()["properties"].items():
        if model := _reference(node):
            found[name] = Section(
                name, " ".join(text for text in (node.get("description"), model["description"]) if text)
            )
    return found


@cache
def settings() -> dict[str, Setting]:
    """All settings by their dotted path, in the order of the schema."""
    found: dict[str, Setting] = {}
    for name, node in _schema()["properties"].items():
        model = _reference(node)
        below = {name: node} if model is None else {f"{name}.{key}": one for key, one in model["properties"].items()}
        for path, one in below.items():
            default = PAPER if path == "pairs" else one.get("default", MISSING)
            found[path] = Setting(path, one, default, one.get("description", ""))
    return found


def words(node: Node) -> str:
    """The values that a node allows: `a number > 0 and <= 1`."""
    if "anyOf" in node:
        return " or ".join(words(one) for one in node["anyOf"])
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return f"one of {', '.join(node['enum'])}"
    if node["type"] == "array":
        many = "two" if node.get("minItems") == node.get("maxItems") == 2 else "one or more"
        return f"{many}, each {words(node['items'])}" if "items" in node else "a list"
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "null": "null"}
    meaning = f" ({node['title']})" if "title" in node else ""
    return f"{kinds.get(node['type'], 'text')}{_range(node)}{meaning}"


def _range(node: Node) -> str:
    if "minimum" in node and "maximum" in node:
        return f" from {node['minimum']:,} to {node['maximum']:,}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {node[key]:g}" for key, sign in signs.items() if key in node]
    return f" {' and '.join(limits)}" if limits else ""


def names_in(section: str) -> str:
    """The settings of a section, for a message."""
    return ", ".join(one.name for one in settings().values() if one.path.startswith(f"{section}."))


def near(path: str, *, nested: bool) -> str:
    """`" (did you mean 'gamma'?)"`, as it would be written there: `nested` in a file, or dotted on the command line."""
    section, _, name = path.rpartition(".")
    known = {one: one.rpartition(".") for one in (*settings(), *sections(), *FILE_KEYS)}
    siblings = [own for above, _, own in known.values() if above == section]
    found = [one for one, (_, _, own) in known.items() if own == name]
    if not found and (close := get_close_matches(name, siblings, n=1)):
        found = close if nested or not section else [f"{section}.{close[0]}"]
    if not found and section in sections():
        return f"; {section} has {names_in(section)}"
    found = found or get_close_matches(path, known, n=1)
    return f" (did you mean {' or '.join(map(repr, found))}?)" if found else ""


def example(setting: Setting | None) -> str:
    """`", such as sac.tau=0.005"`, the default, as on the command line."""
    if setting is None or setting.default in (MISSING, None, ""):
        return ""
    values = setting.default if isinstance(setting.default, list) else [setting.default]
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return f", such as {setting.path}={','.join(texts)}"
