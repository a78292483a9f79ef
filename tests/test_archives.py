"""Archives of results: nothing is lost, nothing damaged gets in, and what is imported stays as it is."""

import hashlib
import io
import json
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phase_files import path_of
from safetensors.numpy import load
from toy_phases import run_whole, toy_plan
from typer.testing import CliRunner

import analysis
from nbsp_ray.archives import FORMAT
from nbsp_ray.archives.importing import Imported, import_archive
from nbsp_ray.archives.packing import pack
from nbsp_ray.archives.reading import open_archive
from nbsp_ray.errors import ArchiveError, DamagedPhaseError, NbspError
from nbsp_ray.local import run_trial
from nbsp_ray.plan.replicates import on_replicates
from nbsp_ray.specs import Plan, key_of
from nbsp_ray.status import is_complete, sweep_status
from nbsp_ray.store import Store
from nbsp_ray.store.encoding import sealed, unsealed
from nbsp_ray.store.portable import PORTABLE
from nbsp_ray.verbs.main import app

METHODS = ("base", "nbsp")
Files = dict[str, bytes]


@dataclass(frozen=True)
class Trained:
    store: Store
    plan: Plan
    archive: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A sweep of two trials that was really trained, with a probe beside its first phase, and its archive."""
    folder = tmp_path_factory.mktemp("trained")
    store, plan = Store(folder / "results", create=True), toy_plan(methods=METHODS)
    for phase in plan.phases.values():
        run_whole(store, phase)
    store.phase(plan.trials[0].phases[0]).write_probe("actor.0.abc", {"success": [1, 0]})
    archive = folder / "toy.results.tar.xz"
    pack(plan, store, archive, overrides=["seeds=0"])
    return Trained(store, plan, archive)


def unpack(archive: Path) -> Files:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def repack(files: Files, to: Path, *, links: dict[str, str] | None = None, honest: bool = True) -> Path:
    """An archive of `files`, its manifest telling the truth about them; with links to elsewhere if wanted."""
    manifest = json.loads(files["manifest.json"])
    if honest:
        manifest["files"] = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
            if name != "manifest.json"
        }
    with lzma.open(to, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (files | {"manifest.json": json.dumps(manifest).encode()}).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return to


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def imported(archive: Path, root: Path) -> tuple[Store, Imported]:
    store = Store(root, create=True)
    return store, again(archive, store)


def again(archive: Path, store: Store) -> Imported:
    with open_archive(archive) as checked:
        return import_archive(checked, store)


# What travels


def test_all_that_was_found_out_is_there_again(trained: Trained, tmp_path: Path) -> None:
    store, done = imported(trained.archive, tmp_path / "results")
    assert sorted(done.placed) == sorted(trained.plan.phases)
    assert done.whole
    for key in trained.plan.phases:
        before, after = trained.store.phase(key), store.phase(key)
        assert after.result() == before.result()
        assert after.spec() == before.spec()
        assert after.curve() == before.curve()
        assert after.evaluations() == before.evaluations()
        assert all(after.evaluation(record) == before.evaluation(record) for record in before.evaluations())
        assert {name: array.tolist() for name, array in after.prepared().items()} == {
            name: array.tolist() for name, array in before.prepared().items()
        }
        assert after.agent() is None
        assert not after.has_replay()
        assert after.imported()
    first = trained.plan.trials[0].phases[0]
    assert store.phase(first).probe("actor.0.abc") == {"success": [1, 0]}
    assert store.read_sweep("toy") == {"title": "", "overrides": ["seeds=0"]}
    for frame in ("finals", "curves"):
        here, there = (getattr(analysis.load(one.root, trained.plan), frame) for one in (store, trained.store))
        assert here.equals(there)


def test_the_archive_names_neither_the_machine_nor_its_folders(trained: Trained) -> None:
    files = unpack(trained.archive)
    manifests = [json.loads(data) for name, data in files.items() if name.endswith("/manifest.json")]
    assert len(manifests) == 3
    for manifest in manifests:
        assert not {"host", "command"} & manifest.keys()
        assert {"device", "versions", "processor", "threads"} <= manifest.keys()
    everything = b"".join(files.values())
    assert str(trained.store.root).encode() not in everything
    assert b"replay.npy" not in everything


def test_the_same_results_give_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    store, _ = imported(trained.archive, tmp_path / "results")
    for root in (store, trained.store):
        pack(trained.plan, root, tmp_path / "again.tar.xz", overrides=["seeds=0"])
        assert (tmp_path / "again.tar.xz").read_bytes() == trained.archive.read_bytes()


def test_agents_travel_if_asked_for(trained: Trained, tmp_path: Path) -> None:
    pack(trained.plan, trained.store, tmp_path / "x.tar.xz", agents=True)
    store, _ = imported(tmp_path / "x.tar.xz", tmp_path / "results")
    for key in trained.plan.phases:
        before, after = trained.store.phase(key).agent(), store.phase(key).agent()
        assert before is not None
        assert after is not None
        assert all(np.array_equal(before[name], after[name]) for name in before)


def test_what_a_method_made_travels_if_it_is_no_larger_than_a_selection(tmp_path: Path, trained: Trained) -> None:
    store, key = Store(tmp_path / "results", create=True), trained.plan.trials[0].phases[0]
    store.phase(key).write_spec(trained.store.phase(key).spec() or {})
    small, large = np.zeros(512, dtype=np.bool_), np.zeros(2**16, dtype=np.float32)
    made = {"mask.frozen": small, "ewc.fisher": large}
    store.phase(key).commit(
        result={}, manifest={}, curve=[], agent={"a": small}, prepared=made, replay=None, sample=None
    )
    assert set(load(store.portable(key).read()["prepared.safetensors"])) == {"mask.frozen"}
    assert set(load(store.portable(key).read(agents=True)["prepared.safetensors"])) == {"mask.frozen", "ewc.fisher"}


def test_what_is_not_finished_stays_at_home_and_so_does_what_rests_on_it(trained: Trained, tmp_path: Path) -> None:
    store, _ = imported(trained.archive, tmp_path / "results")
    first, second = trained.plan.trials[0].phases
    path_of(store, store.phase(second), "result.json").unlink()
    assert pack(trained.plan, store, tmp_path / "x.tar.xz").left_out == 1
    with open_archive(tmp_path / "x.tar.xz") as archive:
        assert second not in archive.phases
    path_of(store, store.phase(first), "result.json").unlink()
    with pytest.raises(NbspError, match="no finished phase of toy: `nbsp-ray run toy`"):
        pack(trained.plan, store, tmp_path / "x.tar.xz")


def test_a_damaged_phase_is_not_packed(trained: Trained, tmp_path: Path) -> None:
    store, _ = imported(trained.archive, tmp_path / "results")
    path_of(store, store.phase(trained.plan.trials[0].phases[0]), "curve.jsonl").unlink()
    with pytest.raises(DamagedPhaseError, match=r"curve.jsonl of the finished phase \w+ is damaged \(it is missing\)"):
        pack(trained.plan, store, tmp_path / "x.tar.xz")
    assert not (tmp_path / "x.tar.xz").exists()


# What does not get in


def refused(archive: Path) -> str:
    with pytest.raises(ArchiveError) as error, open_archive(archive):
        pass
    text = str(error.value)
    assert str(archive) in text
    assert "\n" not in text
    return text


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_one_changed_bit_anywhere_is_seen(trained: Trained, data: st.DataObject) -> None:
    whole = bytearray(trained.archive.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    damaged = trained.archive.with_name("changed")
    damaged.write_bytes(whole)
    assert "damaged" in (text := refused(damaged)) or "not an archive of results" in text


def test_an_archive_that_is_cut_off_or_goes_on_is_refused(trained: Trained, tmp_path: Path) -> None:
    whole, damaged = trained.archive.read_bytes(), tmp_path / "x"
    for length in [*range(0, len(whole), 97), len(whole) - 1, len(whole) - 12]:
        damaged.write_bytes(whole[:length])
        assert "is cut off" in refused(damaged)
    for more in (b"\0", b"\0" * 4, whole):
        damaged.write_bytes(whole + more)
        assert "something follows its end" in refused(damaged)
    damaged.write_bytes(b"PK\3\4 this is no archive of ours")
    assert "is not an archive of results" in refused(damaged)
    assert "cannot be read: No such file" in refused(tmp_path / "nowhere")


def manifest_of(files: Files, **changes: Any) -> Files:
    return files | {"manifest.json": json.dumps(json.loads(files["manifest.json"]) | changes).encode()}


def some(files: Files, end: str) -> str:
    return next(name for name in files if name.endswith(end))


def a_spec_of_another_phase(files: Files) -> Files:
    name = some(files, "spec.json")
    return files | {name: json.dumps(json.loads(files[name]) | {"seed": 7}).encode()}


def a_spec_that_is_none(files: Files) -> Files:
    return files | {some(files, "spec.json"): b'{"rollouts": "rollouts.env_steps, env_steps"}'}


def without_the_first_phase(files: Files) -> Files:
    first = next(n for n, d in files.items() if n.endswith("spec.json") and not json.loads(d)["previous"]).split("/")[1]
    keys = [key for key in json.loads(files["manifest.json"])["phases"] if key != first]
    return manifest_of({name: data for name, data in files.items() if first not in name}, phases=keys)


WRONG: dict[str, tuple[Callable[[Files], Files], str]] = {
    "another format": (lambda files: manifest_of(files, format=FORMAT + 1), "in archive format 2, this nbsp_ray reads"),
    "no format": (lambda files: {"manifest.json": b"{}"} | files | {"manifest.json": b"{}"}, "in archive format None"),
    "a manifest without phases": (lambda files: manifest_of(files, phases=None), "has no phases"),
    "more phases than there are": (lambda files: manifest_of(files, phases=["a" * 20]), "not those it holds"),
    "no manifest": (lambda files: dict(reversed(list(files.items()))), "does not begin with manifest.json"),
    "a path upwards": (lambda files: files | {"phases/../../evil.json": b"{}"}, "leads out of the results root"),
    "an absolute path": (lambda files: files | {"/tmp/evil.json": b"{}"}, "leads out of the results root"),
    "a path of another system": (lambda files: files | {"phases\\..\\evil": b"{}"}, "leads out of the results root"),
    "a file of another kind": (lambda files: files | {"store.json": b"{}"}, "no file of a results root"),
    "a file to be unpickled": (
        lambda files: files | {some(files, "spec.json").replace("spec.json", "agent.pkl"): b""},
        "no file of a results root",
    ),
    "a buffer": (
        lambda files: files | {some(files, "spec.json").replace("spec.json", "replay.npy"): b""},
        "no file of a results root",
    ),
    "a folder that is no key": (lambda files: files | {"phases/x/spec.json": b"{}"}, "no file of a results root"),
    "the spec of another phase": (a_spec_of_another_phase, "with the spec.json of "),
    "no spec at all": (a_spec_that_is_none, "with the spec.json of no phase at all"),
    "a result that is no JSON": (lambda files: files | {some(files, "result.json"): b"["}, "result.json is no JSON"),
    "a phase without its result": (
        lambda files: {name: data for name, data in files.items() if name != some(files, "result.json")},
        "lacks result.json of phase",
    ),
    "phases without what they rest on": (without_the_first_phase, "which it rests on"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_belong_in_an_archive_is_refused(what: str, trained: Trained, tmp_path: Path) -> None:
    change, message = WRONG[what]
    archive = repack(change(unpack(trained.archive)), tmp_path / "x.tar.xz")
    assert message in refused(archive)
    root = tmp_path / "results"
    run = CliRunner().invoke(app, ["import", str(archive), "--root", str(root)])
    assert isinstance(run.exception, ArchiveError)
    assert not root.exists()


def test_a_file_that_is_not_what_the_manifest_says_is_refused(trained: Trained, tmp_path: Path) -> None:
    files = unpack(trained.archive)
    name = some(files, "curve.jsonl")
    for changed in (files | {name: files[name][:-1]}, files | {name: files[name][:-2] + b" \n"}):
        assert f"{name} is not what its manifest.json says" in refused(repack(changed, tmp_path / "x", honest=False))
    more = (
        files | {name.replace("curve.jsonl", "prepared.safetensors"): b"x"} | {"searches/" + "a" * 20 + ".json": b"{}"}
    )
    assert "which its manifest.json does not name" in refused(repack(more, tmp_path / "x", honest=False))
    less = {one: data for one, data in files.items() if one != name}
    assert f"lacks {name}, which its manifest.json names" in refused(repack(less, tmp_path / "x", honest=False))


def test_links_are_refused(trained: Trained, tmp_path: Path) -> None:
    files = unpack(trained.archive)
    archive = repack(files, tmp_path / "x", links={some(files, "spec.json").replace("spec", "probes/x"): "/etc/passwd"})
    assert "which is a link or no plain file" in refused(archive)


PARTS = ("..", ".", "/", "\\", "\0", "a", "evaluations/", "probes/", ".json", "spec.json", "agent.safetensors")


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join))
def test_no_name_that_may_travel_leads_anywhere_else(name: str) -> None:
    if PORTABLE.fullmatch(name):
        parts = Path(name).parts
        assert 1 <= len(parts) <= 2
        assert ".." not in parts
        assert not Path(name).is_absolute()


@pytest.mark.parametrize(
    "name", ["evaluations/../spec.json", "evaluations/.json", "probes/a/b.json", "x.json", "agent.pt"]
)
def test_names_that_may_not_travel(name: str) -> None:
    assert not PORTABLE.fullmatch(name)


def test_the_key_of_an_older_spec_is_still_its_key() -> None:
    phase = next(iter(toy_plan().phases.values()))
    stored = phase.spec.model_dump(mode="json")
    assert key_of(stored) == phase.key
    older = {name: value for name, value in stored.items() if name != "replicate"}
    assert key_of(older) == phase.key
    assert key_of(stored | {"replicate": 1}) == phase.spec.model_copy(update={"replicate": 1}).key() != phase.key


# What is there already


def test_what_is_there_already_is_kept(trained: Trained, tmp_path: Path) -> None:
    first, base = trained.plan.trials[0].phases
    store, _ = imported(trained.archive, tmp_path / "results")
    before = bytes_of(store.root)
    more = again(trained.archive, store)
    assert (sorted(more.agreed), more.placed, more.records) == (sorted(trained.plan.phases), [], 0)
    assert bytes_of(store.root) == before

    (store.phase(first).path / "probes/actor.0.abc.json").unlink()
    assert again(trained.archive, store).records == 1
    assert bytes_of(store.root) == before

    path = path_of(store, store.phase(base), "result.json")
    found = unsealed(path.read_bytes())
    path.write_bytes(sealed(found | {"result": found["result"] | {"digest": "another"}}))
    before = bytes_of(store.root)
    conflict = again(trained.archive, store)
    assert (conflict.differing, conflict.whole) == ([base], False)
    assert f"1 are there with another result, which is kept: {base}" in list(conflict.sentences(store.root))
    assert bytes_of(store.root) == before


def test_a_phase_never_comes_to_rest_on_another_of_the_same_key(trained: Trained, tmp_path: Path) -> None:
    first = trained.plan.trials[0].phases[0]
    seconds = sorted(set(trained.plan.phases) - {first})
    store = Store(tmp_path / "results", create=True)
    store.phase(first).write_spec({"begun": "here"})
    done = again(trained.archive, store)
    assert (done.begun, sorted(done.resting), done.placed) == ([first], seconds, [])
    assert store.phases() == [first]
    assert "remove their folders to import them" in "\n".join(done.sentences(store.root))


KILLED = """
import os, sys
from pathlib import Path
from nbsp_ray.archives.importing import import_archive
from nbsp_ray.archives.reading import open_archive
from nbsp_ray.store import Files, Store
left, write, create = int(sys.argv[3]), Files._write, Files._create
def or_die(act):
    def act_or_die(*args, **how):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return act(*args, **how)
    return act_or_die
store = Store(sys.argv[2], create=True)
Files._write, Files._create = or_die(Files._write), or_die(Files._create)
with open_archive(Path(sys.argv[1])) as archive:
    import_archive(archive, store)
"""


@pytest.mark.parametrize("writes", [0, 5, 13])
def test_an_import_that_is_killed_leaves_whole_phases_or_none(writes: int, trained: Trained, tmp_path: Path) -> None:
    root = tmp_path / "results"
    run = subprocess.run([sys.executable, "-c", KILLED, str(trained.archive), str(root), str(writes)], check=False)
    assert run.returncode == 9
    store = Store(root)
    whole = [key for key in trained.plan.phases if store.phase(key).done()]
    assert len(whole) < 3
    for key in whole:
        assert store.portable(key).read() == trained.store.portable(key).read()
    assert len(sweep_status(trained.plan, store).done) == len(whole)
    more = again(trained.archive, store)
    assert sorted([*more.placed, *more.agreed]) == sorted(trained.plan.phases)
    assert sorted(more.agreed) == sorted(whole)


# Going on from there


def test_one_more_method_retrains_the_first_phase_once_and_touches_nothing(trained: Trained, tmp_path: Path) -> None:
    store, _ = imported(trained.archive, tmp_path / "results")
    before = bytes_of(store.root / "phases")
    more = toy_plan(methods=(*METHODS, "replay_only", "mask_only"))
    plan = on_replicates(more, store)
    first, (replicate,) = more.trials[0].phases[0], [k for k, one in plan.phases.items() if one.spec.replicate == 1]
    assert [len(status) for status in sweep_status(plan, store).by_place().values()] == [2, 4]
    assert sorted(sweep_status(plan, store).done) == sorted(trained.plan.phases)
    assert [trial.phases[0] for trial in plan.trials] == [first, first, replicate, replicate]
    assert [one.label for one in plan.phases.values() if one.spec.replicate] == [
        "reach, first phase, seed 0, replicate 1"
    ]
    assert list(plan.phases).index(replicate) < list(plan.phases).index(plan.trials[2].phases[1])

    for trial in plan.trials:
        assert run_trial(plan, trial, store, lambda label, progress: None, seconds=600)
    assert not sweep_status(on_replicates(more, store), store).left
    assert on_replicates(more, store).trials == plan.trials
    after = bytes_of(store.root / "phases")
    assert {name: data for name, data in after.items() if name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {
        replicate, *(trial.phases[1] for trial in plan.trials[2:])
    }  # fmt: skip
    # On the machine that trained it a phase comes out the same to the last bit.
    assert store.phase(replicate).result()["digest"] == store.phase(first).result()["digest"]  # type: ignore[index]

    finals = analysis.load(store.root, plan).finals.set_index("method")
    assert finals["status"].tolist() == ["done"] * 4
    assert finals["variant"].to_dict() == dict.fromkeys(METHODS, "") | dict.fromkeys(
        ["replay_only", "mask_only"], "replicate=1"
    )
    assert finals["comparable"]["base"] == finals["comparable"]["nbsp"] != finals["comparable"]["replay_only"]
    phases = analysis.load(store.root, plan).phases.set_index("key")
    assert phases["imported"].sum() == 3
    assert phases["replicate"][replicate] == 1


def test_who_imports_a_replicate_too_finds_what_rests_on_it(trained: Trained, tmp_path: Path) -> None:
    here, _ = imported(trained.archive, tmp_path / "here")
    more = toy_plan(methods=(*METHODS, "low_lr"))
    plan = on_replicates(more, here)
    assert run_trial(plan, plan.trials[2], here, lambda label, progress: None, seconds=600)
    pack(plan, here, tmp_path / "more.tar.xz")
    there, done = imported(tmp_path / "more.tar.xz", tmp_path / "there")
    assert len(done.placed) == 5
    assert on_replicates(more, there).trials == plan.trials
    assert not sweep_status(on_replicates(more, there), there).left

    # The replicate is a result there as well: what is new needs one more.
    another = on_replicates(toy_plan(methods=(*METHODS, "low_lr", "mask_only")), there)
    assert [one.spec.replicate for one in another.phases.values() if one.spec.index == 0] == [None, 1, 2]
    assert another.trials[:3] == plan.trials


def test_a_replicate_brings_what_it_rests_on_itself(trained: Trained, tmp_path: Path) -> None:
    """ANCL reads the base trial, whose agent is elsewhere, as is that of the first phase that both start from."""
    store, _ = imported(trained.archive, tmp_path / "results")
    plan = on_replicates(toy_plan(methods=(*METHODS, "ancl")), store)
    ancl = plan.phases[plan.trials[2].phases[1]]
    first, base = (plan.phases[key] for key in ancl.spec.needs)
    assert (first.spec.replicate, base.spec.replicate, base.spec.previous) == (1, 1, first.key)
    assert len(plan.phases) == 3 + 3
    order = list(plan.phases)
    assert order.index(first.key) < order.index(base.key) < order.index(ancl.key)
    assert all(need in plan.phases for one in plan.phases.values() for need in one.spec.needs)


def test_without_imports_a_plan_stays_as_it_is(trained: Trained) -> None:
    assert on_replicates(trained.plan, trained.store) is trained.plan


def test_an_imported_phase_is_complete_whatever_else_a_plan_wants_of_it(trained: Trained, tmp_path: Path) -> None:
    store, _ = imported(trained.archive, tmp_path / "results")
    longer = toy_plan(methods=("base",), evaluation={"episodes": 6})
    assert all(is_complete(phase, store) for phase in longer.phases.values())
    assert on_replicates(longer, store).trials == longer.trials
    assert set(analysis.load(store.root, longer).finals["status"]) == {"begun"}


def test_the_verbs(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "small.yaml"
    sweep.write_text(
        "benchmark: toy\npairs: [reach:avoid]\nmethods: [base, nbsp]\nseeds: 0\n"
        "sac: {hidden: [12, 10], batch_size: 16, learning_starts: 50, "
        "updates_per_env_step: 0.5, actor_lr: 3e-3, gamma: 0.9}\n"
        "first: {env_steps: 200, eval_every: 75, eval_episodes: 2, stop: fixed}\n"
        "second: {env_steps: 125, eval_every: 75, eval_episodes: 2, stop: fixed}\nevaluation: {episodes: 5}\n"
    )
    runner = CliRunner()
    root = ["--root", str(trained.store.root)]
    run = runner.invoke(app, ["export", "results", str(sweep), *root])
    assert run.exit_code == 0, run.output
    assert "3 phases in 0.0" in run.output
    for times in ("3 phases imported into there", "3 were there already, and agree"):
        run = runner.invoke(app, ["import", "small.results.tar.xz", "--root", "there"])
        assert run.exit_code == 0, run.output
        assert times in run.output
    run = runner.invoke(app, ["status", str(sweep), "--root", "there"])
    assert run.exit_code == 0, run.output
    assert "3 of 3 phases done" in run.output
    run = runner.invoke(app, ["plan", str(sweep), "methods=base,low_lr", "--root", "there"])
    assert "1 of these train an imported phase once more" in " ".join(run.output.split())
