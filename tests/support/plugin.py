"""The plugin as users have it: kubectl finds `kubectl-dtool` and its completion in the search path."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.kubectl import find_kubectl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PROGRAMS = {"kubectl-dtool": "main", "kubectl_complete-dtool": "completion"}


@dataclass(frozen=True, slots=True)
class Plugin:
    """kubectl with the plugin, and one user's kubeconfig."""

    environment: Mapping[str, str]

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `kubectl dtool …`, whatever comes of it."""
        return self.kubectl("dtool", *arguments, stdin=stdin)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl, whatever comes of it."""
        return subprocess.run(
            ["kubectl", *arguments],
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def say(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `kubectl dtool …` and return what it printed; it must succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


def install_plugin(directory: Path, kubeconfig: Path) -> Plugin:
    """Put both programs into a directory of its own, as an installed package would."""
    programs = directory / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, module in _PROGRAMS.items():
        code = f"import sys; from dtool_operator.cli.{module} import main; sys.exit(main())"
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
        program.chmod(0o755)
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(directory)}
    environment["PATH"] = f"{programs}:{find_kubectl().parent}:{os.environ['PATH']}"
    return Plugin(environment)
