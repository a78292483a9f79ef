"""Methods: a table of rows, each a short list of ingredients.

An ingredient is one thing that a method changes while a later task is learnt: it replays, it freezes, it penalises.
It is data (frozen, JSON), because it enters the key of a phase, and has five hooks, all of which do nothing unless
overridden. SAC does not know that methods exist, and an ingredient does not know how SAC learns.

A method is added by one file in this folder with a tuple `METHODS`. The files are read by `plan`, so they import torch
inside the hooks only.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from nbsp_ray.config.schema import MethodOptions
from nbsp_ray.errors import ConfigError, did_you_mean
from nbsp_ray.layout import Counts
from nbsp_ray.learning.hooks import Ingredient


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    name: str
    summary: str
    """One line for `nbsp-ray explain methods`."""
    ingredients: Callable[[MethodOptions, Counts], tuple[Ingredient, ...]]
    selects_neurons: bool = False
    """Whether the number of skill neurons means anything to it; else one trial serves all counts."""
    in_paper: bool = True


@cache
def _modules() -> tuple[Any, ...]:
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)


@cache
def methods() -> dict[str, Method]:
    """All methods by name: every row of `METHODS` in the modules of this folder."""
    return {method.name: method for module in _modules() for method in getattr(module, "METHODS", ())}


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        ConfigError: there is none.
    """
    known = methods()
    if name not in known:
        raise ConfigError(f"no method {name!r}{did_you_mean(name, known)}; there are {', '.join(sorted(known))}")
    return known[name]


def ingredients_of(method: Method, options: MethodOptions, counts: Counts) -> tuple[Ingredient, ...]:
    """A method's ingredients, and those that the options add to every method."""
    from nbsp_ray.methods.reset_log_alpha import ResetLogAlpha

    return method.ingredients(options, counts) + ((ResetLogAlpha(),) if options.reset_log_alpha else ())


@cache
def _kinds() -> dict[str, type[Ingredient]]:
    found = [value for module in _modules() for value in vars(module).values()]
    classes = [value for value in found if isinstance(value, type) and issubclass(value, Ingredient)]
    return {cls.model_fields["kind"].default: cls for cls in classes if cls is not Ingredient}


def read_ingredient(data: Mapping[str, Any]) -> Ingredient:
    """The ingredient that `model_dump` gave as `data`."""
    return _kinds()[data["kind"]].model_validate(data)
