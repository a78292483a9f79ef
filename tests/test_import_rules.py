"""Who may import whom: a reader of one folder need not know the others, and light commands stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch", "ray", "pandas", "metaworld", "dm_control", "mujoco", "matplotlib", "gymnasium", "ale_py", "cv2",
    "imageio", "PIL",
)  # fmt: skip


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


FLOORS = (
    "errors units stopping limits states",
    "folders config spaces namesake",
    "layout specs",
    "benchmarks store",
    "learning",
    "methods",
    "plan agents",
    "sweepfile status",
    "local films probe archives",
    "analysis terminal",
    "orchestration",
    "verbs",
)
"""Rooms: the files and folders of nbsp_ray, and analysis. A room imports from the floors below its own."""
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
EXCEPTIONS = {("config", "methods")}
"""Arrows that run back up: the section `method` of sweeps is made of the methods' own options, read when first used."""
DOORS = ("nbsp_ray/__init__.py", "nbsp_ray/__main__.py")
"""They stand outside of the house: what is behind them is loaded when it is asked for."""


def room_of(module: str) -> str:
    package, *below = module.split(".")
    return package if package == "analysis" or not below else below[0]


def arrows() -> dict[tuple[str, str], list[str]]:
    """All imports from one room of another, those within functions too, but for those that are there for types only."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sources("nbsp_ray", "analysis"):
        file = path.relative_to(ROOT)
        own = room_of(".".join(file.with_suffix("").parts))
        for name, line in imports(path, types=False):
            room = room_of(name)
            if name.startswith(("nbsp_ray.", "analysis")) and room != own and str(file) not in DOORS:
                found.setdefault((own, room), []).append(f"{file}:{line} imports {name}")
    return found


def imports(path: Path, *, types: bool = True) -> Iterator[tuple[str, int]]:
    """Every module that a file imports anywhere in it, with the line; `types`: also those for type checkers only."""
    tree = ast.parse(path.read_text())
    for node in () if types else [one for one in ast.walk(tree) if isinstance(one, ast.If)]:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
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


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in sources("nbsp_ray")}
    assert rooms - {"__init__", "__main__"} | {"analysis"} == set(FLOOR_OF)


def test_no_arrow_runs_back_up() -> None:
    """And so no rooms import each other in a circle."""
    up = {pair: found for pair, found in arrows().items() if FLOOR_OF[pair[1]] >= FLOOR_OF[pair[0]]}
    assert set(up) == EXCEPTIONS, up


def test_a_probe_looks_at_what_was_learnt_and_learning_knows_no_probe() -> None:
    below = sources("nbsp_ray/learning", "nbsp_ray/methods", "nbsp_ray/benchmarks", "nbsp_ray/store")
    assert offenders(below, "nbsp_ray.probe") == []
    assert offenders(sources("nbsp_ray/probe"), "ray", "pandas") == []


def test_ray_is_imported_in_orchestration_only() -> None:
    files = [path for path in sources("nbsp_ray", "analysis") if "orchestration" not in path.parts]
    assert offenders(files, "ray") == []


def test_learning_knows_neither_who_launched_it_nor_how_it_is_shown() -> None:
    files = sources("nbsp_ray/learning", "nbsp_ray/methods", "nbsp_ray/benchmarks")
    assert offenders(files, "ray", "rich", "typer") == []


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


def test_what_a_machine_has_is_asked_in_one_place() -> None:
    """A second place would forget the quota, the limit, the home there is not, or the brackets in a title."""
    homes = {"cpu_count": "limits", "sched_getaffinity": "limits", "virtual_memory": "limits", "home": "folders",
             "expanduser": "folders", "gettempdir": "folders", "Console": "output"}  # fmt: skip
    seen = [
        f"{path.relative_to(ROOT)}:{node.lineno} calls {name}"
        for path in sources("nbsp_ray", "analysis")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (name := getattr(node.func, "attr", getattr(node.func, "id", ""))) in homes
        and path.stem not in (homes[name], "doctor")
        and not (name == "home" and isinstance(node.func, ast.Name))
    ]
    assert seen == []


def test_learning_and_methods_print_nothing() -> None:
    for path in sources("nbsp_ray/learning", "nbsp_ray/methods", "nbsp_ray/benchmarks"):
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert "print" not in calls, path


LIGHT = {
    "the verbs": "import nbsp_ray.verbs.main",
    "the front door": "import nbsp_ray; nbsp_ray.load_sweep('toy').plan(None)",
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


if __name__ == "__main__":  # Draws the house: each room with the rooms that it imports from, floor by floor.
    for number, rooms in reversed(list(enumerate(FLOORS))):
        for room in rooms.split():
            below = sorted((other for one, other in arrows() if one == room), key=FLOOR_OF.__getitem__, reverse=True)
            sys.stdout.write(f"{number:>2}  {room:<14} {' '.join(below)}\n")
