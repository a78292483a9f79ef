"""The files of a phase are found in its folder, and beside it by its key and the number of a commit."""

from pathlib import Path

from nbsp_ray.store import Store
from nbsp_ray.store.places import evaluation_file, files_of, sizes

KEY, OTHER = "a" * 20, "b" * 20


def test_the_files_of_a_phase_are_found_wherever_they_lie(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    commits = [f"evaluations/{KEY}.{number}/x.json" for number in (2, 10)]
    names = [f"phases/{KEY}/spec.json", f"phases/{KEY}/evaluations/x.json", f"results/{KEY}.2.json", *commits]
    for name in (*names, f"phases/{OTHER}/spec.json", f"results/{OTHER}.0.json"):
        store.files.write(name, b"12345")
    assert set(files_of(store.files, KEY)) == set(names)
    assert sizes(store.files) == {KEY: 5 * len(names), OTHER: 10}
    assert evaluation_file(store.files, KEY, "x") == f"evaluations/{KEY}.10/x.json"
    assert evaluation_file(store.files, KEY, "y") is None
    store.files.remove("evaluations")
    assert evaluation_file(store.files, KEY, "x") == f"phases/{KEY}/evaluations/x.json"
