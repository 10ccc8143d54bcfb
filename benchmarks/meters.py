"""Gauges of what runs: memory and CPU time of a process, requests of the S3 server, lines of a log."""

import json
import os
import re
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

_S3 = re.compile(r"^SeaweedFS_s3_request_total\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_TICKS = os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int, *, peak: bool = False) -> float:
    """Resident memory of a process in MiB, now or at its highest."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:" if peak else "VmRSS:")[2].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of a process."""
    return sum(_read_stat(pid)[11:13]) / _TICKS


def worker_seconds(pid: int) -> float:
    """CPU time of everything that a process has started, and those in turn, ended or not."""
    found = {one: stat for one in _list_pids() if (stat := _read_stat(one))}
    below, grown = {pid}, True
    while grown:
        children = {one for one, stat in found.items() if stat[1] in below} - below
        below, grown = below | children, bool(children)
    own = sum(found[pid][11:13])
    return (sum(sum(found[one][11:15]) for one in below if one in found) - own) / _TICKS


def _list_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _read_stat(pid: int) -> list[int]:
    """Return the numbers of /proc/PID/stat from its third field on (see proc(5)); none if it has gone.

    The state, a letter, is 0 here; then follows the parent. From the twelfth on: user and system time of
    the process, and of its children that have ended and were waited for.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [0, *map(int, fields[1:20])]


def count_s3_requests(metrics_url: str, bucket: str) -> dict[str, int]:
    """Count a bucket's requests by method since the S3 server started; a HEAD is a GET to it."""
    with urllib.request.urlopen(metrics_url, timeout=10) as answer:  # noqa: S310 - the sandbox's own
        text = answer.read().decode()
    found: Counter[str] = Counter()
    for sample in _S3.finditer(text):
        labels = dict(_LABEL.findall(sample["labels"]))
        if labels["bucket"] == bucket:
            found[labels["type"]] += int(float(sample["value"]))
    return dict(found)


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Say by how much counts have grown, without those that have not."""
    return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}


class LooksLog:
    """The operator's log as it grows: which objects were looked at, and how it went."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self.looks = 0
        self.names: set[tuple[str, str]] = set()
        self.outcomes: Counter[str] = Counter()

    def read(self) -> int:
        """Read what was added; return how many datasets were looked at in it."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            *lines, rest = file.read().split(b"\n")
            self._offset = file.tell() - len(rest)
        found = 0
        for line in lines:
            if b'"reconciled"' not in line or b'"DtoolDataset"' not in line:
                continue
            entry = json.loads(line)
            found += 1
            self.names.add((entry["namespace"], entry["name"]))
            self.outcomes[entry["outcome"].split(":")[0]] += 1
        self.looks += found
        return found
