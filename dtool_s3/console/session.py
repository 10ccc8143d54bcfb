"""What one run of a command has at hand; a value that every command is called with."""

import argparse
from dataclasses import dataclass
from typing import Any

from dtool_s3.configuration import Configure
from dtool_s3.console.output import Output
from dtool_s3.transfer.progress import ProgressSink


@dataclass(frozen=True, slots=True)
class Session:
    """Arguments, how buckets are configured, where results go and who is told of progress."""

    arguments: argparse.Namespace
    configure: Configure
    output: Output
    on_progress: ProgressSink

    @property
    def concurrency(self) -> dict[str, Any]:
        """The argument that bounds items in flight, if the user gave one."""
        given = self.arguments.concurrency
        return {} if given is None else {"concurrency": given}
