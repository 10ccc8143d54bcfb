"""The shell lines that make kubectl, helm, dtool and the AWS tools use what the sandbox runs."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from sandbox.seaweedfs import ADMIN, ObjectStore


def compose_exports(kubeconfig: Path, object_store: ObjectStore, programs: Iterable[Path]) -> str:
    """Compose the lines, to be sourced; they hold the administrator's keys. `programs` come first on PATH."""
    admin = object_store.identity(ADMIN)
    values = {
        "KUBECONFIG": str(kubeconfig),
        "AWS_ENDPOINT_URL": object_store.endpoint,
        "AWS_ACCESS_KEY_ID": admin.access_key,
        "AWS_SECRET_ACCESS_KEY": admin.secret_key,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    folders = ":".join(shlex.quote(str(program.parent)) for program in programs)
    return "\n".join([*lines, f'export PATH={folders}:"$PATH"', ""])
