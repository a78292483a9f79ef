"""CPUs and memory as control groups allow them: both versions, nested, seen from inside of a container."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from nbsp_ray.limits import memory, out_of_memory_kills, processor, usable_cores, usable_cpus, usable_gpus

MB = 1_000_000
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "\n".join(
    f"{number} 31 0:{number} {{top}} /sys/fs/cgroup/{name} rw,relatime - cgroup cgroup rw,{name}"
    for number, name in ((32, "cpu,cpuacct"), (35, "memory"))
)


def machine(root: Path, groups: str, mounts: str) -> Path:
    """What the kernel says of a process's groups, and where they are mounted."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"{groups}\n")
    (root / "proc/self/mountinfo").write_text(f"{mounts}\n")
    return root


def group(root: Path, at: str, **files: object) -> None:
    """Files of a control group; `_` in a name stands for the first point."""
    folder = root / "sys/fs/cgroup" / at
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight CPUs, and 64 GB of memory free."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(2, 10)))
    free = psutil.virtual_memory()._replace(available=64_000 * MB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)


@pytest.mark.usefixtures("cpus")
def test_without_limits_it_is_the_machine(tmp_path: Path) -> None:
    for root in (tmp_path / "nothing", machine(tmp_path / "v2", "0::/user.slice", V2)):
        group(root, "user.slice", cpu_max="max 100000", memory_max="max", memory_current=1)
        assert usable_cpus(root) == 8
        assert (memory(root).available, memory(root).limit) == (64_000 * MB, None)


@pytest.mark.usefixtures("cpus")
@pytest.mark.parametrize(("quota", "expected"), [("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)])
def test_of_a_quota_the_whole_cpus_count(tmp_path: Path, quota: str, expected: int) -> None:
    root = machine(tmp_path, "0::/job", V2)
    group(root, "job", cpu_max=quota)
    assert usable_cpus(root) == expected


@pytest.mark.usefixtures("cpus")
def test_the_tightest_of_all_groups_above_counts(tmp_path: Path) -> None:
    """As Slurm nests them: the limit stands two levels above the process's own group."""
    root = machine(tmp_path, "0::/system.slice/job_7/step_0/task_0", V2)
    group(root, "system.slice/job_7", memory_max=4_000 * MB, memory_current=3_000 * MB, cpu_max="300000 100000")
    (root / "sys/fs/cgroup/system.slice/job_7/memory.stat").write_text(
        f"anon {1_500 * MB}\nfile {1_500 * MB}\ninactive_file {900 * MB}\nactive_file {100 * MB}\nshmem {500 * MB}\n"
    )
    group(root, "system.slice/job_7/step_0/task_0", memory_max="max", memory_current=10, cpu_max="max 100000")
    # 4,000 less 3,000 used, of which 1,000 are pages of files that can be read again.
    assert (memory(root).available, memory(root).limit) == (2_000 * MB, 4_000 * MB)
    assert usable_cpus(root) == 3
    group(root, "system.slice/job_7/step_0", memory_high=1_200 * MB, memory_max="max", memory_current=200 * MB)
    assert (memory(root).available, memory(root).limit) == (1_000 * MB, 1_200 * MB)


@pytest.mark.usefixtures("cpus")
def test_the_first_version_has_other_names(tmp_path: Path) -> None:
    root = machine(tmp_path, "5:memory:/slurm/uid_0/job_7\n2:cpu,cpuacct:/slurm", V1.format(top="/"))
    group(root, "memory/slurm/uid_0/job_7", memory_limit_in_bytes=9_223_372_036_854_771_712, memory_usage_in_bytes=1)
    group(root, "memory/slurm/uid_0", memory_limit_in_bytes=2_000 * MB, memory_usage_in_bytes=1_500 * MB)
    group(root, "cpu,cpuacct/slurm", cpu_cfs_quota_us=400_000, cpu_cfs_period_us=100_000)
    group(root, "cpu,cpuacct", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100_000)
    (root / "sys/fs/cgroup/memory/slurm/uid_0/memory.stat").write_text(
        f"inactive_file 7\ntotal_inactive_file {400 * MB}\ntotal_active_file {100 * MB}\n"
    )
    assert (memory(root).available, memory(root).limit) == (1_000 * MB, 2_000 * MB)
    assert usable_cpus(root) == 4


@pytest.mark.usefixtures("cpus")
@pytest.mark.parametrize(
    ("groups", "mounts"),
    [
        ("5:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc", V1.format(top="/docker/abc")),
        ("5:memory:/\n2:cpu,cpuacct:/", V1.format(top="/")),
        ("5:memory:/../../outside\n2:cpu,cpuacct:/../../outside", V1.format(top="/")),
    ],
)
def test_a_container_sees_its_own_group_at_the_top(tmp_path: Path, groups: str, mounts: str) -> None:
    root = machine(tmp_path, groups, mounts)
    group(root, "memory", memory_limit_in_bytes=2_000 * MB, memory_usage_in_bytes=2_500 * MB)
    group(root, "cpu,cpuacct", cpu_cfs_quota_us=200_000, cpu_cfs_period_us=100_000)
    assert (memory(root).available, memory(root).limit) == (0, 2_000 * MB)
    assert usable_cpus(root) == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_a_process_that_is_bound_to_a_core_has_one() -> None:
    core = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{core}}})\n"
        "from nbsp_ray.limits import usable_cores, usable_cpus\nprint(usable_cpus(), usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"1 [{core}]"


def test_here_and_now() -> None:
    found = memory()
    assert 0 < found.available <= psutil.virtual_memory().total
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
    assert len(usable_cores()) == usable_cpus()


def test_kills_are_counted_by_the_kernel(tmp_path: Path) -> None:
    assert out_of_memory_kills(tmp_path) == 0
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 12\noom_kill 7\n")
    assert out_of_memory_kills(tmp_path) == 7


def test_the_name_of_the_cpu(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: avx2\n")
    assert processor(tmp_path) == "Some CPU @ 2 GHz"
    assert processor(tmp_path / "elsewhere") in (platform.processor(), platform.machine())


def test_gpus_are_counted_as_ray_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with GPUs, and on one without."""
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert usable_gpus() == NvidiaGPUAcceleratorManager.get_current_node_num_accelerators()
    for none in ("", "NoDevFiles"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert usable_gpus() == 0
