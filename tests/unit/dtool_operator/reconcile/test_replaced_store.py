"""Keys and bucket objects change while looks at S3 are under way; none of them is cut off by it."""

import asyncio
import threading
from typing import Any

from dtool_operator.adapters.credentials import BucketCredentials
from dtool_operator.adapters.storage import OpenStores
from dtool_operator.api.bucket import DtoolBucket
from dtool_s3.settings import Endpoint
from dtool_s3.store.boto.connection import Connection
from dtool_s3.store.boto.retry import Retry
from tests.support.observed import bucket


def _connect(_bucket: DtoolBucket, _credentials: BucketCredentials) -> Any:
    return Connection(
        Endpoint("http://127.0.0.1:9"), "b", lambda: None, max_concurrency=1, retry=Retry(1), on_request=None
    )


async def test_requests_under_way_and_queued_end_well_when_the_secret_changes() -> None:
    stores = OpenStores(_connect)
    first: Any = stores.open(bucket(), BucketCredentials("1", None))
    may_end = threading.Event()

    def wait() -> bytes:
        may_end.wait(5)
        return b"answer"

    looks = [asyncio.create_task(first.read("key", wait)) for _ in range(3)]
    await asyncio.sleep(0)
    timer = threading.Timer(0.05, may_end.set)
    timer.start()
    second = stores.open(bucket(), BucketCredentials("2", None))
    was_blocked = may_end.is_set()
    later = asyncio.create_task(first.read("key", lambda: b"answer"))

    assert second is not first
    assert not was_blocked
    assert await asyncio.gather(*looks, later) == [b"answer"] * 4
    timer.join()
    stores.close()
    first.close()
