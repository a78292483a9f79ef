"""Settings in layers, the later above the earlier, each value with the place that it comes from. Pure data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from nbsp_ray.sweepfile.strictyaml import Keys

Data = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """Settings of one or more places, nested as in a file."""

    data: Data
    origins: dict[Keys, str]
    """The place where each was given: `tune_configs/x.yaml:12`, `command line`; that of () is the whole layer's."""

    def at(self, *keys: str | int) -> str:
        """Return the place where a value was given, or else the setting that holds it."""
        return next(self.origins[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in self.origins)

    def over(self, under: "Layer") -> "Layer":
        """Return both layers as one, this one above; the place of the whole stays the lower one's.

        A setting of this layer is no longer varied by the lower one. If one layer has a grid of skill neurons and the
        other a search among them (`search.trials`), this one's holds.
        """
        for mine, others in (("skill_neurons", "search"), ("search", "skill_neurons")):
            if mine in self.data and (mine != "search" or "trials" in self.data["search"]):
                under = under.without(others)
        replaced = set(leaves(self.data))
        varied = under.data.get("vary", {})
        if fixed := {path for path in varied if tuple(path.split(".")) in replaced}:
            left = {path: values for path, values in varied.items() if path not in fixed}
            under = Layer(under.data | {"vary": left}, under.origins)
        kept = {
            keys: origin
            for keys, origin in under.origins.items()
            if not any(keys[:n] in replaced for n in range(1, len(keys) + 1))
        }
        own = {keys: origin for keys, origin in self.origins.items() if keys}
        return Layer(merge(under.data, self.data), kept | own)

    def without(self, *names: str) -> "Layer":
        """Return a layer that lacks some of the top settings."""
        data = {name: value for name, value in self.data.items() if name not in names}
        return Layer(data, {keys: origin for keys, origin in self.origins.items() if not keys or keys[0] not in names})

    def variations(self) -> Iterator["Layer"]:
        """One layer for every combination of the values that stand under `vary`; without any, this one."""
        varied: Data = self.data.get("vary", {})
        for numbers in product(*(range(len(values)) for values in varied.values())):
            found = self.without("vary")
            for (path, values), number in zip(varied.items(), numbers, strict=True):
                keys = tuple(path.split("."))
                found = Layer(nested(keys, values[number]), {keys: self.at("vary", path, number)}).over(found)
            yield found


def nested(keys: Keys, value: Any) -> Data:
    """Return `{"sac": {"tau": value}}` for the keys `("sac", "tau")`."""
    first, *below = keys
    return {str(first): nested(tuple(below), value) if below else value}


def merge(under: Data, over: Data) -> Data:
    """Return both, merged setting by setting; `over` wins."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def leaves(data: Data, above: Keys = ()) -> Iterable[Keys]:
    """Yield the keys of every value that is no section."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key)
