"""Ranges that arrive in any order give the digest of the whole, and one failure ends all."""

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtool_s3.errors import BucketUnreachable, NotFound, PreconditionFailed
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import ListedObject
from dtool_s3.transfer.budget import ByteBudget
from dtool_s3.transfer.parts import PartLimits, PartRange, cut_evenly
from dtool_s3.transfer.ranges import OrderedDigest, hash_listed, hash_ranges
from tests.support.datasets import md5

BODY = bytes(range(256)) * 1000


async def test_chunks_are_hashed_in_order_whatever_order_they_arrive_in() -> None:
    digest = OrderedDigest("md5")
    chunks = [BODY[start : start + 100_000] for start in range(0, len(BODY), 100_000)]

    await asyncio.gather(*(digest.update(n, chunk) for n, chunk in reversed(list(enumerate(chunks, 1)))))

    assert digest.hexdigest() == md5(BODY)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, len(BODY)),
    st.integers(1, 100_000),
    st.integers(1, 300_000),
    st.randoms(use_true_random=False),
)
def test_any_cut_read_at_any_pace_within_any_memory_gives_the_same_digest(
    size_bytes: int, part_bytes: int, memory_bytes: int, random: Random
) -> None:
    limits = PartLimits(max_parts=100)
    paces = iter(random.choices(range(4), k=200))

    async def read(part: PartRange) -> bytes:
        for _ in range(next(paces)):
            await asyncio.sleep(0)
        return BODY[part.first_byte : part.first_byte + part.size_bytes]

    async def run() -> str:
        ranges = cut_evenly(size_bytes, part_bytes, limits=limits)
        async with asyncio.timeout(10):
            return await hash_ranges(ranges, read, budget=ByteBudget(memory_bytes))

    assert asyncio.run(run()) == md5(BODY[:size_bytes])


async def test_what_is_used_is_what_is_hashed() -> None:
    used: dict[int, bytes] = {}

    async def read(part: PartRange) -> bytes:
        return BODY[part.first_byte : part.first_byte + part.size_bytes]

    async def use(part: PartRange, chunk: bytes) -> None:
        used[part.number] = chunk

    found = await hash_ranges(cut_evenly(len(BODY), 70_000), read, budget=ByteBudget(), use=use)

    assert b"".join(used[number] for number in sorted(used)) == BODY
    assert found == md5(BODY)


async def test_a_failure_to_use_a_chunk_ends_reading_and_frees_the_memory() -> None:
    reads, budget = 0, ByteBudget(30_000)

    async def read(part: PartRange) -> bytes:
        nonlocal reads
        reads += 1
        return bytes(part.size_bytes)

    async def use(part: PartRange, _: bytes) -> None:
        if part.number == 3:
            raise BucketUnreachable("down")

    with pytest.raises(BucketUnreachable):
        await hash_ranges(cut_evenly(1_000_000, 10_000), read, budget=budget, use=use)

    assert reads < 20
    async with asyncio.timeout(1), budget.take(30_000):
        pass


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket("lab")
    return server


def _listed(server: MemoryServer) -> ListedObject:
    info = server.write("lab", "key", BODY)
    return ListedObject("key", info.size_bytes, info.etag, info.last_modified)


async def test_an_object_is_read_as_it_was_listed_or_not_at_all(server: MemoryServer) -> None:
    listed = _listed(server)
    store, limits = server.store("lab"), PartLimits(chunk_bytes=50_000)

    assert await hash_listed(store, listed, budget=ByteBudget(), limits=limits) == md5(BODY)

    def overwrite() -> None:
        server.write("lab", "key", BODY[::-1])

    server.faults.append(Fault("get_range", skip=2, hook=overwrite))
    with pytest.raises(PreconditionFailed):
        await hash_listed(store, listed, budget=ByteBudget(), limits=limits)
    server.remove("lab", "key")
    with pytest.raises(NotFound):
        await hash_listed(store, listed, budget=ByteBudget(), limits=limits)
