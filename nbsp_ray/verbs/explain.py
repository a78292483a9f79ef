"""`nbsp-ray explain`: what a setting, a section, a method, a benchmark, a task, a sweep or a key of sweep files is.

Nothing is said here that stands elsewhere: types, ranges, defaults and help come from the schema, methods from
`methods/`, tasks from `benchmarks/`, and who sets what from `tune_configs`.
"""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

from nbsp_ray.benchmarks import Benchmark, Score, Spaces, Vector, benchmarks
from nbsp_ray.config.describe import FILE_KEYS, MISSING, Section, Setting, sections, settings
from nbsp_ray.config.json_schema import json_schema
from nbsp_ray.config.schema import Sac, Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.methods import GROUPS, Method, method_options, methods
from nbsp_ray.plan.counts import resolve_counts
from nbsp_ray.states import State
from nbsp_ray.sweepfile import find_sweep, load_sweep, own_settings, sweep_names
from nbsp_ray.terminal.output import Column, Rows, plain_console, print_prose
from nbsp_ray.verbs._common import AsJson, print_json
from nbsp_ray.verbs._completion import complete_word

WIDTH = 110
"""Characters of a line."""


def command(
    key: Annotated[
        str | None,
        typer.Argument(help="A setting (sac.tau), a method, a benchmark, a sweep.", autocompletion=complete_word),
    ] = None,
    as_json: AsJson = False,
    schema: Annotated[bool, typer.Option(help="The JSON schema of sweep files, for editors.")] = False,
) -> None:
    """Say what a setting, a method, a benchmark or a sweep is: type, range, default, source, uses."""
    if schema:
        print_json(json_schema())
        return
    explanation = explain(key or "")
    if as_json:
        print_json(explanation.to_json())
    else:
        explanation.print(plain_console())


@dataclass(frozen=True)
class Explanation:
    """What there is to say about one word: `str` for people, `to_json` for programs."""

    kind: str
    name: str
    summary: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Short answers by their label."""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    """A table, if there is something to list."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """For people, in lines of `WIDTH` characters."""
        console = plain_console()
        console.width, console.file = WIDTH, io.StringIO()
        self.print(console)
        return console.file.getvalue().rstrip("\n")

    def print(self, console: Console) -> None:
        """Print it for people, as wide as the console is."""
        print_prose(console, f"{self.name} ({self.kind})")
        console.print()
        print_prose(console, self.summary)
        facts = [(f"{label}:", _text(value)) for label, value in self.facts.items()]
        table = [tuple(_text(cell) for cell in row) for row in self.rows]
        for columns, rows in ((("", ""), facts), (self.columns, table)):
            if rows:
                console.print()
                console.print(Rows([Column(title, whole=not number) for number, title in enumerate(columns)], rows))


def explain(key: str = "") -> Explanation:
    """What `key` is; of no key, what there is to explain.

    Raises:
        ConfigError: it is nothing known, or several settings.
    """
    words = _words()
    if not key:
        return _overview(words)
    if meanings := [meaning for word, meaning in words if word == key]:
        others = [kind for kind, _ in meanings[1:]]
        found = meanings[0][1]()
        return replace(found, facts={**found.facts, "also": f"a {' and a '.join(others)}"}) if others else found
    if short := [path for path in settings() if path.rpartition(".")[2] == key]:
        if len(short) > 1:
            raise ConfigError(f"{key!r} is {len(short)} settings: {' and '.join(short)}; name one of them")
        return _setting(settings()[short[0]])
    if "/" in key or key.endswith((".yaml", ".yml")):
        return _sweep(key)
    if re.fullmatch("[0-9a-f]{4,20}", key):
        summary = f"`nbsp-ray show {key}` shows the phase: its settings, numbers, episodes, curve, neurons and folder."
        return Explanation("key of a phase", key, summary)
    near = get_close_matches(key, [word for word, _ in words] + [one.name for one in settings().values()], n=1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(f"nothing is known of {key!r}{meant}; `nbsp-ray explain` alone says what can be explained")


GLOSSARY: Mapping[str, str] = {
    "phase": "Learning one task, perhaps after others: what is stored, shared by trials, killed and resumed.",
    "trial": "Phases one after another: a sequence of tasks, a method, a seed, a number of skill neurons.",
    "q1": "One of the two Q networks (critics), beside `q2`. Each has skill neurons of its own, as the actor has.",
    "q2": "One of the two Q networks (critics), beside `q1`.",
    "skill neuron": "A hidden unit whose activation tells good env steps from others best (Eq. 1-4).",
    "scoring step": "An env step of the first phase's final evaluation, on which neurons are scored.",
    "stability": "Success on the first task after learning the last: `first task after` in tables.",
    "plasticity": "Success on the last task after learning it: `second task` in tables.",
    "forgetting": "Success on the first task before learning the second, less that after it.",
    "knee": "Of a trade-off's front: the point farthest beyond the line between its ends.",
    "replicate": "A phase that is trained once more because what rests on it needs the agent or the buffer of an "
    "imported one, which are elsewhere. Trials that rest on it have rows of their own, `replicate=1`.",
    "carried forward": "A phase that stopped early counts with its final evaluation from there to its budget.",
    "drift": "How much frozen activations of a layer have changed with the second task, on states of the first.",
}
"""Words of tables and pages that are no setting."""
Meaning = tuple[str, Callable[[], Explanation]]


def _words() -> list[tuple[str, Meaning]]:
    """Every word with what kind of thing it is and what explains it; where a word is two things, the first is told."""
    return [
        ("settings", ("list", _settings)),
        ("methods", ("list", _methods)),
        ("benchmark", ("list", _benchmarks)),
        ("benchmarks", ("list", _benchmarks)),
        ("sweeps", ("list", _sweeps)),
        ("states", ("list", _states)),
        ("words", ("list", _glossary)),
        *((name, ("section", partial(_section, one))) for name, one in sections().items()),
        *((path, ("setting", partial(_setting, one))) for path, one in settings().items()),
        *((name, ("key of sweep files", partial(_file_key, name))) for name in FILE_KEYS),
        *((name, ("method", partial(_method, one))) for name, one in methods().items()),
        *((name, ("benchmark", partial(_benchmark, one))) for name, one in benchmarks().items()),
        *((name, ("sweep", partial(_sweep, name))) for name in sweep_names()),
        *((task, ("task", partial(_task, one, task))) for one in benchmarks().values() for task in one.spaces()),
        *((state.value, ("state", partial(_word, "state", state.value, state.meaning))) for state in State),
        *((word, ("word", partial(_word, "word", word, meaning))) for word, meaning in GLOSSARY.items()),
    ]


def words() -> list[str]:
    """Every word that can be explained."""
    return [word for word, _ in _words()]


def _overview(words: Sequence[tuple[str, Meaning]]) -> Explanation:
    kinds = ("section", "key of sweep files", "method", "benchmark", "sweep")
    rows = [(kind, ", ".join(word for word, (of, _) in words if of == kind)) for kind in kinds]
    return Explanation(
        "WORD",
        "nbsp-ray explain",
        "WORD is a setting (sac.tau, or tau), a task, one of these, or a list: settings, methods, benchmarks, sweeps, "
        "states, words.",
        columns=("kind", "words"),
        rows=tuple(rows),
    )


def _word(kind: str, word: str, meaning: str) -> Explanation:
    return Explanation(kind, word, meaning)


def _states() -> Explanation:
    rows = tuple((state.value, state.meaning) for state in State)
    summary = "How far a phase or a trial is: the words of `status`, of reports, and of their JSON and data."
    return Explanation("list", "states", summary, columns=("state", "a phase or a trial that is so"), rows=rows)


def _glossary() -> Explanation:
    return Explanation(
        "list", "words", "Words of tables and pages.", columns=("word", "what it is"), rows=tuple(GLOSSARY.items())
    )


def _settings() -> Explanation:
    return Explanation(
        "list",
        "settings",
        "All that a sweep file can set; on the command line as KEY=VALUE.",
        columns=("setting", "default", "type and range"),
        rows=tuple((one.path, _default(one), one.words) for one in settings().values()),
    )


def _section(section: Section) -> Explanation:
    inside = [one for one in settings().values() if one.path.startswith(f"{section.path}.")]
    return Explanation(
        "section",
        section.path,
        section.doc,
        columns=("setting", "default", "type and range"),
        rows=tuple((one.path, _default(one), one.words) for one in inside),
    )


def _setting(setting: Setting) -> Explanation:
    facts: dict[str, Any] = {"takes": setting.words, "default": _default(setting)}
    for name, benchmark in benchmarks().items():
        if (own := _at(benchmark.defaults, setting.path)) is not MISSING:
            facts[f"default of {name}"] = _plain(own)
    facts["set by"] = {name: value for name in sweep_names() if (value := _set_by(name, setting.path)) is not MISSING}
    return Explanation("setting", setting.path, setting.doc, facts)


def _set_by(sweep: str, path: str) -> Any:
    """The value there, or the values that it varies over."""
    own = own_settings(find_sweep(sweep))
    value = _at(own, path)
    varied = own.get("vary")
    return varied.get(path, MISSING) if value is MISSING and isinstance(varied, dict) else value


def _file_key(name: str) -> Explanation:
    found = {sweep: value for sweep in sweep_names() if (value := _set_by(sweep, name)) is not MISSING}
    return Explanation("key of sweep files", name, FILE_KEYS[name], {"in sweeps": found})


def _at(data: Mapping[str, Any], path: str) -> Any:
    """What `data` has at a dotted path, or `MISSING`."""
    value: Any = data
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def _methods() -> Explanation:
    rows = [(one.name, group, one.summary) for group in GROUPS for one in methods().values() if one.group == group]
    return Explanation(
        "list",
        "methods",
        "How the second task is learnt; a sweep file names some: `methods: [base, nbsp]`.",
        columns=("method", "from", "what it does"),
        rows=tuple(rows),
    )


def _method(method: Method) -> Explanation:
    """With the options' defaults and a network of the default size."""
    options, fraction = method_options(), Sweep.model_fields["skill_neurons"].default[0]
    ingredients = method.ingredients(options, resolve_counts(fraction, Sac().hidden))
    needed = sorted({one.needs_method for one in ingredients if one.needs_method})
    facts: dict[str, Any] = {
        "from": GROUPS[method.group],
        "skill neurons": f"yes, by default {fraction} of {sum(Sac().hidden)}" if method.selects_neurons else "none",
        **({"reads the phases of": ", ".join(needed)} if needed else {}),
        "in sweeps": [name for name in sweep_names() if method.name in _methods_of(name)],
    }
    rows = (
        (one.kind, name, _plain(value))
        for one in ingredients
        for name, value in one.model_dump(mode="json").items()
        if name != "kind" and value is not None
    )
    return Explanation(
        "method", method.name, method.summary, facts, ("ingredient", "option", "by default"), tuple(rows)
    )


def _methods_of(sweep: str) -> set[str]:
    try:
        return {method for one in load_sweep(sweep).sweeps for method in one.methods}
    except ConfigError:
        return set()  # a sweep that is wrong is for `plan` to say


def _benchmarks() -> Explanation:
    rows = ((one.name, len(one.spaces()), len(one.pairs), one.revision) for one in benchmarks().values())
    return Explanation(
        "list",
        "benchmarks",
        "Families of tasks; a sweep file names one: `benchmark: metaworld`.",
        columns=("benchmark", "tasks", "pairs", "revision"),
        rows=tuple(rows),
    )


def _benchmark(benchmark: Benchmark) -> Explanation:
    spaces = benchmark.spaces()
    facts: dict[str, Any] = {
        "pairs": ", ".join(":".join(pair) for pair in benchmark.pairs),
        "longest episode": f"{benchmark.horizon} env steps",
        "revision": benchmark.revision,
        **{f"default {path}": value for path in settings() if (value := _at(benchmark.defaults, path)) is not MISSING},
    }
    by_space: dict[Spaces, list[str]] = {}
    for task, space in spaces.items():
        by_space.setdefault(space, []).append(task)
    return Explanation(
        "benchmark",
        benchmark.name,
        " ".join((type(benchmark).__doc__ or "").split()),
        {name: _plain(value) for name, value in facts.items()},
        ("observations", "actions", "tasks (those of one row can be paired)"),
        tuple((_seen(space), space.action.size, ", ".join(tasks)) for space, tasks in by_space.items()),
    )


def _seen(spaces: Spaces) -> str:
    """An observation, for people."""
    return str(spaces.observation.size if isinstance(spaces.observation, Vector) else spaces.observation)


def _task(benchmark: Benchmark, task: str) -> Explanation:
    space = benchmark.task_spaces(task)
    others = [name for name, other in benchmark.spaces().items() if other == space and name != task]
    judged_by, measured_by = benchmark.judged_by, "success"
    if isinstance(judged_by, Score):
        one = judged_by.meaning[1]
        measured_by = "its score" + (f", also normalised by {one}'s (Eq. 8)" if task in judged_by.references else "")
    facts: dict[str, Any] = {
        "observations": _seen(space),
        "actions": space.action.size,
        "judged by": measured_by,
        "in the pairs": ", ".join(":".join(pair) for pair in benchmark.pairs if task in pair) or "none",
        "can be paired with": ", ".join(others) or "none",
    }
    summary = f"A task of {benchmark.name}; `nbsp-ray explain {benchmark.name}` lists all."
    return Explanation("task", task, summary, facts)


def _sweeps() -> Explanation:
    rows = ((name, str(own_settings(find_sweep(name)).get("title", ""))) for name in sweep_names())
    return Explanation(
        "list",
        "sweeps",
        "The files of tune_configs; `nbsp-ray plan NAME` prices one.",
        columns=("sweep", "title"),
        rows=tuple(rows),
    )


def _sweep(name_or_path: str) -> Explanation:
    loaded = load_sweep(name_or_path)
    plan = loaded.plan(None, whole_budget=True)
    first = sum(phase.spec.index == 0 for phase in plan.phases.values())
    facts = {
        "trials": len(plan.trials),
        "phases": f"{first} first and {len(plan.phases) - first} later ones",
        "env steps": f"at most {plan.env_steps():,}",
        "settings": {name: value for name, value in own_settings(find_sweep(name_or_path)).items() if name != "title"},
    }
    return Explanation("sweep", loaded.name, loaded.title, facts)


# Plain text


def _default(setting: Setting) -> Any:
    return "none; it must be given" if setting.default is MISSING else setting.default


def _plain(value: Any) -> Any:
    """Tuples as the lists that JSON and YAML have."""
    return json.loads(json.dumps(value))


def _text(value: Any) -> str:
    """A value as one would write it in a file; of a mapping, each entry."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_text(one)}" for key, one in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value) or "-"
    return json.dumps(value)
