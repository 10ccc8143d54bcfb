"""What a worker process gets: a private directory with its task and keys, and few environment variables.

Owns names, modes and removal of these files. Starts nothing.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dtool_operator.planning.task import Task
from dtool_operator.transfers.credentials_file import write_credentials_file, write_private_file
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.zygote import ENVIRONMENT_FILE, TASK_FILE

_PREFIX = "task-"
_TARGET_KEYS = "target.json"
_SOURCE_KEYS = "source.json"
_TARGET_CA = "target-ca.pem"
_SOURCE_CA = "source-ca.pem"

_INHERITED = frozenset(
    {
        "HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ",
        "AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
        "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
        # where a bucket is, not who asks: as the operator itself would find it
        "AWS_DEFAULT_REGION", "AWS_REGION",
    }
)  # fmt: skip


class TaskDirectory:
    """The files of one running task."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.task_file = path / TASK_FILE

    def write(self, task: Task, credentials: TaskCredentials, environment: Mapping[str, str]) -> None:
        """Write the task document, what it points to, and the worker's variables. Raises OSError."""
        write_private_file(self.path / ENVIRONMENT_FILE, json.dumps(dict(environment)).encode())
        self.replace_credentials(credentials)
        target = task.target and task.target.model_copy(
            update={
                "credentials_file": self._file(_TARGET_KEYS, credentials.target),
                "ca_bundle_file": self._file(_TARGET_CA, credentials.target_ca),
            }
        )
        source = task.source and task.source.model_copy(
            update={
                "credentials_file": self._file(_SOURCE_KEYS, credentials.source),
                "ca_bundle_file": self._file(_SOURCE_CA, credentials.source_ca),
            }
        )
        document = task.model_copy(update={"target": target, "source": source})
        write_private_file(self.task_file, document.model_dump_json().encode())

    def replace_credentials(self, credentials: TaskCredentials) -> None:
        """Write the keys and certificates that are given, each file in one step. Raises OSError."""
        for name, keys in ((_TARGET_KEYS, credentials.target), (_SOURCE_KEYS, credentials.source)):
            if keys is not None:
                write_credentials_file(self.path / name, keys)
        for name, text in ((_TARGET_CA, credentials.target_ca), (_SOURCE_CA, credentials.source_ca)):
            if text is not None:
                write_private_file(self.path / name, text.encode())

    def _file(self, name: str, content: object) -> str | None:
        return None if content is None else str(self.path / name)

    def remove(self) -> None:
        """Remove the directory; gone already is fine. Raises OSError."""
        if self.path.exists():
            shutil.rmtree(self.path)


def create_task_directory(state_directory: Path) -> TaskDirectory:
    """Make an empty directory for one task, mode 0700. Raises OSError."""
    return TaskDirectory(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=state_directory)))


def clear_state_directory(state_directory: Path) -> None:
    """Make the directory (mode 0700), and remove what an operator that was killed left. Raises OSError."""
    state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    # one that was there may have been open to others; the top of a volume is the node's, and every task's
    # directory is closed by itself
    if state_directory.stat().st_uid == os.geteuid():
        state_directory.chmod(0o700)
    for left in state_directory.glob(f"{_PREFIX}*"):
        TaskDirectory(left).remove()


def build_environment(
    inherited: Mapping[str, str], task: Task, credentials: TaskCredentials
) -> dict[str, str]:
    """Choose a worker's variables; AWS's own only where a side of the task has no keys of its own."""
    needs_ambient = any(
        place is not None and keys is None
        for place, keys in ((task.target, credentials.target), (task.source, credentials.source))
    )
    return {
        name: value
        for name, value in inherited.items()
        if name in _INHERITED or (needs_ambient and name.startswith("AWS_"))
    }
