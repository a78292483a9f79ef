"""What the tests of learning share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nbsp_ray.learning import compiling
from nbsp_ray.learning.machine import machine_name


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """As a phase has by default; where all cores are busy, two threads of one small product wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache; empty at first, so that code is compiled in each session of tests, but once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def code_folder(session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where compiled code is kept, and what could not be compiled: not where the user's is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(session_cache))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    return session_cache / "nbsp_ray"


@pytest.fixture
def compiled_code(code_folder: Path) -> None:
    """Code that is compiled without a phase is kept with that of phases; nothing to see where there is no compiler."""
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        pytest.skip(f"no C++ compiler {compiler} here")
    compiling._use(code_folder / machine_name(), threads=1)
