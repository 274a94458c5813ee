"""How much memory the machine could still give this process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

ASSUMED = 4 << 30
"""Bytes assumed where the system tells nothing (Windows): half of a small laptop's 8 GiB."""


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes that can be allocated before the machine swaps or a container's limit ends.

    Linux tells what is available, and control groups (versions 1 and 2) may allow less; other
    systems of POSIX tell how much is built in, of which half is taken for available.

    Args:
        root: where `proc` and `sys` are.
    """
    return min([_of_machine(root), *_of_control_groups(root)])


def _of_machine(root: Path) -> int:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    if found:
        return int(found[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return ASSUMED


def _of_control_groups(root: Path) -> Iterator[int]:
    """Yield what is left of each limit on this process.

    A container sees its own group as the top of the tree, a service of systemd as a folder in it
    that the limits of the folders above hold for too.
    """
    groups = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, own = line.split(":", 2)
        if not controllers:
            top, limit, usage = groups, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top, limit, usage = groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = top / own.lstrip("/")
        for group in [folder, *folder.parents]:
            if not group.is_relative_to(top):
                break
            allowed, used = _read(group / limit).strip(), _read(group / usage).strip()
            if allowed.isdecimal() and used.isdecimal():
                yield max(0, int(allowed) - int(used) + _file_cache(group))


def _file_cache(group: Path) -> int:
    """Return the bytes of files a group keeps, which give way to whatever needs the memory."""
    pattern = r"^(?:in)?active_file (\d+)$"
    return sum(map(int, re.findall(pattern, _read(group / "memory.stat"), re.MULTILINE)))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
