"""Its being here puts this folder on the path, so that tests can import `toy_phases`."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

# Before torch and NumPy are imported: the suite runs in a process per core, and two that each start a thread per core
# wait for each other in every small product.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A container may ask that no compiled code is kept: each of the hundreds of processes that tests start would then
# compile the whole house anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Ray's workers are at 15 otherwise: they would wait for the other process's tests, and the longest group for them.
os.environ.setdefault("RAY_worker_niceness", "0")

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    "ray": ("test_launch.py", "test_packs.py", "test_choose_count.py", "test_contract.py"),
    "compiled": ("test_compiling.py", "test_execution.py"),
    "pixels": ("test_golden.py", "test_pixels.py"),
}
"""Files that one worker must run: two Rays of two CPUs would starve each other, compiled code is kept per worker, and
two files look at the same trials.

They are the longest groups, and begun first, so that no worker is left alone with one of them at the end.
"""


class Scheduling(LoadScopeScheduling):
    """A worker takes a whole file, or group of files: a file's tests share what its fixtures learn.

    (`--dist=loadgroup` is the same with marks, but xdist 3.8 passes them on through what pytest 9.2 no longer reads.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return next((group for group, files in TOGETHER.items() if file.endswith(files)), file)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two more than there are CPUs: what starts Ray, a compiler, a browser or processes waits for most of its time."""
    return len(os.sched_getaffinity(0)) + 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported and collected lives to the end: to look through it for garbage takes 2 % of the time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = [name for files in TOGETHER.values() for name in files]
    for item in items:
        if item.get_closest_marker("ray") is not None and item.path.name not in TOGETHER["ray"]:
            raise pytest.UsageError(f'{item.nodeid} starts Ray: name its file in TOGETHER["ray"] of {__file__}')
    items.sort(key=lambda item: order.index(item.path.name) if item.path.name in order else len(order))


@pytest.fixture(autouse=True, scope="session")
def disk() -> Iterator[None]:
    """Nobody waits for the disk: no test cuts the power, and thousands of trials of a second each are written.

    `test_store` looks at what is forced to the disk, and when; processes that tests start do wait.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """A phase lets this thread take denormal numbers for 0; other tests draw them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="module")
def pixel_toy() -> Iterator[None]:
    """Tiny games are a benchmark as long as a module's tests run."""
    from pixel_toy import BENCHMARK

    from nbsp_ray.benchmarks import benchmarks, register_benchmark

    register_benchmark(BENCHMARK)
    yield
    del benchmarks()[BENCHMARK.name]


@pytest.fixture(scope="session")
def short_trials(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store of the short trials whose digests are golden, each learnt when a test first asks for it."""
    from nbsp_ray.store import Store

    return Store(tmp_path_factory.mktemp("short"), create=True)


@pytest.fixture(scope="module")
def axes_toys() -> Iterator[None]:
    """Other meetings of observation, action and judgement are benchmarks as long as a module's tests run."""
    from axes_toys import BENCHMARKS

    from nbsp_ray.benchmarks import benchmarks, register_benchmark

    for one in BENCHMARKS:
        register_benchmark(one)
    yield
    for one in BENCHMARKS:
        del benchmarks()[one.name]


@pytest.fixture
def command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: exit code, standard output, standard error."""
    from nbsp_ray.verbs import main as cli

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nbsp-ray", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run
