"""The operator as a process for fault tests: behind an API proxy, impatient, and able to kill itself.

Owns its process, its kubeconfig and its settings. One at a time: an operator looks after the whole cluster.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.lab import ADMIN_NAMESPACE, OperatorProcess

if TYPE_CHECKING:
    from tests.support.api_proxy import ApiProxy

SERVICE_ACCOUNT = "dtool-operator"
#: Seconds where the defaults are minutes: what is tried is that it is tried again, not when.
IMPATIENT = {
    "DTOOL_OPERATOR_BACKOFF_BASE": "1s",
    "DTOOL_OPERATOR_BACKOFF_CAP": "2s",
    "DTOOL_OPERATOR_RESYNC_INTERVAL": "4s",
    "DTOOL_OPERATOR_DELETION_TIMEOUT": "6s",
    "DTOOL_OPERATOR_TERMINATING_NAMESPACE_DELETION_TIMEOUT": "4s",
    "DTOOL_OPERATOR_FREEZE_QUIET_PERIOD": "2s",
    "DTOOL_OPERATOR_MAX_TRANSFERS": "16",
    "DTOOL_OPERATOR_WORKER_IMAGE": "localhost/dtool-operator:1",
    "DTOOL_OPERATOR_SIGNING_EXPIRY": "3s",
}
CRASH_POINT = "TEST_CRASH_POINT"
CRASHING_OPERATOR = Path(__file__).with_name("crashing_operator.py")


@dataclass
class FaultOperator(OperatorProcess):
    """Started again by whoever needs it; `api` stands between it and the API server."""

    api: ApiProxy | None = None
    has_crashed: bool = False
    _is_to_crash: bool = False
    _point: str = ""
    _signing_port: int = 0

    @property
    def kubeconfig(self) -> Path:
        """Where the operator reads how to log in."""
        return self.directory / "operator.kubeconfig"

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self.running is not None
        return self.running.process.pid

    def log_in(self, *options: str) -> None:
        """Write a kubeconfig with a fresh token; `options` are those of `kubectl create token`."""
        from sandbox.kubectl import write_token_kubeconfig

        assert self.api is not None
        arguments = ("create", "token", SERVICE_ACCOUNT, "--namespace", ADMIN_NAMESPACE, *options)
        token = self.control_plane.kubectl(*arguments).strip()
        write_token_kubeconfig(
            self.kubeconfig, server=self.api.url, ca_file=self.control_plane.ca_file, token=token
        )

    @property
    def _settings(self) -> dict[str, str]:
        """Beside those of the sandbox; the signing endpoint comes back where it was."""
        from sandbox.port import find_free_ports

        if not self._signing_port:
            (self._signing_port,) = find_free_ports(1)
        url = f"https://127.0.0.1:{self._signing_port}"
        signing = {"DTOOL_OPERATOR_SIGNING_URL": url, "DTOOL_OPERATOR_SIGNING_PORT": str(self._signing_port)}
        return {**IMPATIENT, **signing}

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.running is not None and self.running.process.is_alive()

    def start(self) -> None:
        """Start it, if it is not running, and wait until it is ready."""
        from sandbox.operator_process import start_operator

        if self.is_alive():
            return
        self.has_crashed = self._is_to_crash
        self._is_to_crash = False
        self.running = start_operator(
            self.directory, kubeconfig=self.kubeconfig, endpoints=[], tied=True, settings=self._settings
        )

    def start_crashing(self, point: str) -> None:
        """Start one that kills itself when it comes to a point `<Action>:before` or `<Action>:after`."""
        from sandbox.operator_process import DROPPED_PREFIXES, NAME, Operator
        from sandbox.process import start_process

        assert not self.is_alive()
        self.has_crashed, self._is_to_crash = False, True
        self._point = point
        kept = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED_PREFIXES)}
        (self.directory / NAME).mkdir(exist_ok=True)
        process = start_process(
            NAME,
            [sys.executable, str(CRASHING_OPERATOR)],
            directory=self.directory,
            tied=True,
            environment={
                **kept,
                **self._settings,
                CRASH_POINT: point,
                "KUBECONFIG": str(self.kubeconfig),
                "DTOOL_OPERATOR_NAMESPACE": ADMIN_NAMESPACE,
                "DTOOL_OPERATOR_STATE_DIR": str(self.directory / NAME),
                "DTOOL_OPERATOR_HEALTH_PORT": "0",
            },
        )
        self.running = Operator(process, "")

    def start_again(self) -> None:
        """Start one as the one before was: if it did not come to its point, this one may."""
        self.kill()
        if self._is_to_crash:
            self.start_crashing(self._point)
        else:
            self.start()

    def kill(self) -> None:
        """End it with SIGKILL, if it runs."""
        if self.is_alive():
            super().kill()
