"""What a copy that fails has left behind is all that it leaves: nothing of it lands after its error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from dtool_s3.errors import BucketUnreachable
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.settings import Endpoint
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from tests.support.datasets import DatasetFixture, write_dataset
from tests.support.eventually import eventually_async
from tests.support.fault_proxy import HELD, SILENCE, Fault, FaultProxy, fault_proxy
from tests.support.s3_place import S3Place

#: The proxy's for a request that gets no answer: the item's request is sent before.
PATIENCE_SECONDS = 0.3
#: How long a copy is watched that must not end yet.
WATCHED_SECONDS = 1.0


@pytest.fixture
def place(make_s3_place: Callable[[], S3Place]) -> S3Place:
    place = make_s3_place()
    if not place.is_sandbox:
        pytest.fail("the proxy stands before the sandbox's server only")
    return place


@pytest.fixture
def proxy(place: S3Place) -> Iterator[FaultProxy]:
    assert place.endpoint.url is not None
    with fault_proxy(place.endpoint.url) as running:
        running.patience_seconds = PATIENCE_SECONDS
        yield running


@pytest.mark.parametrize("server_side", [True, False], ids=["on the server", "through the client"])
async def test_a_copy_that_fails_waits_for_what_it_has_sent(
    place: S3Place, proxy: FaultProxy, server_side: bool
) -> None:
    origin, calm = DatasetLayout(f"{place.prefix}from/", place.new_uuid()), place.open_store()
    target = DatasetLayout(f"{place.prefix}to/", origin.uuid)
    await write_dataset(calm, DatasetFixture(origin.uuid, origin.prefix, items={"a.txt": b"alpha"}))
    await calm.delete(origin.registration_key)
    held = Fault(HELD, "PUT", f"*{target.data_prefix}*", times=None)
    lost = Fault(SILENCE, "PUT", f"*{target.root}README.yml*", times=None)
    proxy.faults.extend([held, lost])

    async def check_both_were_sent() -> None:
        assert held.hits
        assert lost.hits

    async with S3Store(Endpoint(proxy.url), place.bucket, place.credentials, attempts=1) as store:
        request = CopyRequest(origin.uuid, origin.prefix, target.prefix, server_side=server_side)
        copy = asyncio.create_task(copy_dataset(store, store, request))
        await eventually_async(check_both_were_sent, within=10)
        done, _ = await asyncio.wait({copy}, timeout=WATCHED_SECONDS)
        proxy.faults.remove(held)
        with pytest.raises(BucketUnreachable):
            await copy
        item = await calm.head(target.item_key(item_identifier("a.txt")))

    assert not done
    assert item.size_bytes == len(b"alpha")
