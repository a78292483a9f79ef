"""Who may import whom: a reader of one folder need not know the others, and light commands stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "ray", "pandas", "metaworld", "mujoco", "matplotlib", "gymnasium", "ale_py", "cv2", "imageio", "PIL")


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value), node.lineno


def offenders(paths: list[Path], *forbidden: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in paths
        for name, line in imports(path)
        if any(name == module or name.startswith(f"{module}.") for module in forbidden)
    ]


def test_this_test_can_fail() -> None:
    path = ROOT / "nbsp_ray/orchestration/gated_search.py"
    assert offenders([path], "ray")
    assert offenders([ROOT / "nbsp_ray/learning/run.py"], "nbsp_ray.store", "torch")


def test_a_probe_looks_at_what_was_learnt_and_learning_knows_no_probe() -> None:
    below = sources("nbsp_ray/learning", "nbsp_ray/methods", "nbsp_ray/benchmarks", "nbsp_ray/store")
    assert offenders(below, "nbsp_ray.probe") == []
    assert (
        offenders(
            sources("nbsp_ray/probe"), "ray", "pandas", "analysis", "nbsp_ray.verbs.main", "nbsp_ray.verbs.listing"
        )
        == []
    )


def test_ray_is_imported_in_orchestration_only() -> None:
    files = [path for path in sources("nbsp_ray", "analysis") if "orchestration" not in path.parts]
    assert offenders(files, "ray") == []


def test_learning_knows_neither_who_launched_it_nor_how_it_is_shown() -> None:
    files = sources("nbsp_ray/learning", "nbsp_ray/methods", "nbsp_ray/benchmarks")
    above = [f"nbsp_ray.{name}" for name in (
        "orchestration", "cli", "status", "console", "local", "sweepfile", "explain", "pricing", "listing", "doctor",
    )]  # fmt: skip
    assert offenders(files, "ray", "analysis", "rich", "typer", *above) == []


def test_methods_know_the_hooks_and_sac_knows_no_method() -> None:
    core = [ROOT / f"nbsp_ray/learning/{name}.py" for name in ("sac", "networks", "replay", "agent", "seeding")]
    assert offenders(core, "nbsp_ray.methods", "nbsp_ray.store", "nbsp_ray.plan") == []
    assert offenders(sources("nbsp_ray/learning"), "nbsp_ray.methods") == []
    methods = sources("nbsp_ray/methods")
    assert offenders(methods, "nbsp_ray.store", "nbsp_ray.plan", "nbsp_ray.learning.run") == []


def test_the_store_and_the_plan_know_neither_torch_nor_ray() -> None:
    files = [ROOT / f"nbsp_ray/{name}.py" for name in ("specs", "errors", "layout", "units")]
    files += sources("nbsp_ray/store", "nbsp_ray/plan", "nbsp_ray/config")
    files = [path for path in files if path.name != "build.py"]  # It knows the hooks, as data.
    assert offenders(files, "torch", "ray", "nbsp_ray.learning", "pandas") == []


def test_analysis_knows_neither_torch_nor_ray() -> None:
    above = "nbsp_ray.learning", "nbsp_ray.orchestration", "nbsp_ray.probe.measure"
    assert offenders(sources("analysis"), "torch", "ray", *above) == []


def test_nothing_is_pickled_evaluated_or_drawn_from_a_global_generator() -> None:
    files = sources("nbsp_ray", "analysis")
    assert offenders(files, "pickle", "cloudpickle", "dill", "shelve", "random") == []
    seen = [
        f"{path.relative_to(ROOT)}:{node.lineno} calls {name}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (name := ast.unparse(node.func)) in (
            "eval", "exec", "np.random.seed", "np.random.rand", "np.random.randn", "torch.manual_seed", "torch.load",
            "torch.save",
        )
    ]  # fmt: skip
    assert seen == []


def test_learning_and_methods_print_nothing() -> None:
    for path in sources("nbsp_ray/learning", "nbsp_ray/methods", "nbsp_ray/benchmarks"):
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert "print" not in calls, path


LIGHT = {
    "config, plan, store, pricing, errors": (
        "import nbsp_ray.config.schema, nbsp_ray.plan.build, nbsp_ray.store, nbsp_ray.plan.price"
    ),
    "methods": "from nbsp_ray.methods import methods; methods()",
    "what a probe asks": "import nbsp_ray.probe.request",
    "benchmarks": "from nbsp_ray.benchmarks import benchmarks; [one.spaces() for one in benchmarks().values()]",
    "a plan": (
        "from nbsp_ray.config.schema import Sweep; from nbsp_ray.plan.build import make_plan;"
        "from nbsp_ray.methods import methods;"
        "make_plan('x', [Sweep(benchmark='toy', pairs=(('reach', 'avoid'),), methods=tuple(methods()))])"
    ),
}


def loaded_by(code: str) -> set[str]:
    """The heavy modules that some code loads, in a fresh process."""
    code += (
        f"\nimport sys; print('loaded', *({HEAVY!r}[n] for n in range({len(HEAVY)}) if {HEAVY!r}[n] in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    name, *found = run.stdout.split()
    assert name == "loaded"
    return set(found)


@pytest.mark.parametrize("what", LIGHT)
def test_light_things_load_nothing_heavy(what: str) -> None:
    assert loaded_by(LIGHT[what]) == set()


def test_analysis_loads_neither_torch_nor_ray() -> None:
    assert not loaded_by("import analysis") & {"torch", "ray", "metaworld", "mujoco"}


def test_learning_never_loads_ray() -> None:
    assert loaded_by("import nbsp_ray.learning.run, nbsp_ray.local, nbsp_ray.learning.timing") <= {"torch"}
