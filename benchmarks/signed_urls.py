"""What signed URLs cost a worker, and the operator that signs them: `python -m benchmarks.signed_urls`.

The same uploads and downloads to the sandbox's S3 server, with keys and with URLs from an endpoint in a
process of its own. Prints a table; the endpoint's CPU time is that of its process, TLS included.
"""

import asyncio
import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from dtool_operator.planning.task import Side, SigningPlace, Task, TaskKind
from dtool_operator.transfers.signing.signed_store import open_signed_store
from dtool_s3.concurrency import map_bounded
from dtool_s3.documents import AdminMetadata, DatasetType, dump_admin_metadata
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from dtool_s3.settings import Endpoint
from dtool_s3.store.protocol import Part, Store, Upload
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.multipart import upload_in_parts
from dtool_s3.transfer.parts import PartRange, cut_evenly
from sandbox.seaweedfs import ObjectStore, running_object_store
from tests.support.signing import (
    PREFIX,
    UUID,
    build_credentials,
    build_location,
    build_task,
    running_endpoint,
)

ITEMS = 2000
SMALL_BYTES = 4096
PART_BYTES = 16 * 1024**2
PARTS = 16
AT_ONCE = 48

_LAYOUT = DatasetLayout(PREFIX, UUID)
_SMALL = {f"{number}.txt": os.urandom(SMALL_BYTES) for number in range(ITEMS)}
_LARGE = os.urandom(PART_BYTES)


def main() -> None:
    """Start everything, measure, print."""
    directory = Path(tempfile.mkdtemp(prefix="dtool-signed-urls-"))
    with running_object_store(directory / "s3") as server:
        for name, is_signed in (("keys", False), ("signed URLs", True)):
            asyncio.run(_measure(server, directory, name, is_signed=is_signed))


async def _measure(server: ObjectStore, directory: Path, name: str, *, is_signed: bool) -> None:
    identity = server.identity("admin")
    keys = build_credentials(identity.access_key, identity.secret_key)
    bucket = server.create_bucket(f"bench-{'signed' if is_signed else 'keys'}")
    task = build_task(TaskKind.UPLOAD, build_location(server.endpoint, bucket))
    admin = AdminMetadata(UUID, DatasetType.PROTO, "bench", "alice", created_at=1.0)
    body, metadata = dump_admin_metadata(admin.as_dict())
    async with S3Store(Endpoint(server.endpoint), bucket, lambda: keys, max_concurrency=AT_ONCE) as own:
        await own.put(_LAYOUT.admin_metadata_key, body, metadata=metadata)
        if not is_signed:
            await _run_all(name, own, lambda: 0.0)
            return
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve,
            args=(theirs, str(directory), task.model_dump_json(), identity.access_key, identity.secret_key),
        )
        process.start()
        place = SigningPlace.model_validate_json(ours.recv())
        signing = task.model_copy(update={"signing": place})

        def cpu_seconds() -> float:
            ours.send("cpu")
            return float(ours.recv())

        async with open_signed_store(signing, Side.TARGET, max_concurrency=AT_ONCE) as store:
            await _run_all(name, store, cpu_seconds)
        ours.send("end")
        process.join()


def _serve(pipe: Connection, directory: str, task_json: str, access_key: str, secret_key: str) -> None:
    """Be the endpoint, in a process of its own."""

    async def serve() -> None:
        async with running_endpoint(Path(directory)) as endpoint:
            await endpoint.give(
                Task.model_validate_json(task_json), build_credentials(access_key, secret_key)
            )
            pipe.send(endpoint.place("token-1").model_dump_json())
            while await asyncio.to_thread(pipe.recv) == "cpu":
                pipe.send(str(time.process_time()))

    asyncio.run(serve())


async def _run_all(name: str, store: Store, cpu_seconds: Callable[[], float]) -> None:
    await store.head(_LAYOUT.admin_metadata_key)  # connections and clients
    for what, work, count, unit in (
        (f"put {ITEMS} items of {SMALL_BYTES} bytes", lambda: _put_small(store), ITEMS, "items/s"),
        (f"get them, {AT_ONCE} at once", lambda: _get_small(store), ITEMS, "items/s"),
        (f"put {PARTS} parts of 16 MiB", lambda: _put_large(store), PARTS * 16, "MiB/s"),
        (f"get {PARTS} ranges of 16 MiB", lambda: _get_large(store), PARTS * 16, "MiB/s"),
    ):
        await _time(f"{name}: {what}", work, count, unit, cpu_seconds)


async def _time(
    what: str, work: Callable[[], Awaitable[None]], count: int, unit: str, cpu_seconds: Callable[[], float]
) -> None:
    began, own_cpu, their_cpu = time.perf_counter(), time.process_time(), cpu_seconds()
    await work()
    seconds, own, theirs = (
        time.perf_counter() - began,
        time.process_time() - own_cpu,
        cpu_seconds() - their_cpu,
    )
    print(f"{what:48} {count / seconds:8.0f} {unit}  worker {own:5.2f} s CPU, endpoint {theirs:5.2f} s CPU")
    sys.stdout.flush()


async def _put_small(store: Store) -> None:
    async def put(relpath: str) -> None:
        body = _SMALL[relpath]
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        key = _LAYOUT.item_key(item_identifier(relpath))
        await store.put(key, body, metadata=item_metadata(relpath, md5))

    await map_bounded(put, _SMALL, limit=AT_ONCE)


async def _get_small(store: Store) -> None:
    async def get(relpath: str) -> None:
        await store.get(_LAYOUT.item_key(item_identifier(relpath)), max_bytes=SMALL_BYTES)

    await map_bounded(get, _SMALL, limit=AT_ONCE)


async def _put_large(store: Store) -> None:
    key, metadata = _LAYOUT.item_key(item_identifier("large")), item_metadata("large", "0" * 32)

    async def produce(upload: Upload) -> Sequence[Part]:
        async def put(number: int) -> Part:
            return await store.put_part(upload, number, memoryview(_LARGE))

        return await map_bounded(put, range(1, PARTS + 1), limit=6)

    await upload_in_parts(store, key, metadata, produce)


async def _get_large(store: Store) -> None:
    key = _LAYOUT.item_key(item_identifier("large"))
    etag = (await store.head(key)).etag

    async def get(part: PartRange) -> None:
        await store.get_range(key, part.first_byte, part.size_bytes, etag=etag)

    await map_bounded(get, cut_evenly(PARTS * PART_BYTES, PART_BYTES), limit=6)


if __name__ == "__main__":
    main()
