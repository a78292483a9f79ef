"""Our package `analysis`, whatever else has its name: a folder beside a user's sweeps, a project on PYTHONPATH."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from nbsp_ray.errors import NbspError

NAME = "analysis"
OURS = Path(__file__).resolve().parents[1] / NAME
"""Beside nbsp_ray, in a checkout as where it is installed."""


class _Beside(MetaPathFinder):
    """Finds the package beside this one before any other of its name."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        file = OURS / "__init__.py"
        if name != NAME or not file.is_file():
            return None
        return spec_from_file_location(name, file, submodule_search_locations=[str(OURS)])


def take_name() -> None:
    """From here on in this process `import analysis` gives ours.

    Raises:
        NbspError: another has been imported already.
    """
    loaded = sys.modules.get(NAME)
    if loaded is not None and Path(loaded.__file__ or "").resolve().parent != OURS:
        where = loaded.__file__ or next(iter(getattr(loaded, "__path__", ())), "somewhere")
        raise NbspError(
            f"a package `{NAME}` of {where} is in use in this process, and nbsp_ray has one of that name ({OURS}): "
            "load results in another process, or before the other is imported"
        )
    if not any(isinstance(finder, _Beside) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Beside())
