"""Sweep files: a name and `KEY=VALUE`s become validated sweeps, or one message with everything that is wrong.

Settings come in layers, the later above the earlier: the schema's defaults, the benchmark's own, the file, the files
that include it, the command line. Each value remembers where it was given, so that each problem can say so.

Entries that begin with `x-` are no settings, but a place for anchors: `x-small: &small {hidden: [64, 64]}` and, below
it, `sac: {<<: *small, tau: 0.01}`.

A file with `vary` is one sweep for every combination of the values there; on the command line commas vary a setting
that is no list itself, `sac.gamma=0.95,0.99`. Variations are settings like others: what is
set above them replaces them.

A file with `include` is made of other sweeps. What it or the command line sets holds for each of them, but `methods`
and `pairs` *select* from what each has: `run paper_metaworld methods=nbsp` is NBSP's part of the paper. To select what
none of them has is an error.

Imports neither torch nor Ray nor pandas: a typing error is answered at once.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbsp_ray.config.describe import FILE_KEYS, PAPER, can_vary, example, near, sections, settings
from nbsp_ray.config.schema import Sweep
from nbsp_ray.errors import ConfigError, did_you_mean
from nbsp_ray.folders import local
from nbsp_ray.methods import methods
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.replicates import on_replicates
from nbsp_ray.plan.search import resolve_searches, rounds_left
from nbsp_ray.specs import Plan
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.sweepfile import strictyaml
from nbsp_ray.sweepfile.checks import axis_values, make_sweep
from nbsp_ray.sweepfile.entries import APART, checked
from nbsp_ray.sweepfile.layers import Data, Layer, leaves, merge, nested
from nbsp_ray.sweepfile.strictyaml import Keys

COMMAND_LINE = "command line"
FOLDER = "tune_configs"
SELECTED = ("pairs", "methods")


@dataclass(frozen=True)
class LoadedSweep:
    """A sweep file with everything it includes, checked."""

    name: str
    """The file's name without `.yaml`."""
    title: str
    sweeps: tuple[Sweep, ...]
    """One for each included file and variation; a file with neither gives one."""
    overrides: tuple[str, ...]
    given: str
    """The name or path as it was given, for saying the command again."""

    def plan(self, store: Store | None, *, whole_budget: bool = False) -> Plan:
        """Its trials and phases; of a search, what it has tried in `store`, or with all others that it may try.

        What would be trained on top of imported phases rests on replicates of them.
        """
        return self._plan(store, rounds_left(self.sweeps, store) if whole_budget else 0)

    def rounds(self, store: Store | None) -> list[Plan]:
        """What `run` runs one after the other: all at once, but for searches, each plan with what was before it."""
        return [self._plan(store, number) for number in range(rounds_left(self.sweeps, store) + 1)]

    def _plan(self, store: Store | None, rounds: int) -> Plan:
        planned = make_plan(self.name, resolve_searches(self.sweeps, store, rounds=rounds))
        return planned if store is None else on_replicates(planned, store)

    def command(self, verb: str, root: str | Path) -> str:
        """The command that does `verb` with this sweep."""
        return command(verb, self.given, self.overrides, root)


def command(verb: str, sweep: str, overrides: Sequence[str], root: str | Path) -> str:
    """A command as one would type it."""
    where = [] if str(root) == DEFAULT_ROOT else ["--root", str(root)]
    return shlex.join(["nbsp-ray", verb, sweep, *overrides, *where])


def load_sweep(name_or_path: str, overrides: Sequence[str] = ()) -> LoadedSweep:
    """Load the sweep of that name or path, with `KEY=VALUE`s on top.

    Raises:
        ConfigError: a line for each problem of all files and overrides.
    """
    path = find_sweep(name_or_path)
    loader = _Loader()
    top = loader.command_line(overrides)
    file = loader.file(path, ())
    layers = loader.over_each(top, file.layers) if file.composed else [top.over(layer) for layer in file.layers]
    sweeps = [make_sweep(one, loader.problem) for layer in layers for one in layer.variations()]
    loader.raise_problems()
    checked = tuple(sweep for sweep in sweeps if sweep is not None)
    title = file.title
    if (other := top.data.get("benchmark")) and any(layer.data.get("benchmark") != other for layer in file.layers):
        title = f"{path.stem} with benchmark={other}"  # The file's title is of another one.
    return LoadedSweep(path.stem, top.data.get("title", title), checked, tuple(overrides), name_or_path)


def sweep_names() -> list[str]:
    """Names of all sweeps in `tune_configs`, here and beside the package."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.yaml")})


def find_sweep(name_or_path: str, beside: Path | None = None) -> Path:
    """The file of a sweep: a path has a slash or ends in .yaml, a name is looked up `beside` and in `tune_configs`.

    Raises:
        ConfigError: there is none.
    """
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        path = Path(os.path.abspath((beside or Path()) / local(name_or_path)))
        if path.is_file():
            return path
        raise ConfigError(f"there is no file {_shown(path)}; `nbsp-ray explain sweeps` lists those known by name")
    for folder in (*([beside] if beside else []), *_folders()):
        if (path := folder / f"{name_or_path}.yaml").is_file():
            return path
    raise ConfigError(
        f"no sweep {name_or_path!r}{did_you_mean(name_or_path, sweep_names())}; `nbsp-ray explain sweeps` lists all, "
        "and a file elsewhere is given by its path, such as ./mine.yaml"
    )


def own_settings(path: Path) -> Data:
    """The settings that a file itself gives, unchecked and without those of the files that it includes."""
    data = strictyaml.parse(path.read_text(encoding="utf-8-sig", errors="replace")).data
    return {name: value for name, value in data.items() if not name.startswith(APART)} if isinstance(data, dict) else {}


def _shown(path: Path) -> str:
    """The path as one would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _folders() -> list[Path]:
    package = Path(__file__).parents[1]
    return [Path.cwd() / FOLDER, package.parent / FOLDER, package / FOLDER]


@dataclass(frozen=True)
class _File:
    """A file and all that it includes: one layer for each sweep."""

    title: str
    layers: list[Layer]
    composed: bool
    """True if it includes others."""


class _Loader:
    """Reads layers, puts them together, and collects every problem on the way."""

    def __init__(self) -> None:
        self.problems: dict[tuple[str, str], None] = {}

    def problem(self, where: str, text: object) -> None:
        """Note a problem, once."""
        self.problems[where, str(text)] = None

    def raise_problems(self) -> None:
        """Raise a `ConfigError` with all problems, file by file in the order of lines, if there are any."""
        if self.problems:
            places = {place: _file_and_line(place) for place, _ in self.problems}
            files = list(dict.fromkeys(file for file, _ in places.values()))
            order = sorted(self.problems, key=lambda one: (files.index(places[one[0]][0]), places[one[0]][1]))
            raise ConfigError("\n".join(f"{place}: {text}" for place, text in order))

    def command_line(self, overrides: Sequence[str]) -> Layer:
        """The layer of all `KEY=VALUE`s."""
        data: Data = {}
        origins: dict[Keys, str] = {(): COMMAND_LINE}
        seen: dict[str, str] = {}
        for text in overrides:
            key, equals, given = (part.strip() for part in text.partition("="))
            setting = settings().get(key)
            if key in FILE_KEYS and key != "tasks":
                how = (
                    "commas vary a setting: sac.gamma=0.95,0.99"
                    if key == "vary"
                    else "a setting has one value: KEY=VALUE"
                )
                self.problem(COMMAND_LINE, f"{key} stands in sweep files only; here {how}")
            elif setting is None and key not in sections() and key != "tasks":
                how = "" if equals else "; a setting is given as KEY=VALUE, such as seeds=0-1"
                self.problem(COMMAND_LINE, f"{key!r} is not a setting{near(key, nested=False)}{how}")
            elif not given:
                self.problem(COMMAND_LINE, f"{key} has no value; write {key}=VALUE{example(setting)}")
            elif key in seen:
                self.problem(COMMAND_LINE, f"{key} is given twice: {seen[key]} and {text}")
            else:
                seen[key] = text
                # A setting that is text takes its text as it is: YAML would make numbers of some words.
                as_text = setting is not None and setting.node.get("type") == "string"
                value, wrong = (given, None) if as_text else strictyaml.parse_value(given)
                if wrong:
                    self.problem(COMMAND_LINE, f"{text}: {wrong}")
                    continue
                given_here = nested(tuple(key.split(".")), value)
                if setting and not setting.is_list and can_vary(key) and isinstance(value, str) and "," in value:
                    parts = [part.strip() for part in value.split(",")]
                    values = parts if as_text else [strictyaml.parse_value(part)[0] for part in parts]
                    given_here = {"vary": {key: values}}
                data = merge(data, given_here)
                origins |= dict.fromkeys(leaves(given_here), COMMAND_LINE)
        return checked(Layer(data, origins), self.problem)

    def file(self, path: Path, above: tuple[Path, ...]) -> _File:
        """A file, with what it includes."""
        layer = self._read(path)
        if layer is None:
            return _File("", [], composed=True)
        title = str(layer.data.get("title", ""))
        if "include" not in layer.data:
            return _File(title, [layer], composed=False)
        layers: list[Layer] = []
        for number, name in enumerate(layer.data["include"]):
            where = layer.at("include", number)
            try:
                child = find_sweep(name, beside=path.parent)
            except ConfigError as error:
                self.problem(where, error)
                continue
            if child in (*above, path):
                circle = " > ".join(one.stem for one in (*above, path, child))
                self.problem(where, f"include goes in a circle: {circle}")
                continue
            layers += self.file(child, (*above, path)).layers
        return _File(title, self.over_each(layer.without("include"), layers), composed=True)

    def over_each(self, layer: Layer, layers: list[Layer]) -> list[Layer]:
        """`layer` above each of `layers`: it replaces, but `methods` and `pairs` select."""
        found = [layer.without("title", *SELECTED).over(one) for one in layers]
        for axis in SELECTED:
            wanted = layer.data.get(axis, PAPER)
            if wanted != PAPER:
                found = self._select(axis, wanted, layer, found)
        return found

    def _select(self, axis: str, wanted: list[Any], layer: Layer, layers: list[Layer]) -> list[Layer]:
        found: list[Layer] = []
        offered: dict[str, None] = {}
        for one in layers:
            values = axis_values(one, axis)
            offered |= dict.fromkeys(_text(value) for value in values or ())
            kept = [value for value in values or () if value in wanted]
            if values is None:
                found.append(one)  # it lacks them, and will be told so
            elif kept:
                found.append(Layer({axis: kept}, {(): one.at(), (axis,): one.at(axis)}).over(one))
        # Only if all else is right: a file that could not be read offers nothing, and is a problem already.
        for number, value in enumerate(wanted):
            if _text(value) not in offered and not self.problems:
                meant = did_you_mean(_text(value), offered) if axis == "methods" and value not in methods() else ""
                self.problem(
                    layer.at(axis, number),
                    f"none of the included sweeps has the {axis[:-1]} {_text(value)!r}{meant}; "
                    f"they have {', '.join(offered)}",
                )
        if not wanted:
            self.problem(layer.at(axis), f"an empty sweep: {axis} is empty")
        return found

    def _read(self, path: Path) -> Layer | None:
        name = _shown(path)
        try:
            document = strictyaml.parse(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            self.problem(name, f"cannot be read: {error}")
            return None
        for line, text in document.problems:
            self.problem(f"{name}:{line}", text)
        if not isinstance(document.data, dict):
            if not document.problems:
                self.problem(name, "holds no settings; it takes lines such as `benchmark: metaworld`")
            return None
        origins: dict[Keys, str] = {(): name} | {keys: f"{name}:{n}" for keys, n in document.lines.items()}
        return checked(Layer(document.data, origins), self.problem)


def _file_and_line(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if file and line.isdigit() else (place, 0)


def _text(value: Any) -> str:
    return ":".join(value) if isinstance(value, list) else str(value)
