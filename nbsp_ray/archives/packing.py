"""Packing what is finished of a sweep into an archive."""

import hashlib
import io
import lzma
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbsp_ray.archives import FORMAT, IN_MEMORY, MANIFEST
from nbsp_ray.errors import NbspError
from nbsp_ray.specs import Plan
from nbsp_ray.store import REPORTED, Store
from nbsp_ray.store.encoding import JsonObject, to_json


@dataclass(frozen=True)
class Packed:
    """What an archive was made of."""

    phases: tuple[str, ...]
    left_out: int
    """Phases of the plan that are not finished."""
    size: int
    """Bytes of the file."""


def pack(
    plan: Plan,
    store: Store,
    to: Path,
    *,
    overrides: Sequence[str] = (),
    searches: Iterable[str] = (),
    agents: bool = False,
) -> Packed:
    """Write all that is finished of a plan to the file `to`.

    Args:
        plan: As it is run in `store`.
        store: Where the results are.
        to: Replaced if it is there.
        overrides: With which the sweep was planned, for whoever imports it.
        searches: Ids of the plan's searches.
        agents: The final networks and optimizers too: some megabytes a phase.

    Raises:
        NbspError: nothing is finished.
        StoreError: a finished phase is damaged.
    """
    store = store.snapshot(plan.phases, evaluations=None, parts=REPORTED)
    keys = sorted(_finished(plan, store))
    if not keys:
        raise NbspError(f"{store.address} has no finished phase of {plan.name}: `nbsp-ray run {plan.name}` makes some")
    listed: dict[str, JsonObject] = {}
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as body:
        with tarfile.open(fileobj=body, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in _contents(store, keys, searches, agents=agents):
                tar.addfile(_member(name, len(data)), io.BytesIO(data))
                listed[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        head = {"format": FORMAT, "sweep": plan.name, "title": plan.title, "overrides": list(overrides)}
        manifest = to_json(head | {"agents": agents, "phases": keys, "files": listed})
        body.seek(0)
        _compress(to, [_block(MANIFEST, manifest), *iter(lambda: body.read(2**20), b"")])
    return Packed(tuple(keys), len(plan.phases) - len(keys), to.stat().st_size)


def _finished(plan: Plan, store: Store) -> set[str]:
    """Phases with all that the plan wants of them but buffers, if all that they rest on are finished too."""
    found: set[str] = set()
    for key, phase in plan.phases.items():  # each after those it needs
        folder = store.phase(key)
        whole = folder.imported() or all(folder.has_evaluation(record) for record in phase.evaluations)
        if folder.done() and whole and found.issuperset(phase.spec.needs):
            found.add(key)
    return found


def _contents(
    store: Store, keys: Iterable[str], searches: Iterable[str], *, agents: bool
) -> Iterator[tuple[str, bytes]]:
    for key in keys:
        for name, data in store.portable(key).read(agents=agents).items():
            yield f"phases/{key}/{name}", data
    for search in sorted(searches):
        found = store.read_search(search)
        if found is not None:
            yield f"searches/{search}.json", to_json(found)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A file of no time and nobody."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _block(name: str, data: bytes) -> bytes:
    header = _member(name, len(data)).tobuf(tarfile.USTAR_FORMAT)
    return header + data + b"\0" * (-len(data) % tarfile.BLOCKSIZE)


def _compress(to: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole, compressed, then name it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{to.name}.{uuid.uuid4().hex[:8]}")
    try:
        with lzma.open(temporary, "wb", preset=6) as file:
            file.writelines(pieces)
        temporary.replace(to)
    finally:
        temporary.unlink(missing_ok=True)
