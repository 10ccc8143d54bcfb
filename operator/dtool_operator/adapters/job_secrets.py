"""The Secrets that go with Jobs in the operator's own namespace, for `transfers.job`."""

from collections.abc import Mapping

from dtool_operator.adapters.own_secrets import OwnSecrets, SecretOwner
from dtool_operator.planning.transfer import JobRef


class JobSecrets:
    """Implements `transfers.job_keys.KeySecrets`; every method raises ApiFailure beside what it names."""

    def __init__(self, secrets: OwnSecrets) -> None:
        self._secrets = secrets

    async def create_for_job(self, job: JobRef, data: Mapping[str, str]) -> None:
        """See KeySecrets."""
        await self._secrets.create(job.name, data, owner=SecretOwner("batch/v1", "Job", job.name, job.uid))

    async def replace(self, name: str, data: Mapping[str, str]) -> None:
        """See KeySecrets."""
        await self._secrets.replace(name, data)

    async def delete(self, name: str) -> None:
        """See KeySecrets."""
        await self._secrets.delete(name)
