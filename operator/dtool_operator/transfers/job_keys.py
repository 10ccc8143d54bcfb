"""The Secret with the keys of one Job in the operator's own namespace: its content, when it is replaced."""

from collections.abc import Mapping
from typing import Protocol

from dtool_operator.errors import Conflict, Gone
from dtool_operator.planning.manifests import SOURCE_KEYS, TARGET_KEYS
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.credentials_file import dump_credentials
from dtool_operator.transfers.executor import TaskCredentials


class KeySecrets(Protocol):
    """Secrets of the operator's own namespace that go with Jobs; raises ApiFailure beside what it names."""

    async def create_for_job(self, job: JobRef, data: Mapping[str, str]) -> None:
        """Create the Secret of the Job's name, which Kubernetes deletes after the Job. Raises Conflict."""

    async def replace(self, name: str, data: Mapping[str, str]) -> None:
        """Make these the whole data of a Secret; raises Gone if there is none."""

    async def delete(self, name: str) -> None:
        """Delete a Secret; gone already is fine."""


async def put_keys(secrets: KeySecrets, job: JobRef, credentials: TaskCredentials) -> None:
    """Make these the keys of a Job. Raises ApiFailure, Conflict.

    A Secret of its name that an earlier Job left would be deleted after that one: it is made anew.
    """
    data = build_key_files(credentials)
    if not data:
        return
    try:
        await secrets.create_for_job(job, data)
    except Conflict:
        await secrets.delete(job.name)
        await secrets.create_for_job(job, data)


async def replace_keys(secrets: KeySecrets, job: JobRef, credentials: TaskCredentials) -> None:
    """Give a running Job other keys; its node shows them to the worker within a minute or two."""
    data = build_key_files(credentials)
    if not data:
        return
    try:
        await secrets.replace(job.name, data)
    except Gone:
        await secrets.create_for_job(job, data)


def build_key_files(credentials: TaskCredentials) -> dict[str, str]:
    """Return the files by name; none for a side of the ambient chain. It holds secrets: never show it."""
    sides = ((TARGET_KEYS, credentials.target), (SOURCE_KEYS, credentials.source))
    return {name: dump_credentials(keys) for name, keys in sides if keys is not None}
