"""Objects of the user's cluster, read by the user's kubectl: his contexts, logins and rights apply.

Owns how kubectl is called. Reads only, and never touches a Secret.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dtool_operator.cli.failure import CommandFailed


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The kubectl of the search path, with the options that choose a cluster."""

    options: Sequence[str] = ()

    def read(self, resource: str, name: str, *, namespace: str | None = None) -> Mapping[str, Any]:
        """Get one object; raises CommandFailed. What kubectl has to say goes to standard error.

        No time limit but the request's own: a login that kubectl starts may wait for a person.
        """
        program = shutil.which("kubectl")
        if program is None:
            raise CommandFailed("kubectl is not in the search path")
        where = () if namespace is None else (f"--namespace={namespace}",)
        command = [program, "get", resource, name, *where, *self.options, "--output=json"]
        done = subprocess.run(  # noqa: S603 - no shell; the words are the user's own
            [*command, "--request-timeout=30s"], stdout=subprocess.PIPE, check=False
        )
        if done.returncode != 0:
            place = "" if namespace is None else f" in namespace {namespace}"
            raise CommandFailed(f"kubectl could not read {resource} {name}{place}")
        return _parse(done.stdout, f"{resource} {name}")


def _parse(answer: bytes, what: str) -> Mapping[str, Any]:
    try:
        body = json.loads(answer)
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("metadata"), dict):
        raise CommandFailed(f"kubectl gave no object for {what}")
    return body
