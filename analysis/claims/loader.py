"""`claims.yaml`: what is claimed, and what decides it; read as strictly as a sweep file.

Every problem is said at once, each as `file:line: what is wrong`.
"""

import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from nbsp_ray.config.schema import Rate, Settings, Sweep
from nbsp_ray.errors import ConfigError, did_you_mean
from nbsp_ray.methods import get_method
from nbsp_ray.probe.request import Kind
from nbsp_ray.sweepfile import load_sweep, strictyaml

Rule = Literal["above", "below", "not_lower", "level", "rises", "falls", "reached", "probe", "shown"]
MEASURES = {
    "individual": ("first_before", (0.0, 1.0)),
    "stability": ("first_after", (0.0, 1.0)),
    "plasticity": ("second", (0.0, 1.0)),
    "forgetting": ("forgetting", (-1.0, 1.0)),
    "forward_transfer": ("forward_transfer", (-float("inf"), 1.0)),
    "average_performance": ("average_performance", (0.0, 1.0)),
    "forgetting_measure": ("forgetting_measure", (-1.0, 1.0)),
}
"""By the name in a claim: the column, and what it can be where tasks are judged by success."""
METHODS_OF: dict[str, tuple[int, ...]] = {
    "above": (1, 2), "below": (1, 2), "not_lower": (2,), "level": (1,), "rises": (1,), "falls": (1,),
    "reached": (0,), "probe": (0,), "shown": (1,),
}  # fmt: skip
"""How many methods a rule takes."""


class ClaimTest(Settings):
    """One comparison, and the rule that decides it."""

    rule: Rule
    """`above`, `below`: the mean of the measure (of two methods their difference by seed) lies on that side of 0.
    `not_lower`: the difference is not below -0.05. `level`: the mean reaches `at_least` or stays `below`. `rises`,
    `falls`: Spearman's rho over the numbers of skill neurons lies on that side of 0. `reached`: the share of first
    phases that reach the stop threshold. `probe`: silencing the best-scored neurons costs more than random ones.
    `shown`: the measure stands beside the others and decides nothing."""
    methods: tuple[str, ...] = ()
    measure: str = "stability"
    at_least: Rate | None = None
    low_at_least: Rate | None = None
    """What the lower end of the interval must reach besides."""
    below: Rate | None = None
    count: Rate | None = None
    """The share of neurons that a probe silences."""
    score: Kind = "paper"
    """The score by which those are the best."""
    pairs: tuple[str, ...] = ()
    """`first:second`; none: all there are."""


class Claim(Settings):
    """One claim."""

    id: str = Field(pattern=r"C[0-9]+[a-z]?")
    claim: str
    """One sentence, in our words."""
    where: str
    """Section and figure."""
    decided_by: str
    """The rule in words."""
    note: str = ""
    """What a reader must know besides, as a sentence of the page."""
    beyond: bool = False
    """Whether the paper does not make it."""
    exploratory: bool = False
    """Whether it was added when some of the numbers that decide it were known."""
    sweeps: tuple[str, ...] = ()
    """Names, or paths, of the sweeps whose trials decide it, each with `KEY=VALUE`s after it if it was run with any."""
    lacks: str = ""
    """Why there is no sweep for it yet."""
    stop: Literal["stable", "fixed"] | None = None
    """Only trials whose phases after the first end so."""
    skill_neurons: str = "0.2"
    """Of methods that select neurons, only trials with this setting (but for `rises` and `falls`)."""
    each_pair: bool = False
    """Whether it must hold in each pair, and not over pairs."""
    family: bool = False
    """Whether its tests are corrected together (Holm)."""
    tests: tuple[ClaimTest, ...] = Field(min_length=1)

    @cached_property
    def loaded(self) -> tuple[Sweep, ...]:
        """All its sweeps, read."""
        return tuple(sweep for given in self.sweeps for sweep in _load(given))


class _File(Settings):
    claims: tuple[Claim, ...] = Field(min_length=1)


def _load(given: str) -> tuple[Sweep, ...]:
    name, *overrides = shlex.split(given)
    return load_sweep(name, overrides).sweeps


def load_claims(path: Path) -> list[Claim]:
    """All claims of a file, in its order.

    Raises:
        ConfigError: a line for each problem of the file.
    """
    try:
        document = strictyaml.parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    problems = list(document.problems)
    claims: tuple[Claim, ...] = ()
    if not problems:
        try:
            claims = _File.model_validate(_tuples(document.data), strict=True).claims
        except ValidationError as error:
            problems += [(_line(document.lines, one["loc"]), _what(one)) for one in error.errors()]
    for number, claim in enumerate(claims):
        for at, text in _problems(claim, claims[:number]):
            problems.append((_line(document.lines, ("claims", number, *at)), text))
    if problems:
        raise ConfigError("\n".join(f"{path}:{line}: {text}" for line, text in sorted(problems)))
    return list(claims)


def _tuples(data: Any) -> Any:
    """Lists as tuples: strict validation takes a list for nothing else."""
    if isinstance(data, list):
        return tuple(map(_tuples, data))
    return {key: _tuples(value) for key, value in data.items()} if isinstance(data, dict) else data


def _line(lines: dict[strictyaml.Keys, int], at: tuple[str | int, ...]) -> int:
    """The line of a place, or of the nearest one around it."""
    return next((lines[at[:end]] for end in range(len(at), 0, -1) if at[:end] in lines), 1)


def _what(error: ErrorDetails) -> str:
    path = ".".join(map(str, error["loc"])) or "the file"
    known = ClaimTest.model_fields if "tests" in error["loc"] else Claim.model_fields
    if error["type"] == "extra_forbidden":
        return f"{path} is no key here{did_you_mean(str(error['loc'][-1]), known)}; there are {', '.join(known)}"
    if error["type"] == "missing":
        return f"{path} is missing"
    return f"{path}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _problems(claim: Claim, before: tuple[Claim, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a claim beyond its form."""
    if claim.id in {one.id for one in before}:
        yield ("id",), f"{claim.id} is given twice"
    if not claim.sweeps and not claim.lacks:
        yield ("id",), f"{claim.id} names no sweep; say in `lacks` why there is none"
    for rule in sorted({test.rule for test in claim.tests} & {"level", "reached"} if claim.family else ()):
        yield ("family",), f"rule {rule} has no p-value that Holm's correction could take: {claim.id} can be no family"
    if claim.family and claim.each_pair:
        yield ("family",), f"Holm's correction is of tests over pairs: {claim.id} is either a family or each_pair"
    whole = True
    for number, given in enumerate(claim.sweeps):
        try:
            _load(given)
        except ConfigError as error:
            whole = False
            yield ("sweeps", number), f"{given}: {'; '.join(str(error).splitlines())}"
    for number, test in enumerate(claim.tests):
        for at, text in _test_problems(claim, test, known=whole and bool(claim.sweeps)):
            yield ("tests", number, at), text


def _test_problems(claim: Claim, test: ClaimTest, *, known: bool) -> Iterator[tuple[str, str]]:
    if test.measure not in MEASURES:
        near = did_you_mean(test.measure, MEASURES)
        yield "measure", f"no measure {test.measure!r}{near}; there are {', '.join(MEASURES)}"
    if len(test.methods) not in METHODS_OF[test.rule]:
        wanted = " or ".join(map(str, METHODS_OF[test.rule]))
        yield "methods", f"rule {test.rule} takes {wanted} methods, and {len(test.methods)} are given"
    if test.rule in ("level", "reached") and (test.at_least is None) == (test.below is None):
        yield "rule", f"rule {test.rule} takes either at_least or below"
    if test.rule == "probe" and test.count is None:
        yield "rule", "rule probe takes count, the share of neurons to silence"
    methods = {method for sweep in claim.loaded for method in sweep.methods} if known else set()
    for name in test.methods:
        try:
            get_method(name)
        except ConfigError as error:
            yield "methods", str(error)
            continue
        if known and name not in methods:
            yield "methods", f"none of the sweeps of {claim.id} has the method {name}"
    pairs = {":".join(pair) for sweep in claim.loaded for pair in sweep.pairs} if known else set()
    for pair in test.pairs:
        if known and pair not in pairs:
            yield "pairs", f"none of the sweeps of {claim.id} has the pair {pair}; they have {', '.join(sorted(pairs))}"
