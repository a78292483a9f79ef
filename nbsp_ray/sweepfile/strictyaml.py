"""YAML without surprises: plain data, the line of every value, and every problem at once.

It mends what plain PyYAML gets wrong for settings: a key given twice is a problem, `1e-3` is a number, `on`, `no`,
`1:30` and dates are text. Anchors and merge keys (`<<: *name`) work. It knows nothing of settings or files.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Keys = tuple[str | int, ...]
"""Keys and list positions from the top of a document to a value."""


@dataclass(frozen=True)
class Document:
    """A text as data, as far as it could be read."""

    data: Any = None
    lines: dict[Keys, int] = field(default_factory=dict[Keys, int])
    """The line, from 1, on which each value's key (or the list item itself) stands."""
    problems: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """(line, what is wrong)."""


class _Composer(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2's core schema, and decimal numbers only."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own shape


# Pattern of each kind of scalar, and the first characters that PyYAML tries it for.
_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+(_[0-9]+)*", list("-+0123456789")),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
}
for _name, (_pattern, _first) in _SCALARS.items():
    _Composer.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)


def parse(text: str) -> Document:
    """Read one YAML document; entries that cannot be read are in its `problems`."""
    try:
        node = _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(part) for part in (error.problem, error.context) if part)
        return Document(problems=[(mark.line + 1 if mark else 1, f"this is not YAML: {what}")])
    except yaml.YAMLError as error:
        return Document(problems=[(1, f"this is not YAML: {' '.join(str(error).split())}")])
    reader = _Reader()
    data = None if node is None else reader.read(node, ())
    return Document(data, reader.lines, reader.problems)


def parse_value(text: str) -> tuple[Any, str | None]:
    """Return one value read as YAML, and its fault or None."""
    document = parse(text)
    return document.data, document.problems[0][1] if document.problems else None


class _Reader:
    """Turns nodes into data."""

    def __init__(self) -> None:
        self.lines: dict[Keys, int] = {}
        self.problems: list[tuple[int, str]] = []
        self._above: list[int] = []

    def read(self, node: yaml.Node, path: Keys) -> Any:
        # An alias is the very node of its anchor: within itself it would be read without end.
        if id(node) in self._above:
            self._problem(node, "an anchor that contains itself")
            return None
        self._above.append(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._item(item, (*path, number)) for number, item in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self._above.pop()

    def _problem(self, node: yaml.Node, text: str) -> None:
        self.problems.append((_line(node), text))

    def _item(self, node: yaml.Node, path: Keys) -> Any:
        self.lines[path] = _line(node)
        return self.read(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Keys) -> dict[str, Any]:
        data: dict[str, Any] = {}
        self._fill(data, node, path)
        return data

    def _fill(self, data: dict[str, Any], node: yaml.MappingNode, path: Keys) -> None:
        """Put into `data` what it lacks of a mapping, and then of those that the mapping merges (`<<`)."""
        first: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, "a key must be a single word")
            elif key.value in first:
                name = ".".join(map(str, (*path, key.value)))
                self._problem(key, f"{name!r} is given twice, first on line {first[key.value]}")
            elif key.value == "<<" and key.style is None:
                first["<<"] = _line(key)
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            else:
                first[key.value] = _line(key)
                if key.value not in data:
                    self.lines[(*path, key.value)] = _line(key)
                    data[key.value] = self.read(value, (*path, key.value))
        for one in merged:
            if not isinstance(one, yaml.MappingNode):
                self._problem(one, "<< takes settings that an anchor names, `<<: *name`, or a list of them")
            elif id(one) in self._above:
                self._problem(one, "an anchor that contains itself")
            else:
                self._above.append(id(one))
                self._fill(data, one, path)
                self._above.pop()

    def _scalar(self, node: yaml.Node) -> Any:
        text, kind = str(node.value), node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        if kind in _SCALARS and re.fullmatch(_SCALARS[kind][0], text):
            return _convert(kind, text)
        self._problem(node, f"the tag {node.tag.replace(_TAG, '!!')} has no meaning here")
        return None


def _convert(kind: str, text: str) -> Any:
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int" if len(text) < 100:  # Python refuses to read thousands of digits as an int.
            return int(text.replace("_", ""))
        case _:
            return float(text.replace("_", ""))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def shown(value: Any) -> str:
    """Return a value as it would stand in a file, for a message; a long one is cut short."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
