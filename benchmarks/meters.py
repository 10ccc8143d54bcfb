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


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """CPU time of a process, or of its children that have ended (see proc(5), fields 14 to 17 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[13:15] if children else fields[11:13]
    return (int(user) + int(system)) / _TICKS


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
