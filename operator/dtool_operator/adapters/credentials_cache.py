"""Keys of bucket objects for looks, which are many while Secrets are few: read once for all of a moment.

Workers get keys that were read for them: `credentials.read_credentials`. One event loop only.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from dtool_operator.adapters.cluster import Cluster
from dtool_operator.adapters.credentials import BucketCredentials, read_credentials
from dtool_operator.api.bucket import DtoolBucket

#: A look uses keys that were read no longer ago than this.
LIFETIME = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class _Known:
    read_at: datetime
    generation: int
    credentials: BucketCredentials


class CredentialsCache:
    """Whoever asks while another reads waits for that answer."""

    def __init__(self, cluster: Cluster, clock: Callable[[], datetime]) -> None:
        self._cluster, self._clock = cluster, clock
        self._known: dict[str, _Known] = {}
        self._reading: dict[str, asyncio.Lock] = {}

    async def read(self, bucket: DtoolBucket) -> BucketCredentials:
        """Return keys that are a few seconds old at most. Raises as `read_credentials`."""
        async with self._reading.setdefault(bucket.uid, asyncio.Lock()):
            known = self._known.get(bucket.uid)
            if known is not None and self._is_fresh(known, bucket):
                return known.credentials
            credentials = await read_credentials(self._cluster, bucket)
            self._known[bucket.uid] = _Known(self._clock(), bucket.meta.generation, credentials)
            return credentials

    def clear(self) -> None:
        """Have all read at the next look: S3 did not answer as it should, or somebody asks for a look now."""
        self._known.clear()

    def _is_fresh(self, known: _Known, bucket: DtoolBucket) -> bool:
        is_of_spec = known.generation == bucket.meta.generation
        return is_of_spec and timedelta(0) <= self._clock() - known.read_at < LIFETIME
