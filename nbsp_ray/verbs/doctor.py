"""`nbsp-ray doctor`: what of this machine matters to a sweep: looked at, judged, and what to do about it."""

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from nbsp_ray.benchmarks import benchmarks, version_of
from nbsp_ray.errors import NbspError
from nbsp_ray.folders import (
    code_folder,
    existing,
    home,
    is_address,
    remembered_failures,
    remove_stale,
    temporary_parent,
    unfit,
)
from nbsp_ray.limits import memory, processor, usable_cpus
from nbsp_ray.orchestration.preflight import check_loopback
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.terminal.output import plain_console, print_prose
from nbsp_ray.verbs._common import FAILED, AsJson, Root, print_json

if TYPE_CHECKING:
    from nbsp_ray.orchestration.nodes import Node


def command(
    root: Root = DEFAULT_ROOT,
    address: Annotated[
        str | None,
        typer.Option(help="A running Ray cluster (`auto`, or host:port), to be looked at in place of this machine."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at what of this machine or of a cluster matters, and say what to do about it."""
    checks = examine(root) if address is None else list(examine_cluster(address, root))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_checks(checks)
    if any(check.state == "bad" for check in checks):
        raise typer.Exit(FAILED)


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    state: Literal["ok", "note", "bad"]
    found: str
    advice: str = ""


def examine(root: str) -> list[Check]:
    """All checks; one that breaks is itself a finding."""
    checks: list[Callable[[], Iterator[Check]]] = [
        _versions,
        _cpu,
        _precision,
        _compiler,
        _gpu,
        _simulators,
        _films,
        *(
            [lambda: _objects(root)]
            if is_address(root)
            else [lambda: _disk(Path(root)), lambda: _atomic_files(Path(root))]
        ),
        _ray,
    ]
    found: list[Check] = []
    for check in checks:
        try:
            found.extend(check())
        except Exception as error:  # whatever is wrong with the machine must not hide the other findings
            found.append(Check("check", "bad", f"{type(error).__name__}: {error}", "report this with the text above"))
    return found


def examine_cluster(address: str, root: str) -> Iterator[Check]:
    """A cluster as `run` would find it: whether it lets us in, and what each machine has, sees and may write."""
    from nbsp_ray.orchestration.cluster import connected_ray, home_for_ray, quiet_ray
    from nbsp_ray.orchestration.machines import ANSWER_SECONDS, Machines, machines
    from nbsp_ray.stopping import StopRequest

    said: list[str] = []
    try:
        store = Store(root, create=True)
        yield Check("results root", "ok", f"{store.address}: written from here")
        with StopRequest(said.append) as stop, quiet_ray(), home_for_ray(), connected_ray(address, None, stop):
            mode = os.environ.get("RAY_AUTH_MODE", "not set")
            advice = "" if mode == "token" else "whoever reaches its ports runs code there: use RAY_AUTH_MODE=token"
            words = f"{address}, Ray {metadata.version('ray')}, RAY_AUTH_MODE {mode}"
            yield Check("cluster", "note" if advice else "ok", words, advice)
            found = Machines(store, said.append, with_gpus=True)
            found.look(seconds=ANSWER_SECONDS)
            for node in found.usable():
                yield Check(node.name, "ok", f"{_offer(node)}; runs the same code, and writes the results root")
            for node, why in found.refused():
                yield Check(node.name, "bad", "gets no phases", f"it {why}")
            for node in found.unheard():
                yield Check(node.name, "bad", f"no answer for {ANSWER_SECONDS:.0f} s", "see that its raylet is well")
            for node in machines():
                if not node.cpus:
                    yield Check(node.name, "ok", "offers no CPUs, and gets no phases")
            if not found.usable():
                yield Check("machines", "bad", "none can be used", "join some: `ray start --address ...`")
    except NbspError as error:
        yield Check("cluster", "bad", f"{address} cannot be used", str(error))


def _offer(node: "Node") -> str:
    labels = [f"{name}={value}" for name, value in node.labels or () if not name.startswith("ray.io/")]
    has = f"{node.cpus:g} CPUs, {node.gpus:g} GPUs that torch sees, {node.memory_gb:.3g} GiB memory"
    return ", ".join([has, *labels])


def _versions() -> Iterator[Check]:
    from nbsp_ray.learning.manifest import versions

    python = f"Python {platform.python_version()}"
    yield Check("versions", "ok", ", ".join([python, *(f"{name} {version}" for name, version in versions().items())]))


def _cpu() -> Iterator[Check]:
    import psutil

    usable, found = usable_cpus(), memory()
    total, free = (found.limit or psutil.virtual_memory().total) / 2**30, found.available / 2**30
    of = "" if found.limit is None else " for this job"
    text = f"{usable} of {os.cpu_count()} usable, {total:.3g} GiB memory{of}, {free:.3g} free"
    yield Check("CPU", "ok", text + f"; {processor()}")
    need = 1.2 * usable
    if free < need:
        yield Check(
            "memory", "note", f"{free:.1f} GiB free for {usable} trials side by side",
            "a Meta-World trial can hold 1.2 GiB, one of Atari 3.2, and `run` works on as many at a time as fit: free "
            f"{need:.0f} GiB, or lower sac.buffer_size",
        )  # fmt: skip
    load = os.getloadavg()[0]
    if load > 0.5 * usable:
        yield Check("load", "note", f"{load:.1f} processes are busy already", "speeds and ETAs will be off")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if os.environ.get(name, "1") != "1":
            yield Check(
                "threads", "note", f"{name}={os.environ[name]}",
                "it wins over resources.cpus in Ray's workers; unset it, one thread per trial is fastest",
            )  # fmt: skip


def _precision() -> Iterator[Check]:
    import torch

    from nbsp_ray.config.schema import Sac
    from nbsp_ray.errors import ConfigError
    from nbsp_ray.learning.machine import bf16_gain, check_precision, precision_advice

    cpu, asked = torch.device("cpu"), Sac(precision="bf16")
    try:
        check_precision(asked, cpu)
    except ConfigError as error:
        yield Check("bfloat16", "note", "this CPU has no products in it", str(error))
        return
    advice = precision_advice(asked, cpu) or ""
    found = f"products at {bf16_gain():.1f} times the rate of those in float32"
    yield Check("bfloat16", "note" if advice else "ok", found, advice)


def _compiler() -> Iterator[Check]:
    import torch

    from nbsp_ray.errors import ConfigError
    from nbsp_ray.learning.machine import check_compiler

    try:
        check_compiler(torch.device("cpu"))
        yield Check("compiled code", "ok", f"{os.environ.get('CXX') or 'g++'}; kept in {code_folder()}")
    except ConfigError as error:
        yield Check("compiled code", "note", "updates are not compiled here", str(error))
    for name, why in remembered_failures().items():
        yield Check(
            "compiled code", "note", f"an update could not be compiled of late: {why}",
            f"phases that need it are learnt without, more slowly; a new `run` tries again ({name})",
        )  # fmt: skip


def _gpu() -> Iterator[Check]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"torch is built for CUDA {built}, but sees no device" if built else "torch is a CPU build"
        yield Check("GPU", "note", f"none ({why})", "Meta-World needs none; on CPUs real Atari sweeps take months")
        return
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        yield Check("GPU", "ok", f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")


def _simulators() -> Iterator[Check]:
    lacking_packages = set[str]()
    for benchmark in benchmarks().values():
        missing = [name for name in benchmark.packages if version_of(name) is None]
        if missing:
            lacking_packages.add(benchmark.name)
            state: Literal["note", "bad"] = "note" if benchmark.extra else "bad"
            found = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
            yield Check(benchmark.name, state, found, benchmark.how_to_install)
    if "atari" in lacking_packages:
        return
    import cv2  # a library that it needs from the system may be missing
    from ale_py import roms

    games = [rom for rom in roms.get_all_rom_ids() if Path(str(roms.get_rom_path(rom))).is_file()]
    lacking = sorted({"alien", "bank_heist", "bowling", "carnival", "demon_attack", "pong"} - set(games))
    found = f"ale-py {metadata.version('ale-py')} with {len(games)} games, OpenCV {cv2.__version__}"
    if lacking:
        yield Check(
            "Atari", "bad", f"{found}; no ROM of {', '.join(lacking)}", "they are in ale-py's wheel: install it again"
        )
    else:
        yield Check("Atari", "ok", found)


def _films() -> Iterator[Check]:
    import imageio_ffmpeg

    from nbsp_ray.benchmarks._mujoco_gl import check_drawing, check_renderer

    try:
        renderer, advice = check_renderer(), ""
        if version_of("mujoco") is not None:
            check_drawing(renderer)
    except NbspError as error:
        renderer, advice = None, f"only films of Meta-World and DeepMind Control need one: {error}"
    found = f"MUJOCO_GL {os.environ.get('MUJOCO_GL', 'not set')}, "
    found += f"{renderer} draws" if renderer else "nothing draws"
    yield Check("rendering", "ok" if renderer else "note", found, advice)
    try:
        yield Check("ffmpeg", "ok", Path(imageio_ffmpeg.get_ffmpeg_exe()).name)
    except RuntimeError:
        yield Check("ffmpeg", "note", "none", "only films need it: install the wheel of imageio-ffmpeg again")


def _objects(root: str) -> Iterator[Check]:
    """What a results root in an object store rests on, tried; nothing is left there."""
    try:
        store = Store(root)
        store.files.check()
    except (NbspError, OSError) as error:
        yield Check("results root", "bad", f"{root} cannot be used", str(error))
        return
    yield Check("results root", "ok", f"{root}: can be written, and refuses to create what is there")
    free = shutil.disk_usage(existing(store.root)).free / 1e9
    yield Check("copies", "ok", f"{free:.0f} GB free at {store.root}; replay buffers that are read are copied there")


def _disk(root: Path) -> Iterator[Check]:
    root = root.absolute()
    usage = shutil.disk_usage(existing(root))
    free = usage.free / 1e9
    state: Literal["ok", "note"] = "ok" if free > 20 else "note"
    advice = "" if free > 20 else "`nbsp-ray plan` says what a sweep needs; --root names another disk"
    yield Check("disk", state, f"{free:.0f} GB free at {root}", advice)


def _atomic_files(root: Path) -> Iterator[Check]:
    """The store rests on one promise of the file system: a renamed file is seen whole, at once."""
    root = root.absolute()
    try:
        with tempfile.TemporaryDirectory(dir=existing(root), prefix=".nbsp-doctor-") as folder:
            one, other = Path(folder, uuid.uuid4().hex), Path(folder, "named")
            with one.open("wb") as file:
                file.write(b"whole")
                file.flush()
                os.fsync(file.fileno())
            one.replace(other)
            whole = other.read_bytes() == b"whole"
    except OSError as error:
        yield Check("results root", "bad", f"{root}: {error.strerror}", "name a folder you may write in: --root FOLDER")
        return
    yield Check(
        "results root",
        "ok" if whole else "bad",
        f"{root}: writable, renames are {'' if whole else 'not '}atomic; the store needs no locks",
    )
    if stale := [path for path in existing(root).glob(".nbsp-doctor-*") if path.is_dir()]:
        found = f"{len(stale)} folders of an interrupted doctor"
        yield Check("results root", "note", found, "`nbsp-ray clean --yes` removes them")


def _ray() -> Iterator[Check]:
    here = importlib.util.find_spec("ray") is not None
    found = f"{metadata.version('ray')}; `run` starts a cluster here, or takes --address" if here else "not installed"
    yield Check(
        "Ray", "ok" if here else "bad", found, "" if here else "install nbsp-ray with its dependencies: make setup"
    )
    try:
        wanted = os.environ.get("TMPDIR") or "/tmp"
        why = unfit(wanted)
        found = f"Ray's sockets go to {temporary_parent()}" + (f", as {wanted} {why}" if why else "")
        yield Check("temporary files", "note" if why else "ok", found)
    except NbspError as error:
        yield Check("temporary files", "bad", "no folder for Ray's sockets", str(error))
    if left := remove_stale(remove=False):
        size = sum(size for _, size in left) / 1e6
        found = f"{len(left)} folders of killed runs, {size:.0f} MB"
        yield Check("temporary files", "note", found, "the next `run` removes them, and so does `nbsp-ray clean --yes`")
    try:
        check_loopback()
        yield Check("network", "ok", "this machine answers itself at 127.0.0.1, and a Ray started here needs no other")
    except NbspError as error:
        yield Check("network", "bad", "this machine does not answer itself", str(error))
    if home() is None:
        yield Check(
            "home", "note", "this user has none", "what is kept there goes to a temporary folder; ~ has no meaning"
        )
    current = Path(os.environ.get("TMPDIR") or "/tmp", "ray", "ray_current_cluster")
    if current.exists():
        yield Check(
            "Ray", "note", f"a cluster runs here, or left its mark: {current.read_text().strip()}",
            "`run` starts its own unless you name one with --address",
        )  # fmt: skip
    auth = os.environ.get("RAY_AUTH_MODE", "not set")
    yield Check(
        "Ray network", "ok", f"RAY_AUTH_MODE {auth}; a Ray started here listens on 127.0.0.1 alone, with a token",
        "a cluster's listens on all interfaces: use trusted networks only, and set RAY_AUTH_MODE=token on every node",
    )  # fmt: skip
    if sys.platform != "linux":
        yield Check("system", "note", sys.platform, "tested on Linux only")


def print_checks(checks: Sequence[Check]) -> None:
    """What `doctor` found, one line a check, its advice under it."""
    console = plain_console()
    colours = {"ok": "green", "note": "yellow", "bad": "red"}
    for check in checks:
        console.print(Text(f"{check.state:>4}  ", style=colours[check.state]) + Text(check.name, style="bold"))
        for text in filter(None, (check.found, check.advice)):
            print_prose(console, text, indent=6)
