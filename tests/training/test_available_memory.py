from __future__ import annotations

import os
from pathlib import Path

import pytest

from facesync.training.available_memory import ASSUMED, available_memory

GIB = 1 << 30


def write(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


MACHINE = {"proc/meminfo": f"MemTotal: {16 << 20} kB\nMemAvailable:   {8 << 20} kB"}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({}, 8),
        # Version 2, in a container, whose own group is the top.
        (
            {
                "proc/self/cgroup": "0::/",
                "sys/fs/cgroup/memory.max": 4 * GIB,
                "sys/fs/cgroup/memory.current": GIB,
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "0::/",
                "sys/fs/cgroup/memory.max": "max",
                "sys/fs/cgroup/memory.current": GIB,
            },
            8,
        ),
        # Version 2, a service: the folder above allows less.
        (
            {
                "proc/self/cgroup": "0::/user.slice/training.service",
                "sys/fs/cgroup/user.slice/memory.max": 3 * GIB,
                "sys/fs/cgroup/user.slice/memory.current": GIB,
                "sys/fs/cgroup/user.slice/training.service/memory.max": 6 * GIB,
                "sys/fs/cgroup/user.slice/training.service/memory.current": GIB,
            },
            2,
        ),
        # Version 1; files that were read give way.
        (
            {
                "proc/self/cgroup": "5:cpu:/\n4:memory:/",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 4 * GIB,
                "sys/fs/cgroup/memory/memory.usage_in_bytes": 4 * GIB,
                "sys/fs/cgroup/memory/memory.stat": f"cache {3 * GIB}\nactive_file {GIB}\n"
                f"inactive_file {GIB}\nunevictable 7",
            },
            2,
        ),
        # Over its limit already, as can be after it was lowered.
        (
            {
                "proc/self/cgroup": "0::/",
                "sys/fs/cgroup/memory.max": GIB,
                "sys/fs/cgroup/memory.current": 2 * GIB,
            },
            0,
        ),
    ],
)
def test_the_lowest_limit_counts(tmp_path, groups, expected):
    assert available_memory(write(tmp_path, {**MACHINE, **groups})) == expected * GIB


def test_half_of_what_is_built_in_without_proc(tmp_path, monkeypatch):
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    assert available_memory(tmp_path) == 1000 * 4096 // 2


def test_an_assumption_where_the_system_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert available_memory(tmp_path) == ASSUMED


def test_this_machine_has_memory():
    assert (1 << 20) < available_memory() < (1 << 50)
