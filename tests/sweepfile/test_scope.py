from pathlib import Path

import pytest

from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.sweepfile.scope import Scope, scope_of


def scope(root: Path, *overrides: str) -> Scope:
    loaded, store = load_sweep("toy", overrides), Store(root)
    return scope_of(loaded, loaded.plan(store), store, root)


def test_what_does_not_change_the_trials_is_the_whole_sweep(tmp_path: Path) -> None:
    found = scope(tmp_path, "resources.cpus=2")
    assert (found.is_whole, found.folder, found.sentence()) == (True, "toy", "")
    assert found.command("run") == f"nbsp-ray run toy resources.cpus=2 --root {tmp_path}"
    assert scope(tmp_path).is_whole


def test_a_part_has_a_folder_of_its_own_and_says_so(tmp_path: Path) -> None:
    found, again = scope(tmp_path, "seeds=0", "methods=base,nbsp"), scope(tmp_path, "methods=base,nbsp", "seeds=0")
    assert found.folder == again.folder == "toy@methods=base,nbsp+seeds=0"
    whole = len(load_sweep("toy").plan(None).trials)
    assert found.sentence() == (
        f"This is a part of the sweep `toy`, 2 of its {whole} trials: `seeds=0 methods=base,nbsp`."
    )


@pytest.mark.parametrize("override", ["sac.gamma=0.5", "seeds=90"])
def test_other_settings_are_no_part(tmp_path: Path, override: str) -> None:
    found = scope(tmp_path, override)
    assert (found.whole, found.folder) == (None, f"toy@{override}")
    assert found.sentence() == f"This is `toy` with other settings than its file has: `{override}`."


def test_folders_have_names_that_every_disk_takes(tmp_path: Path) -> None:
    assert scope(tmp_path, "pairs=reach:avoid", "seeds=0").folder == "toy@pairs=reach-avoid+seeds=0"
    many = scope(tmp_path, f"seeds={','.join(map(str, range(60)))}").folder
    assert len(many) < 40
