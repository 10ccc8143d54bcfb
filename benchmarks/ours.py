"""The library's own functions: one task in a process of its own.

JSON in; out come seconds from call to return, CPU time and memory of the process, and its start-up.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtool_s3 import Credentials, Secret, sync
from dtool_s3.settings import Endpoint, ambient_credentials
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.verify import VerifyMethod

Work = Callable[[], Any]


def copy(source_uri: str, base_uri: str) -> Work:
    """Copy a dataset."""
    return lambda: sync.copy(source_uri, base_uri)


def copy_many(source_bucket: str, target_bucket: str, uuids: list[str], at_once: int) -> Work:
    """Copy datasets into one place, some at a time, as the operator's workers do."""

    async def copy_all() -> None:
        source, target = _open(source_bucket), _open(target_bucket)
        waiting = iter(uuids)

        async def work() -> None:
            for uuid in waiting:
                request = CopyRequest(uuid=uuid, source_prefix="", target_prefix="", server_side=True)
                await copy_dataset(source, target, request)

        await asyncio.gather(*(work() for _ in range(at_once)))

    return lambda: asyncio.run(copy_all())


def list_datasets(base_uri: str) -> Work:
    """Find all datasets with their names."""
    return lambda: sync.list_datasets(base_uri)


def list_again(base_uri: str) -> Work:
    """Find them again, knowing the last result."""
    known = sync.list_datasets(base_uri)
    return lambda: sync.list_datasets(base_uri, previous=known)


def verify(uri: str, method: str) -> Work:
    """Verify a dataset by listing it or by reading every byte."""
    return lambda: sync.verify(uri, method=VerifyMethod(method))


TASKS: dict[str, Callable[..., Work]] = {
    task.__name__: task for task in (copy, copy_many, list_datasets, list_again, verify)
}


def _open(bucket: str) -> S3Store:
    return S3Store(Endpoint(os.environ["S3_ENDPOINT_URL"]), bucket, ambient_credentials)


def start_up() -> None:
    """What a first use loads, without a request: it is timed by itself."""
    import obstore.store  # noqa: F401, PLC0415 - loaded here, not before the clock starts

    from dtool_s3.settings import Endpoint  # noqa: PLC0415
    from dtool_s3.store.boto.client import build_client, open_session  # noqa: PLC0415

    endpoint = Endpoint("http://127.0.0.1:1", region="us-east-1")
    keys = Credentials("nobody", Secret("nothing"))
    build_client(open_session(endpoint), endpoint, keys, max_connections=1, read_timeout_seconds=1)


def main() -> None:
    """Run the task on standard input."""
    document = json.load(sys.stdin)
    started = time.perf_counter()
    start_up()
    loading = time.perf_counter() - started
    work = TASKS[document.pop("task")](**document)
    started, busy = time.perf_counter(), time.process_time()
    work()
    seconds = time.perf_counter() - started
    facts = {
        "seconds": seconds,
        "s of CPU": time.process_time() - busy,
        "s to load": loading,
        "MiB resident": _peak_memory_mib(),
    }
    print(json.dumps(facts))


def _peak_memory_mib() -> float:
    """Peak of the resident memory; getrusage would count what the parent had before it became this."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
