"""What the tests of learning share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """As a phase has by default; where all cores are busy, two threads of one small product wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def code_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled code is kept; empty at first, so that it is compiled in each session of tests, but once."""
    return tmp_path_factory.mktemp("code")


@pytest.fixture
def compiled_code(code_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile into the session's folder, whatever the results root; nothing to see where there is no compiler."""
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        pytest.skip(f"no C++ compiler {compiler} here")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(code_folder))
