"""The files of a phase are found in its folder, and beside it by its key and the number of a commit."""

from pathlib import Path

from nbsp_ray.store import Store
from nbsp_ray.store.places import evaluation_file, files_of, size_of

KEY, OTHER = "a" * 20, "b" * 20


def test_the_files_of_a_phase_are_found_wherever_they_lie(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    commits = [f"evaluations/{KEY}.{number}/x.json" for number in (2, 10)]
    names = [f"phases/{KEY}/spec.json", f"phases/{KEY}/evaluations/x.json", f"results/{KEY}.2.json", *commits]
    for name in (*names, f"phases/{OTHER}/spec.json", f"results/{OTHER}.0.json"):
        store.files.write(name, b"12345")
    assert {str(path.relative_to(tmp_path)) for path in files_of(tmp_path, KEY)} == set(names)
    assert size_of(tmp_path, KEY) == 5 * len(names)
    assert evaluation_file(tmp_path, KEY, "x") == tmp_path / f"evaluations/{KEY}.10/x.json"
    assert evaluation_file(tmp_path, KEY, "y") is None
    store.files.remove("evaluations")
    assert evaluation_file(tmp_path, KEY, "x") == tmp_path / f"phases/{KEY}/evaluations/x.json"
