"""What the documents promise works as it stands there."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nbsp_ray import benchmarks, methods
from nbsp_ray.local import run_trial
from nbsp_ray.plan.build import make_plan
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.verbs.explain import explain

DOCS = Path(__file__).parents[1] / "docs"


def code_of(page: str, folder: str, tmp_path: Path) -> str:
    """Puts the first Python file of a page into `tmp_path`; the name of its module, as the page says it."""
    text = (DOCS / page).read_text()
    (name,) = set(re.findall(rf"`nbsp_ray/{folder}/(\w+)\.py`", text))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / f"{name}.py").write_text(code)
    return str(name)


def forget_methods() -> None:
    for cached in (methods._modules, methods.methods, methods._kinds):
        cached.cache_clear()


@pytest.fixture
def documented_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The file of the page, put where the page says (here: in a second folder of the same package)."""
    name = code_of("add-a-method.md", "methods", tmp_path)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    forget_methods()
    yield name
    forget_methods()
    sys.modules.pop(f"nbsp_ray.methods.{name}", None)


def test_the_method_of_the_page_takes_one_file(documented_method: str, tmp_path: Path) -> None:
    assert "freeze the first hidden layer" in str(explain(documented_method))
    small = ["first.env_steps=500", "second.env_steps=500", "evaluation.episodes=2", "seeds=0"]
    loaded = load_sweep("toy", [f"methods={documented_method}", *small])
    plan = make_plan("docs", loaded.sweeps)
    store = Store(tmp_path / "results", create=True)
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
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    benchmarks.benchmarks.cache_clear()
    yield name
    benchmarks.benchmarks.cache_clear()
    sys.modules.pop(f"nbsp_ray.benchmarks.{name}", None)


def test_the_benchmark_of_the_page_takes_one_file(documented_benchmark: str, tmp_path: Path) -> None:
    assert "short:long" in str(explain(documented_benchmark))
    assert "a good controller" in str(explain("short"))
    small = ["first.env_steps=400", "second.env_steps=400", "evaluation.episodes=2", "seeds=0", "methods=nbsp"]
    settings = [f"benchmark={documented_benchmark}", "pairs=short:long", "sac.learning_starts=100", *small]
    plan = make_plan("docs", load_sweep("toy", settings).sweeps)
    store = Store(tmp_path / "results", create=True)
    assert run_trial(plan, plan.trials[0], store, lambda label, progress: None)
    result = store.phase(plan.trials[0].phases[1]).result()
    assert result is not None
    assert result["score_undefined"] is False
    env = benchmarks.get_benchmark(documented_benchmark).make_env("long", 0)
    assert env.reset(3, np.random.default_rng(0)).tobytes() == env.reset(3, np.random.default_rng(1)).tobytes()
