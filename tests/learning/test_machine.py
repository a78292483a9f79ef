"""What this machine has not is said in one sentence with a way out."""

from pathlib import Path

import pytest
import torch

from nbsp_ray.config.schema import Resources, Sac
from nbsp_ray.errors import ConfigError
from nbsp_ray.learning import machine

CPU = torch.device("cpu")


def test_the_device_is_what_is_asked_for_and_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert machine.find_device(Resources()).type == "cpu"
    assert machine.find_device(Resources(gpus=1, device="cpu")).type == "cpu"
    for resources in (Resources(device="cuda"), Resources(gpus=0.25)):
        with pytest.raises(ConfigError, match=r"resources\.gpus=0 and resources\.device=cpu"):
            machine.find_device(resources)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert machine.find_device(Resources(gpus=0.25)).type == "cuda"
    assert machine.find_device(Resources()).type == "cpu"


def test_a_compiler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler no-such-compiler here: install g\+\+ .*compile=auto"):
        machine.check(Resources(compile=True), Sac())
    machine.check(Resources(compile="auto"), Sac())
    machine.check(Resources(compile=False), Sac())


def test_a_gpu_s_kernels_are_launched_by_compiled_c(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no C compiler gcc or clang here: install gcc .* environment's CC, or set"):
        machine.check_compiler(torch.device("cuda"))
    clang = tmp_path / "clang"
    clang.write_text("#!/bin/sh\n")
    clang.chmod(0o755)
    machine.check_compiler(torch.device("cuda"))


def test_a_compiler_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "some-compiler"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    machine.check_compiler(CPU)


@pytest.mark.parametrize("there", [False, True])
def test_bf16_where_there_is_none(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(machine, "_has_bf16", lambda device: there)
    machine.check_precision(Sac(), CPU)
    if there:
        machine.check_precision(Sac(precision="bf16"), CPU)
    else:
        with pytest.raises(ConfigError, match=r"precision=bf16 needs .*this machine's cpu has none.*precision=fp32"):
            machine.check_precision(Sac(precision="bf16"), CPU)


@pytest.mark.parametrize(("gain", "advice"), [(0.5, "at 0.5 times the rate"), (1.0, None), (2.1, None)])
def test_bf16_where_it_costs_time(monkeypatch: pytest.MonkeyPatch, gain: float, advice: str | None) -> None:
    monkeypatch.setattr(machine, "bf16_gain", lambda: gain)
    found = machine.precision_advice(Sac(precision="bf16"), CPU)
    assert found is None if advice is None else found and advice in found
    assert machine.precision_advice(Sac(), CPU) is None
    assert machine.precision_advice(Sac(precision="bf16"), torch.device("cuda")) is None


def test_what_bf16_gains_is_measured() -> None:
    assert 0.01 < machine.bf16_gain() < 100


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"torch sees none here: set resources.gpus=0"):
        machine.check(Resources(gpus=0.5), Sac())


def test_a_machine_has_one_name() -> None:
    name = machine.machine_name()
    assert name == machine.machine_name()
    assert len(name) == 12
    assert name.isalnum()
