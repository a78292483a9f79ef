"""Methods: a table of rows, each a short list of ingredients.

A method is one file with a tuple `METHODS` of rows, the ingredients that they are made of, and its options: in this
folder, or in any installed package that names it as an entry point of the group `nbsp_ray.methods`. `register_method`
adds a row to a process that is running, as in a notebook. The files are read by `plan`, so they import torch inside the
hooks only.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, cast

from pydantic import create_model

from nbsp_ray.config.schema import MethodOptions, Settings, Sweep
from nbsp_ray.errors import ConfigError, did_you_mean
from nbsp_ray.layout import Counts
from nbsp_ray.learning.hooks import KINDS, Ingredient
from nbsp_ray.specs import PhaseSpec

ENTRY_POINTS = "nbsp_ray.methods"
"""Group of entry points; each names a module with a tuple `METHODS`, such a tuple, or a `Method`."""
Group = Literal["paper", "control", "field"]
GROUPS: Mapping[Group, str] = {
    "paper": "the paper",
    "control": "a control or variant beyond the paper",
    "field": "the field beside the paper",
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn: colour (`#rrggbb`), matplotlib marker and line style."""

    colour: str
    marker: str
    dash: str = "-"


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    name: str
    summary: str
    """One line for `nbsp-ray explain methods`."""
    ingredients: Callable[[Any, Counts], tuple[Ingredient, ...]]
    """From the sweep's options, which are those of `options` and of all other methods, and the numbers of skill
    neurons."""
    options: type[Settings] | None = None
    """What a sweep may set of it in the section `method`: a frozen model with a default for every field. Methods share
    an option if the model of one inherits it from that of the other."""
    group: Group = "field"
    selects_neurons: bool = False
    """Whether the number of skill neurons means anything to it; else one trial serves all counts."""
    look: Look | None = None
    """Its own in every figure; None: one that its name fixes."""

    @property
    def in_paper(self) -> bool:
        """Whether the paper compares it."""
        return self.group == "paper"


@cache
def methods() -> dict[str, Method]:
    """All methods by name: those of this folder, then those of entry points, then those registered.

    Raises:
        ConfigError: an entry point cannot be loaded, or a name is taken.
    """
    found: dict[str, Method] = {}
    for module in pkgutil.iter_modules(__path__):
        for method in getattr(importlib.import_module(f"{__name__}.{module.name}"), "METHODS", ()):
            _add(found, method, f"{__name__}.{module.name}")
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        for method in _methods_at(point):
            _add(found, method, f"the entry point {point.name} = {point.value}")
    return found


def _methods_at(point: EntryPoint) -> Iterator[Method]:
    try:
        loaded = point.load()
    except Exception as error:
        raise ConfigError(
            f"the entry point {point.name} = {point.value} of the group {ENTRY_POINTS} cannot be loaded: "
            f"{type(error).__name__}: {error}; mend or remove the package that has it"
        ) from error
    yield from (loaded,) if isinstance(loaded, Method) else getattr(loaded, "METHODS", loaded)


def _add(table: dict[str, Method], method: Method, origin: str) -> None:
    if method.name in table:
        raise ConfigError(f"{origin} has a method {method.name!r}, and there is one of that name already: rename it")
    table[method.name] = method


def register_method(method: Method) -> None:
    """Add a row to the table of this process; its options are then settings of sweeps, its name a method.

    A worker of a sweep is another process, and loads methods from this package and from entry points only. Call this
    for trials that run here (`nbsp_ray.local`, a notebook, a test), and give a package an entry point.

    Raises:
        ConfigError: there is a method of that name, or one of its options is another method's with another meaning.
    """
    _add(methods(), method, "register_method")
    try:
        forget_options()
    except ConfigError:
        del methods()[method.name]
        forget_options()
        raise


def forget_options() -> None:
    """Assemble options and schema anew when they are next asked for, as the table has changed."""
    from nbsp_ray.config import describe

    for cached in (options_model, describe._schema, describe.sections, describe.settings):
        cached.cache_clear()
    Sweep.model_rebuild(force=True)


@cache
def options_model() -> type[MethodOptions]:
    """The section `method` of sweeps: the options of all methods, in the order of the table.

    Raises:
        ConfigError: two methods have an option of one name that is not the same option.
    """
    from nbsp_ray.methods import reset_log_alpha

    fields: dict[str, tuple[type[Settings], Any]] = {}
    named = (one.options for one in methods().values())
    models: list[type[Settings]] = list(dict.fromkeys(one for one in named if one is not None))
    everyones: list[type[Settings]] = [*models, reset_log_alpha.Options]
    for model in everyones:
        for name, field in model.model_fields.items():
            owner, other = fields.setdefault(name, (model, field))
            if repr(other) != repr(field):
                raise ConfigError(
                    f"method.{name} is an option of {owner.__module__} and another one of {model.__module__}: rename "
                    "it, or let one Options class inherit it from the other"
                )
    # An instance is one of each method's own class. Of classes that inherit from one another the lowest is enough.
    lowest = [one for one in models if not any(one is not other and issubclass(other, one) for other in models)]
    bases: Any = (reset_log_alpha.Options, *reversed(lowest), MethodOptions)  # Fields are listed from the last base on.
    return cast("type[MethodOptions]", create_model("MethodOptions", __base__=bases, __doc__=MethodOptions.__doc__))


def method_options(**values: Any) -> Any:
    """The options of all methods, with these values set."""
    return options_model()(**values)


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


def read_ingredient(data: Mapping[str, Any]) -> Ingredient:
    """The ingredient that `model_dump` gave as `data`.

    Raises:
        ConfigError: no method that this process knows has such an ingredient.
    """
    methods()  # Defines them.
    if data["kind"] not in KINDS:
        raise ConfigError(
            f"no method here has an ingredient of kind {data['kind']!r}: a method that was registered is known to its "
            f"own process; give its package an entry point of the group {ENTRY_POINTS}, and install it on all machines"
        )
    return KINDS[data["kind"]].model_validate(data)


def read_ingredients(spec: PhaseSpec) -> tuple[Ingredient, ...]:
    """The ingredients at work in a phase, to be handed to whoever learns it."""
    return tuple(read_ingredient(data) for data in spec.ingredients)
