"""Gauges of Pods on the sandbox's node, read from their control groups (cgroup v1) on this machine.

See the kernel's documentation of the controllers `memory` and `cpuacct`. A group goes with its Pod: whoever
wants its highest figures looks often.
"""

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sandbox.cluster.control_group import PREFIX, find_hierarchies

MIB = 1024**2


@dataclass(slots=True)
class PodUse:
    """What a Pod has used so far: resident memory at its highest (sampled), all memory (counted), CPU time.

    `charged_mib` has the page cache in it, which the kernel gives back when it needs it.
    """

    resident_mib: float = 0.0
    charged_mib: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(slots=True)
class PodMeters:
    """The highest figures of every Pod that was looked at, by its uid."""

    uses: dict[str, PodUse] = field(default_factory=dict)

    def look(self, uids: Iterable[str]) -> None:
        """Read the groups of Pods; those that are gone keep what was read last."""
        for uid in uids:
            use = self.uses.setdefault(uid, PodUse())
            memory, cpu = _find_group("memory", uid), _find_group("cpuacct", uid)
            try:
                if memory is not None:
                    use.resident_mib = max(use.resident_mib, _read_resident(memory) / MIB)
                    charged = int((memory / "memory.max_usage_in_bytes").read_text())
                    use.charged_mib = max(use.charged_mib, charged / MIB)
                if cpu is not None:
                    use.cpu_seconds = int((cpu / "cpuacct.usage").read_text()) / 1e9
            except OSError:  # ENOENT or ENODEV: it has just ended
                continue


def kill_in_pod(uid: str, program: str) -> int:
    """End all processes of a Pod with SIGKILL whose command line has `program` in it; return how many."""
    group = _find_group("memory", uid)
    killed = 0
    for tasks in () if group is None else group.glob("*/cgroup.procs"):
        for pid in map(int, tasks.read_text().split()):
            if program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


def _find_group(controller: str, uid: str) -> Path | None:
    return next(_mount(controller).glob(f"{PREFIX}*/**/pod{uid}"), None)


@cache
def _mount(controller: str) -> Path:
    return next(each.folder for each in find_hierarchies() if controller in each.controllers)


def _read_resident(group: Path) -> int:
    for line in (group / "memory.stat").read_text().splitlines():
        if line.startswith("total_rss "):
            return int(line.split()[1])
    return 0
