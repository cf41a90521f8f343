import os

import pytest

from mia_core import hardware


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A machine of 16 processors and 64 GiB, whose control groups are these files."""

    def make(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "mount" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(hardware, "PROC", tmp_path / "own")
        monkeypatch.setattr(hardware, "MOUNT", tmp_path / "mount")
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
        monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**24}[name])

    return make


V1 = "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n1:name=systemd:/docker/x\n"
KINDS = {
    "none": ("0::/\n", {}, 16, 2**36),
    "no limit": ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, 16, 2**36),
    "v2": ("0::/\n", {"cpu.max": "200000 100000\n", "memory.max": "1073741824\n"}, 2, 2**30),
    "v2, part of one": ("0::/\n", {"cpu.max": "50000 100000\n"}, 1, 2**36),
    "v2, one and a half": ("0::/\n", {"cpu.max": "150000 100000\n"}, 2, 2**36),
    "v2, below": ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000",
                                "a/b/memory.max": "2147483648"}, 3, 2**31),
    "v2, the tightest": ("0::/a/b\n", {"a/b/memory.max": "4096000", "a/memory.max": "8192000"}, 16, 4096000),
    "v1": (V1, {"cpu,cpuacct/docker/x/cpu.cfs_quota_us": "400000", "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
                "memory/docker/x/memory.limit_in_bytes": "1073741824"}, 4, 2**30),
    "v1, in a container": (V1, {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000",
                                "memory/memory.limit_in_bytes": "1073741824"}, 4, 2**30),
    "v1, no limit": (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
                          "memory/memory.limit_in_bytes": "9223372036854771712"}, 16, 2**36),
    "torn": ("0::/\n", {"cpu.max": "x", "memory.max": ""}, 16, 2**36),
    "no period": ("0::/\n", {"cpu.max": "100000 0"}, 16, 2**36),
    "more than there is": ("0::/\n", {"cpu.max": "6400000 100000", "memory.max": str(2**40)}, 16, 2**36),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_containers_limits_count_where_they_are_below_the_machines(kind, groups):
    own, files, cpus, memory = KINDS[kind]
    groups(own, files)
    assert (hardware.cpus(), hardware.memory_bytes()) == (cpus, memory)


def test_a_system_without_affinity_has_the_processors_it_counts(groups, monkeypatch):
    groups("", {})
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert hardware.cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert hardware.cpus() == 1


def test_this_process_has_a_processor_and_memory():
    assert 1 <= hardware.cpus() <= (os.cpu_count() or 1)
    assert 2**28 < hardware.memory_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
