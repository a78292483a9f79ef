"""The JSON schema of sweep files, for editors."""

from typing import Any

from nbsp_ray.config.describe import FILE_KEYS, PAPER, Node, _schema, can_vary, settings


def json_schema() -> dict[str, Any]:
    """Sweep files as users write them, shorthands, `vary` and `include` too, as a JSON schema for editors.

    It names no method, benchmark or task, so that one more of these touches one file; the loader checks them.
    """
    schema = _schema()
    definitions = {
        name: {**model, "properties": {key: _shorthands(node) for key, node in model["properties"].items()}}
        for name, model in schema["$defs"].items()
    }
    properties = {name: _shorthands(node) for name, node in schema["properties"].items()}
    properties["pairs"] = {"description": settings()["pairs"].doc, "anyOf": _PAIRS}
    varied = {path: _list_of(path) for path in settings() if can_vary(path)}
    forms: dict[str, Node] = {
        "tasks": {"anyOf": _TASKS},
        "vary": {"type": ["object", "null"], "additionalProperties": False, "properties": varied},
        "include": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    }
    properties |= {name: {"description": doc, **forms[name]} for name, doc in FILE_KEYS.items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "nbsp-ray sweep",
        "description": schema["description"],
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {"^x-": {}},
        "properties": properties,
        "not": {"required": ["pairs", "tasks"]},
        "if": {"required": ["include"]},
        "else": {"required": ["benchmark", "methods"]},
        "$defs": definitions,
    }


_LISTED = "^[0-9.e]+([,-] *[0-9.e]+)+$"
"""`0-4`, `0,1`, `0.1, 0.2`: numbers as text."""
_PAIR = {"type": "string", "pattern": "^[^:>]+([:>][^:>]+)+$"}
_TASK_LIST = {"type": "array", "items": {"type": "string"}, "minItems": 2}
_PAIRS = [
    {"const": PAPER},
    {"type": "string", "pattern": "^[^:>,]+([:>][^:>,]+)+(,[^:>,]+([:>][^:>,]+)+)*$"},
    {"type": "array", "minItems": 1, "items": {"anyOf": [_PAIR, _TASK_LIST]}},
]
_TASKS = [{"type": "string", "pattern": "^[^:>,]+([:>,][^:>,]+)+$"}, _TASK_LIST]


def _list_of(path: str) -> Node:
    """Several values of a section's setting, each in any of its forms."""
    section, _, name = path.partition(".")
    item = {"$ref": f"{_schema()['properties'][section]['$ref']}/properties/{name}"}
    return {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}


def _shorthands(node: Node) -> dict[str, Any]:
    """A list may be a single value, or text with commas; a section may be empty."""
    kept = {key: value for key, value in node.items() if key == "description"}
    if "$ref" in node:
        return {**kept, "anyOf": [{"$ref": node["$ref"]}, {"type": "null"}]}
    if "items" not in node:
        return dict(node)
    kept |= {"default": node["default"]} if "default" in node else {}
    item = node["items"]
    if item.get("type") != "string":
        item = {"anyOf": [*item.get("anyOf", [item]), {"type": "string", "pattern": _LISTED}]}
    return {**kept, "anyOf": [{"type": "array", "items": item, "minItems": 1}, item]}
