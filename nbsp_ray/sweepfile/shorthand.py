"""What people may write for a value, made what the schema takes.

Wherever a list is wanted, a single value is a list of one, and text with commas is a list: `seeds: 3`, `methods: base`,
`sac.hidden=64,64`. Seeds may be ranges (`0-4`), pairs text (`drawer-open:drawer-close`), and `1e6` a whole number.
`tasks` is a single entry of `pairs`.
"""

import re
from typing import Any

from nbsp_ray.config.describe import PAPER, Node, Setting
from nbsp_ray.sweepfile import strictyaml

MOST_SEEDS = 10_000
"""The longest range of seeds; a longer one is a slip of the hand."""


def expand(setting: Setting, value: Any) -> Any:
    """`value` in the schema's own form, unless it is beyond guessing; then the schema's check will say so.

    Raises:
        ValueError: a pair or a range that cannot be read.
    """
    if setting.path == "pairs":
        return _pairs(value)
    if not setting.is_list:
        return _whole(value, setting.node)
    item: Node = setting.node["items"]
    values = _values(value, as_text=item.get("type") == "string")
    if setting.path == "seeds":
        values = [seed for one in values for seed in _seeds(one)]
    return [_whole(one, item) for one in values]


def _values(value: Any, *, as_text: bool) -> list[Any]:
    if isinstance(value, str) and "," in value:
        parts = [part.strip() for part in value.split(",")]
        return list(parts) if as_text else [strictyaml.parse_value(part)[0] for part in parts]
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _whole(value: Any, node: Node) -> Any:
    """1e6 where a whole number is wanted, and only there: of skill neurons, 1.0 is all and 1 is one."""
    if node.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _seeds(value: Any) -> list[Any]:
    found = re.fullmatch(r"(\d+)\s*-\s*(\d+)", value) if isinstance(value, str) else None
    if not found:
        return [value]
    first, last = int(found[1]), int(found[2])
    if first > last:
        raise ValueError(f"the range {value} of seeds is empty; the smaller comes first: {last}-{first}")
    if last - first >= MOST_SEEDS:
        raise ValueError(f"the range {value} of seeds has {last - first + 1:,}; at most {MOST_SEEDS:,} are taken")
    return list(range(first, last + 1))


def _pairs(value: Any) -> Any:
    if value is None:
        return []
    if value == PAPER:
        return PAPER
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        raise ValueError(f"pairs is {strictyaml.shown(value)}; it takes {PAPER}, or pairs such as {_EXAMPLE}")
    texts = [one.strip() for one in value if isinstance(one, str) and not re.search("[:>]", one)]
    if len(texts) == len(value) >= 2 and PAPER not in texts:
        raise ValueError(f"pairs names tasks, but no pair of them (did you mean {':'.join(texts)}?)")
    return [_pair(one) for one in value]


_EXAMPLE = "drawer-open:drawer-close"


def _pair(value: Any) -> list[str]:
    if tasks := _sequence(value, "[:>]"):
        return tasks
    alone = f"; `pairs: {PAPER}` stands alone" if value == PAPER else ""
    raise ValueError(
        f"pairs has {strictyaml.shown(value)}; a pair is first:second, as in {_EXAMPLE}, and a longer sequence "
        f"first:second:third{alone}"
    )


def expand_tasks(value: Any) -> list[list[str]]:
    """`tasks` as `pairs`: a list of one sequence.

    Raises:
        ValueError: it is no sequence of two tasks or more.
    """
    if tasks := _sequence(value, "[:>,]"):
        return [tasks]
    raise ValueError(f"tasks is {strictyaml.shown(value)}; it takes two tasks or more, such as [a, b, a, b]")


def _sequence(value: Any, separators: str) -> list[str]:
    """Tasks in their order; empty if that is not what `value` is."""
    tasks = [task.strip() for task in re.split(separators, value)] if isinstance(value, str) else value
    good = isinstance(tasks, list) and len(tasks) >= 2 and all(isinstance(task, str) and task for task in tasks)
    return tasks if good else []
