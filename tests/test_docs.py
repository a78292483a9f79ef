"""What the documents promise works as it stands there."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from nbsp_ray import benchmarks, methods
from nbsp_ray.local import run_plan, run_trial
from nbsp_ray.plan.build import make_plan
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.verbs.explain import explain
from nbsp_ray.verbs.main import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tune_configs" / "README.md", *sorted(DOCS.glob("*.md"))]
PLACEHOLDERS = {"NAME", "SWEEP", "KEY", "WORD", "VALUE"}


def code_of(page: str, folder: str, tmp_path: Path) -> str:
    """Puts the first Python file of a page into a folder of `tmp_path`; its module's name, as the page says it."""
    text = (DOCS / page).read_text()
    (name,) = set(re.findall(rf"`nbsp_ray/{folder}/(\w+)\.py`", text))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / folder).mkdir()
    (tmp_path / folder / f"{name}.py").write_text(code)
    return str(name)


def forget_methods() -> None:
    methods.methods.cache_clear()
    methods.forget_options()


@pytest.fixture
def documented_method(tmp_path: Path) -> Iterator[str]:
    """The file of the page, put where the page says (here: in a second folder of the same package)."""
    name = code_of("add-a-method.md", "methods", tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path / "methods")])
        forget_methods()
        yield name
    forget_methods()  # Not before the folder is gone: it assembles the options anew.
    sys.modules.pop(f"nbsp_ray.methods.{name}", None)


@pytest.mark.parametrize("lanes", [1, 2])
def test_the_method_of_the_page_takes_one_file(documented_method: str, lanes: int, tmp_path: Path) -> None:
    assert "freeze the first hidden layer" in str(explain(documented_method))
    small = ["first.env_steps=500", "second.env_steps=500", "evaluation.episodes=2", "seeds=0"]
    loaded = load_sweep("toy", [f"methods={documented_method}", f"resources.lanes={lanes}", *small])
    plan = make_plan("docs", loaded.sweeps)
    store = Store(tmp_path / "results", create=True)
    if lanes > 1:
        assert run_plan(plan, store) == {}
    else:
        assert run_trial(plan, plan.trials[0], store, lambda label, progress: None)
    before, after = (store.phase(key).agent() for key in plan.trials[0].phases)
    assert before is not None
    assert after is not None
    first_layer = 5 * 32 + 32  # 5 observations, 32 units
    np.testing.assert_array_equal(before["actor"][..., :first_layer], after["actor"][..., :first_layer])
    assert (before["actor"][..., first_layer:] != after["actor"][..., first_layer:]).any()
    assert store.phase(plan.trials[0].phases[1]).result()["replay_share"]["critic"] == pytest.approx(0.1, abs=0.01)


@pytest.fixture
def documented_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """As `documented_method`."""
    name = code_of("add-a-benchmark.md", "benchmarks", tmp_path)
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path / "benchmarks")])
    benchmarks.benchmarks.cache_clear()
    yield name
    benchmarks.benchmarks.cache_clear()
    sys.modules.pop(f"nbsp_ray.benchmarks.{name}", None)


def test_the_benchmark_of_the_page_takes_one_file(documented_benchmark: str, tmp_path: Path) -> None:
    assert "short:long" in str(explain(documented_benchmark))
    assert "a good controller" in str(explain("short"))
    small = ["first.env_steps=400", "second.env_steps=200", "evaluation.episodes=2", "seeds=0", "methods=nbsp"]
    settings = [
        f"benchmark={documented_benchmark}",
        "pairs=short:long",
        "sac.learning_starts=100",
        "sac.hidden=[32, 32]",
        *small,
    ]
    plan = make_plan("docs", load_sweep("toy", settings).sweeps)
    store = Store(tmp_path / "results", create=True)
    assert run_trial(plan, plan.trials[0], store, lambda label, progress: None)
    result = store.phase(plan.trials[0].phases[1]).result()
    assert result is not None
    assert result["score_undefined"] is False
    env = benchmarks.get_benchmark(documented_benchmark).make_env("long", 0)
    assert env.reset(3, np.random.default_rng(0)).tobytes() == env.reset(3, np.random.default_rng(1)).tobytes()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    assert [
        page.name for page in DOCS.glob("*.md") if page.name != "README.md" and f"]({page.name})" not in index
    ] == []


def commands(page: Path) -> list[str]:
    """Everything on a page that one is told to type: lines of its shell blocks, and what stands in backticks."""
    text = page.read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    quoted = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [" ".join(line.split()) for line in (*lines, *quoted)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_verbs_options_sweeps_and_settings_that_exist(
    page: Path, documented_method: str, documented_benchmark: str
) -> None:
    root: Any = typer.main.get_command(app)
    for line in commands(page):
        words = shlex.split(line, comments=True)
        if words and words[0].endswith("nbsp-ray") and len(words) > 1:
            if words[1] in {name for parameter in root.params for name in parameter.opts}:
                continue
            assert words[1] in root.commands, line
            check(root.commands[words[1]], words[2:], line)


def check(command: Any, words: list[str], line: str) -> None:
    if hasattr(command, "commands"):
        return check(command.commands[words[0]], words[1:], line) if words else None
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options, line
    takes_sweep = any(parameter.name == "sweep" for parameter in command.params)
    sweep, *more = words or ["NAME"]
    if command.name == "explain" and sweep not in PLACEHOLDERS and not sweep.startswith("--"):
        assert explain(sweep), line
    elif takes_sweep and sweep not in PLACEHOLDERS and not sweep.startswith("-"):
        assert load_sweep(sweep, [word for word in more if re.match(r"[a-z_.]+=", word)]).sweeps, line
    return None


def test_targets_of_make_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    used = {words[1] for page in PAGES for line in commands(page) if (words := line.split())[:1] == ["make"]}
    assert used >= {"quickstart", "test"}
    assert used <= set(targets)


def test_the_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    page = DOCS / "notebook.md"
    text, names = page.read_text(), dict[str, Any]()
    for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        code = "\n" * (text[: block.start(1)].count("\n")) + block[1]  # An error names the line of the page.
        exec(compile(code, str(page), "exec"), names)
    assert list(names["results"].finals["status"]) == ["done", "done"]
    assert (tmp_path / "first-task.svg").stat().st_size > 1_000
    assert names["phase"].env_steps >= 400
    assert re.search(r"success [01]\.\d+, without the 12 best of 64 neurons [01]\.\d+", capsys.readouterr().out)
