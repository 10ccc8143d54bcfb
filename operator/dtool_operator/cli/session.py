"""What every command works with: its arguments, the cluster, and where it prints."""

import argparse
from dataclasses import dataclass
from typing import TextIO

from dtool_operator.cli.kubectl import EVERYWHERE, Kubectl, Place
from dtool_s3.console.output import printable


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the plugin. Results go to `stdout`, everything said beside them to `stderr`."""

    arguments: argparse.Namespace
    kubectl: Kubectl
    stdout: TextIO
    stderr: TextIO

    @property
    def place(self) -> Place:
        """The namespace that is meant."""
        if getattr(self.arguments, "all_namespaces", False):
            return EVERYWHERE
        return Place(self.arguments.namespace)

    def note(self, text: str) -> None:
        """Tell something beside the result."""
        self.stderr.write(f"note: {printable(text)}\n")
        self.stderr.flush()
