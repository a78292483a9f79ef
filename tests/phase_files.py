"""The files of a phase by what they are, whatever random names their attempts gave them."""

import re
from pathlib import Path

from nbsp_ray.store import PhaseFolder, Store
from nbsp_ray.store.commits import Commits
from nbsp_ray.store.encoding import to_json

RANDOM = re.compile(r"\.[0-9a-f]{8}(?=\.(npy|safetensors)$)")


def paths_of(store: Store, key: str) -> dict[str, Path]:
    """`result.json` (what makes the phase done), `agent.safetensors`, `evaluations/<id>.json`, `spec.json`, ..."""
    commits, phase = Commits(store.files, key), store.phase(key).path
    stem = commits.stem.rpartition("/")[2]
    found: dict[str, Path] = {}
    if commits.done():
        commit = commits.find()
        assert commit is not None
        found["result.json"] = store.root / "results" / f"{stem}.json"
        for name in commit.parts or ():
            found[name] = store.root / commit.at / name
        added = commits.buffer()
        if added is not None:
            found["replay.npy"] = store.root / added[0]
    for path in sorted((store.root / "evaluations" / stem).glob("*.json")):
        found[f"evaluations/{path.name}"] = path
    for path in sorted(phase.rglob("*")):
        name = str(path.relative_to(phase))
        if path.is_file() and not name.startswith("commits/"):
            found[RANDOM.sub("", name)] = path
    return found


def path_of(store: Store, folder: PhaseFolder, name: str) -> Path:
    """One of them."""
    return paths_of(store, folder.key)[name]


def bytes_of(store: Store, key: str) -> dict[str, bytes]:
    """What they have in them, but for random names; not `result.json`, which has them and times."""
    folder = store.phase(key)
    found = {name: path.read_bytes() for name, path in paths_of(store, key).items() if name != "result.json"}
    records = {
        name: name.removeprefix("evaluations/").removesuffix(".json") for name in found if name.endswith(".json")
    }
    evaluations = {name: record for name, record in records.items() if name.startswith("evaluations/")}
    return found | {name: to_json(folder.evaluation(record)) for name, record in evaluations.items()}
