"""Does one thing with a bucket of many keys in a process of its own; tells the outcome and the memory.

Reads a JSON document from standard input: `endpoint`, `work` (a name in `WORKS`), `prefix`, `uuid` and
`max_listed_keys` of the store. Prints one JSON line: `reason` (None: done) and `message`, what was `found`,
`seconds`, and of resident memory `before_mib` and `peak_mib`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from dtool_s3.catalog import list_datasets
from dtool_s3.errors import DtoolS3Error
from dtool_s3.ingestion.engine import ingest_objects
from dtool_s3.ingestion.plan import IngestRequest
from dtool_s3.layout import DatasetLayout
from dtool_s3.proto_freezing import freeze_dataset
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.protocol import Store
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.verify import verify_dataset
from tests.support.copy_script import resident_mib

Task = dict[str, Any]


async def _list(store: Store, task: Task) -> object:
    catalog = await list_datasets(store, prefixes=[task["prefix"]])
    return {"entries": len(catalog.all_entries), "unlisted": catalog.unlisted}


async def _verify(store: Store, task: Task) -> object:
    found = (await verify_dataset(store, DatasetLayout(task["prefix"], task["uuid"]))).verification
    return {"items": found.items, "extra": found.extra_count, "absent": found.absent_count}


async def _freeze(store: Store, task: Task) -> object:
    layout = DatasetLayout(task["prefix"], task["uuid"])
    return (await freeze_dataset(store, layout, quiet_seconds=0)).verification.items


async def _copy(store: Store, task: Task) -> object:
    request = CopyRequest(task["uuid"], task["prefix"], "copies/")
    return (await copy_dataset(store, store, request)).verification.items


async def _ingest(store: Store, task: Task) -> object:
    request = IngestRequest(task["uuid"], task["prefix"], "copies/", "many", "olssont")
    return (await ingest_objects(store, store, request)).verification.items


WORKS: dict[str, Callable[[Store, Task], Awaitable[object]]] = {
    "list": _list,
    "verify": _verify,
    "freeze": _freeze,
    "copy": _copy,
    "ingest": _ingest,
}


async def work(task: Task) -> Task:
    """Do it; return the line."""
    keys = Credentials("key", Secret("secret"))
    outcome: Task = {"reason": None, "message": "", "found": None}
    endpoint, most = Endpoint(task["endpoint"]), task["max_listed_keys"]
    async with S3Store(endpoint, "bucket", lambda: keys, attempts=1, max_listed_keys=most) as store:
        await store.list("nothing/", limit=1)  # the client is loaded now
        outcome["before_mib"], start = resident_mib("VmRSS"), time.monotonic()
        try:
            outcome["found"] = await WORKS[task["work"]](store, task)
        except DtoolS3Error as error:
            outcome |= {"reason": error.reason, "message": str(error)}
        outcome |= {"seconds": time.monotonic() - start, "peak_mib": resident_mib("VmHWM")}
    return outcome


if __name__ == "__main__":
    print(json.dumps(asyncio.run(work(json.load(sys.stdin)))))  # noqa: T201 - its answer
