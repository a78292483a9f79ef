"""What the documents promise works as it stands there."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nbsp_ray import methods
from nbsp_ray.local import run_trial
from nbsp_ray.plan.build import make_plan
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.verbs.explain import explain

DOCS = Path(__file__).parents[1] / "docs"


def forget_methods() -> None:
    for cached in (methods._modules, methods.methods, methods._kinds):
        cached.cache_clear()


@pytest.fixture
def documented_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The file of the page, put where the page says (here: in a second folder of the same package)."""
    text = (DOCS / "add-a-method.md").read_text()
    (name,) = set(re.findall(r"`nbsp_ray/methods/(\w+)\.py`", text))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / f"{name}.py").write_text(code)
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
