"""What S3 says of one dataset and its place: owns the requests of a look, and remembers the last one.

The only reads of a dataset's reconcile beside the cache. Decides nothing.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dtool_operator.adapters.cluster import Cluster
from dtool_operator.adapters.credentials_cache import CredentialsCache
from dtool_operator.adapters.storage import OpenStores, answering_soon
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import ReadAccess
from dtool_operator.errors import OperatorError
from dtool_operator.planning.history import is_look_requested
from dtool_operator.planning.inquiry import Inquiry
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import time_left
from dtool_operator.planning.prefix_policy import derive_prefix
from dtool_operator.planning.source_place import ObjectsPlace, Origin, SourcePlace
from dtool_operator.planning.standing import is_running
from dtool_operator.reconcile.failure import explain
from dtool_s3.errors import DtoolS3Error
from dtool_s3.layout import DatasetLayout
from dtool_s3.metadata import find_change
from dtool_s3.ownership import Owner, read_owner
from dtool_s3.registration import read_registration
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.inventory import read_admin_metadata

#: While a worker runs, S3 is asked about its dataset no more often than this.
LOOK_INTERVAL = timedelta(seconds=25)


@dataclass(frozen=True, slots=True)
class _Look:
    """What S3 said of a dataset, and when."""

    at: datetime
    inquiry: Inquiry
    view: StorageView | Refusal


class DatasetLooks:
    """Asks S3, with the keys of the bucket objects as they are now."""

    def __init__(self, *, cluster: Cluster, stores: OpenStores, clock: Callable[[], datetime]) -> None:
        self._credentials, self._stores = CredentialsCache(cluster, clock), stores
        self._looks: dict[str, _Look] = {}

    def forget(self, uid: str) -> None:
        """Drop the last look at an object's dataset."""
        self._looks.pop(uid, None)

    def target(self, uid: str) -> Target:
        """Return the place in a bucket that was looked at last."""
        target = self._looks[uid].inquiry.target
        assert target is not None, "what is written to a bucket has a place there"
        return target

    async def ask(self, seen: ObservedDataset, inquiry: Inquiry) -> StorageView | Refusal:
        """Ask S3, or return its last answer where it is fresh and a worker runs."""
        if is_look_requested(seen.dataset) or seen.dataset.meta.deletion_timestamp is not None:
            self.forget(seen.dataset.uid)
            self._credentials.clear()
        last = self._looks.get(seen.dataset.uid)
        is_same = last is not None and last.inquiry == inquiry and is_running(seen.transfer)
        if last is not None and is_same and time_left(last.at, LOOK_INTERVAL, seen.now):
            return last.view
        try:
            async with answering_soon():
                view: StorageView | Refusal = await self._read(inquiry, seen.dataset.namespace)
        except (DtoolS3Error, OperatorError) as error:
            view = explain(error)
            self._credentials.clear()
        self._looks[seen.dataset.uid] = _Look(seen.now, inquiry, view)
        return view

    async def open(self, bucket: DtoolBucket) -> tuple[Store, str]:
        """Open a bucket with its keys as they were a moment ago; return their version too."""
        credentials = await self._credentials.read(bucket)
        return self._stores.open(bucket, credentials), credentials.version

    async def _read(self, inquiry: Inquiry, namespace: str) -> StorageView:
        view = StorageView() if inquiry.target is None else await self._read_target(inquiry, inquiry.target)
        return await self._read_source(inquiry.origin, view, namespace)

    async def _read_target(self, inquiry: Inquiry, target: Target) -> StorageView:
        store, version = await self.open(target.bucket)
        uuid, registered = target.uuid, await read_registration(store, target.uuid)
        if inquiry.other_uuid is not None and registered != target.prefix:
            uuid, registered = inquiry.other_uuid, await read_registration(store, inquiry.other_uuid)
        layout = DatasetLayout(target.prefix, uuid)
        owner, admin = await asyncio.gather(
            read_owner(store, target.prefix), read_admin_metadata(store, layout)
        )
        change = None
        if inquiry.wanted is not None and admin is not None:
            change = await find_change(store, layout, inquiry.wanted)
        return StorageView(owner, registered, admin, credentials_version=version, uuid=uuid, change=change)

    async def _read_source(self, origin: Origin | None, view: StorageView, namespace: str) -> StorageView:
        match origin:
            case SourcePlace():
                return await self._read_stored(origin, view, namespace)
            case ObjectsPlace(bucket, _):
                store, version = await self.open(bucket)
                owner = await _read_own(store, bucket, namespace)
                both = f"{view.credentials_version}|{version}"
                return replace(view, credentials_version=both, source_owner=owner)
            case _:
                return view

    async def _read_stored(self, source: SourcePlace, view: StorageView, namespace: str) -> StorageView:
        """Find the dataset through the oldest bucket object; go on with the one that a worker will use."""
        first = source.candidates[0]
        store, version = await self.open(first)
        prefix = await read_registration(store, source.uuid)
        chosen = first if prefix is None else source.choose(namespace, prefix) or first
        if chosen.uid != first.uid:
            store, version = await self.open(chosen)
        view = replace(view, credentials_version=f"{view.credentials_version}|{version}")
        if prefix is None:
            return view
        owner = await _read_own(store, chosen, namespace)
        admin = await read_admin_metadata(store, DatasetLayout(prefix, source.uuid))
        return replace(view, source_prefix=prefix, source_admin=admin, source_owner=owner)


async def _read_own(store: Store, bucket: DtoolBucket, namespace: str) -> Owner | None:
    """Return who owns the prefix by whose name a namespace reads; None where it may read every prefix."""
    if bucket.spec.read_access is ReadAccess.BUCKET:
        return None
    return await read_owner(store, derive_prefix(bucket.spec, namespace))
