"""The real Prometheus, from its Debian package, unpacked into the cache: its rule tester and its server."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox.cache import cache_directory
from sandbox.operator_image.debian_tools import UnpackedPackages, unpack_packages
from sandbox.port import find_free_ports
from sandbox.process import start_process, stop_processes
from sandbox.say import say_at_once
from tests.support.eventually import eventually

SCRAPE = "1s"
START_SECONDS = 30.0


def find_prometheus() -> UnpackedPackages:
    """Return the unpacked package; the first call fetches it. Raises PrerequisiteError."""
    return unpack_packages(("prometheus",), cache_directory() / "debian-prometheus", say_at_once)


def run_promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Prometheus' tool for rules."""
    command = [str(find_prometheus().find("promtool")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@dataclass(frozen=True)
class Prometheus:
    """A server that runs."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression, now. Raises HTTPError where it is none."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def list_rules(self) -> list[dict[str, Any]]:
        """Return the rules as it has them, with their health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **query: str) -> dict[str, Any]:
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310
            return dict(json.load(answer)["data"])


@contextmanager
def running_prometheus(
    directory: Path, *, target: str, labels: Mapping[str, str], rules: Path
) -> Iterator[Prometheus]:
    """Run a server that reads `host:port` every second, and evaluates rules as often."""
    (port,) = find_free_ports(1)
    scraped = {"job_name": labels["job"], "static_configs": [{"targets": [target], "labels": dict(labels)}]}
    every = {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE}
    settings = directory / "prometheus.yaml"
    settings.write_text(
        yaml.safe_dump({"global": every, "rule_files": [str(rules)], "scrape_configs": [scraped]})
    )
    command = (
        str(find_prometheus().find("prometheus")),
        f"--config.file={settings}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    process = start_process("prometheus", command, directory=directory, tied=True)
    server = Prometheus(f"http://127.0.0.1:{port}")

    def ready() -> None:
        assert process.is_alive(), process.log_tail()
        try:
            up = server.query(f'up{{job="{labels["job"]}"}} == 1')
        except OSError as error:
            raise AssertionError(str(error)) from error
        assert up, f"{target} was not read: {process.log_tail()}"

    try:
        eventually(ready, within=START_SECONDS)
        yield server
    finally:
        stop_processes(process)
