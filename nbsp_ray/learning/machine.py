"""The machine's abilities: its device, precision and compiler, each with the mend where a setting asks for more."""

import functools
import hashlib
import os
import platform
import shutil
from pathlib import Path
from timeit import Timer

import torch

from nbsp_ray.config.schema import Resources, Sac
from nbsp_ray.errors import ConfigError


def find_device(resources: Resources) -> torch.device:
    """The device that `resources.device` means here.

    Raises:
        ConfigError: cuda is asked for and not there.
    """
    wanted = resources.device
    if wanted == "auto":
        wanted = "cuda" if resources.gpus > 0 else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "resources ask for a GPU, and torch sees none here: set resources.gpus=0 and resources.device=cpu, "
            "or install a CUDA build of torch on a machine with a GPU (`nbsp-ray doctor` shows what there is)"
        )
    return torch.device(wanted)


def prepare(resources: Resources, sac: Sac) -> torch.device:
    """Make this process ready to learn or evaluate with such settings; the device to do it on.

    Raises:
        ConfigError: the device or the precision asked for is not there.
    """
    device = _checked_device(resources, sac)
    torch.set_num_threads(resources.cpus)
    # Adam's moments decay into denormal numbers, on which a CPU is many times slower: 1.4 x on a whole phase.
    torch.set_flush_denormal(True)
    # float32 means float32: by default convolutions would be rounded to TF32's 10 bits, and products where the
    # environment of an image says so.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return device


def begin_on_device(resources: Resources) -> None:
    """Make this thread ready for a GPU, whose libraries begin with a wait for the device that would break a capture."""
    device = find_device(resources)
    if device.type == "cuda":
        one = torch.ones(1, 8, 8, device=device, requires_grad=True)
        torch.bmm(one, one).sum().backward()
        torch.cuda.synchronize()


def _checked_device(resources: Resources, sac: Sac) -> torch.device:
    device = find_device(resources)
    check_precision(sac, device)
    return device


def machine_name() -> str:
    """A name for all that compiled code depends on: instructions of the CPU, the GPU, torch and Python."""
    cpu = Path("/proc/cpuinfo")
    flags = (
        next((line for line in cpu.read_text().splitlines() if line.startswith("flags")), "") if cpu.exists() else ""
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    facts = (platform.machine(), platform.processor(), flags, gpu, torch.__version__, platform.python_version())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def check_compiler(device: torch.device) -> None:
    """Check that code can be compiled for a CPU here, or launched on a GPU, for which Triton compiles some C.

    Raises:
        ConfigError: there is no compiler.
    """
    language, variable, known = ("C++", "CXX", ("g++",)) if device.type == "cpu" else ("C", "CC", ("gcc", "clang"))
    wanted = (os.environ[variable],) if os.environ.get(variable) else known
    if not any(map(shutil.which, wanted)):
        raise ConfigError(
            f"there is no {language} compiler {' or '.join(wanted)} here: install {known[0]} or name another in the "
            f"environment's {variable}, or set resources.compile=auto, which goes on without"
        )


def check_precision(sac: Sac, device: torch.device) -> None:
    """Check that this machine multiplies matrices in `sac.precision`.

    Raises:
        ConfigError: it does not.
    """
    if sac.precision == "fp32" or _has_bf16(device):
        return
    raise ConfigError(
        f"sac.precision=bf16 needs products in bfloat16, and this machine's {device.type} has none (a CPU needs "
        "AVX-512 or AMX, a GPU compute capability 8.0): set sac.precision=fp32"
    )


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@functools.cache
def bf16_gain() -> float:
    """Measure, in some 50 ms, how many times as fast a core of this CPU multiplies in bfloat16 as in float32.

    There are CPUs whose instructions for it are no faster than those for float32, or slower.
    """
    threads, best = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for dtype in (torch.float32, torch.bfloat16):
            timer = Timer("bmm(x, x)", globals={"bmm": torch.bmm, "x": torch.ones(2, 256, 256, dtype=dtype)})
            timer.timeit(3)  # Workspaces are made, and the core's clock goes up.
            best.append(min(timer.repeat(8, 3)))
    finally:
        torch.set_num_threads(threads)
    return best[0] / best[1]


def precision_advice(sac: Sac, device: torch.device) -> str | None:
    """Return why `sac.precision` costs time on this machine; None where it does not."""
    if sac.precision == "fp32" or device.type != "cpu" or (gain := bf16_gain()) >= 1:
        return None
    return (
        f"sac.precision=bf16 costs time here: this CPU makes products in bfloat16 at {gain:.1f} times the rate of "
        "those in float32; sac.precision=fp32 is faster"
    )


def check(resources: Resources, sac: Sac) -> None:
    """Check that phases with these settings can be learnt here.

    Raises:
        ConfigError: they cannot.
    """
    device = _checked_device(resources, sac)
    if resources.compile is True:
        check_compiler(device)
