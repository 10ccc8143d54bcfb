"""Carries out what was planned for a DtoolBucket: tests, listings, imports, markers. Decides nothing itself.

What concerns one dataset or namespace alone ends with a line in the log, and waits for the next listing; what
the API server or the bucket cannot do for anybody is raised.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from dtool_operator.adapters.cluster import Cluster, ObjectRef
from dtool_operator.adapters.credentials import read_credentials
from dtool_operator.adapters.storage import OpenStores, answering_soon
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.errors import ApiFailure, Conflict, Gone
from dtool_operator.names import DATASET_KIND, DATASET_PLURAL
from dtool_operator.planning.bucket import admitted_prefixes
from dtool_operator.planning.findings import build_findings, find_marker_prefixes
from dtool_operator.planning.imported import build_labels
from dtool_operator.planning.observed import Findings, Listed, ObservedBucket, Refusal, Tested
from dtool_operator.planning.plan import (
    BucketAction,
    EnsureOwner,
    ImportDataset,
    ListDatasets,
    PruneImported,
    SelfTest,
)
from dtool_operator.planning.prefix_policy import storage_key
from dtool_operator.reconcile.bucket_look import BucketLook, BucketMemory, read_owners
from dtool_operator.reconcile.failure import explain
from dtool_operator.reconcile.owner_marker import write_owner
from dtool_operator.reconcile.world import TakeIn
from dtool_s3.catalog import EMPTY_CATALOG, Catalog, list_datasets
from dtool_s3.errors import AccessDenied, DtoolS3Error, InvalidOwnerMarker, ItemArchived, RequestRefused
from dtool_s3.layout import DatasetLayout
from dtool_s3.ownership import owner_key
from dtool_s3.selftest import check_store
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.inventory import read_admin_metadata

_LOG = logging.getLogger(__name__)

#: Answers that are about the namespace or the object: a quota, an admission policy, a missing right.
_ABOUT_ONE = frozenset({400, 403, 422})
#: What a store says about one key, and a marker that cannot be understood: such a prefix is nobody's of ours.
_ABOUT_ONE_KEY = (AccessDenied, InvalidOwnerMarker, ItemArchived, RequestRefused)


class BucketActions:
    """Acts for bucket objects."""

    def __init__(
        self,
        look: BucketLook,
        cluster: Cluster,
        stores: OpenStores,
        take_in: TakeIn,
        clock: Callable[[], datetime],
    ) -> None:
        self._look, self._cluster, self._stores = look, cluster, stores
        self._take_in, self._clock = take_in, clock

    async def apply(self, seen: ObservedBucket, memory: BucketMemory, action: BucketAction) -> None:
        """Do one thing, and remember how it went."""
        match action:
            case SelfTest():
                memory.tested = await self._test(seen.bucket, action)
            case ListDatasets(attempt):
                arrivals = memory.arrivals
                listed = await self._list(seen, memory)
                is_stale = memory.arrivals != arrivals
                memory.listed = replace(listed, attempt=attempt, is_stale=is_stale)
            case EnsureOwner():
                await self._claim(seen.bucket, memory, action)
            case ImportDataset():
                await self._import(seen.bucket, memory, action)
            case PruneImported():
                await self._prune(seen.bucket, memory, action)

    async def _open(self, bucket: DtoolBucket) -> Store:
        return self._stores.open(bucket, await read_credentials(self._cluster, bucket))

    async def _test(self, bucket: DtoolBucket, action: SelfTest) -> Tested:
        store = await self._open(bucket)
        refusal: Refusal | None = None
        try:
            async with answering_soon():
                await check_store(
                    store, prefix=action.prefix, conditional_writes=bucket.spec.conditional_writes
                )
        except DtoolS3Error as error:
            refusal = explain(error)
        return Tested(action.version, self._clock(), refusal, attempt=action.attempt)

    # ---- listing -----------------------------------------------------------------------------------

    async def _list(self, seen: ObservedBucket, memory: BucketMemory) -> Listed:
        bucket, storage = seen.bucket, storage_key(seen.bucket.spec)
        store = await self._open(bucket)
        previous = memory.listed.catalog if memory.listed and memory.storage == storage else None
        generation = bucket.meta.generation
        try:
            async with answering_soon():
                await store.check_bucket()
            catalog = await list_datasets(
                store, prefixes=admitted_prefixes(seen), previous=previous or EMPTY_CATALOG
            )
            memory.storage = storage
            found = await self._judge(store, seen, catalog, memory)
        except DtoolS3Error as error:
            return Listed(self._clock(), previous, explain(error), generation=generation)
        return Listed(self._clock(), catalog, generation=generation, found=found)

    async def _judge(
        self, store: Store, before: ObservedBucket, catalog: Catalog, memory: BucketMemory
    ) -> Findings:
        """Say what a listing means, and read the markers that decide what is done about it."""
        seen = self._look.observe_cluster(before.bucket, memory)
        found = build_findings(before, seen, catalog)
        try:
            async with answering_soon():
                prefixes = find_marker_prefixes(seen, found)
                owners = await read_owners(store, prefixes, leaving_out=_ABOUT_ONE_KEY)
        except DtoolS3Error as error:
            # the listing itself is good; nothing is done about it before the next one
            _LOG.info("owner_markers_unread", extra={"bucket": before.bucket.name, "why": str(error)})
            owners = {}
        return replace(found, owners=owners)

    # ---- objects for datasets that were found ------------------------------------------------------

    async def _claim(self, bucket: DtoolBucket, memory: BucketMemory, action: EnsureOwner) -> None:
        """Create the marker of a prefix before the first import from it, or hand it over (rule 4)."""
        owner = action.owner
        memory.note_tried(owner_key(owner.prefix))
        if not await self._is_namespace(owner.namespace, owner.namespace_uid):
            return
        try:
            async with answering_soon():
                found = await write_owner(await self._open(bucket), action)
        except DtoolS3Error as error:
            _LOG.warning("owner_marker_not_written", extra={"prefix": owner.prefix, "why": str(error)})
            return
        if memory.listed is not None and memory.listed.found is not None:
            memory.note_findings(owners={**memory.listed.found.owners, owner.prefix: found})
        if found == owner and memory.owned is None:
            memory.owned = owner

    async def _import(self, bucket: DtoolBucket, memory: BucketMemory, action: ImportDataset) -> None:
        if await self._is_namespace(action.namespace, action.namespace_uid):
            try:
                await self._create(bucket, action)
            except (Gone, ApiFailure) as error:
                if isinstance(error, ApiFailure) and error.status not in _ABOUT_ONE:
                    raise
                _LOG.warning(
                    "import_refused", extra={"target_namespace": action.namespace, "why": error.message}
                )
                if memory.listed is not None and memory.listed.found is not None:
                    memory.note_findings(refused=memory.listed.found.refused | {action.namespace})
        memory.note_tried(DatasetLayout(action.prefix, action.uuid).root)

    async def _create(self, bucket: DtoolBucket, action: ImportDataset) -> None:
        """Create the object under the first name that is free, unless it exists already."""
        ref = {"name": bucket.name, "namespace": bucket.namespace}
        spec = {"bucketRef": ref, "uuid": action.uuid}
        for name in action.names:
            try:
                body: Mapping[str, Any] | None = await self._cluster.create_dataset(
                    action.namespace, name, spec=spec, labels=build_labels(action.uuid)
                )
            except Conflict:
                # an answer may have been lost: what has the name may be what was to be created
                body = await self._cluster.read_dataset(action.namespace, name)
                if body is not None and (body.get("spec") or {}).get("uuid") != action.uuid:
                    continue
            if body is not None:
                self._take_in(DATASET_PLURAL, body)
            return
        _LOG.warning("import_without_name", extra={"target_namespace": action.namespace, "uuid": action.uuid})

    async def _prune(self, bucket: DtoolBucket, memory: BucketMemory, action: PruneImported) -> None:
        """Delete an imported object, if what was planned still is so.

        A Conflict is no answer yet: the listing that shows the loss also has the object say DatasetMissing.
        """
        if action.is_superseded or not await self._is_there(bucket, action):
            ref = ObjectRef(DATASET_PLURAL, DATASET_KIND, action.namespace, action.name, action.uid)
            try:
                await self._cluster.delete_object(ref, resource_version=action.resource_version)
            except Gone as error:
                _LOG.info("import_not_pruned", extra={"uuid": action.uuid, "why": error.message})
        memory.note_tried(action.uid)

    async def _is_there(self, bucket: DtoolBucket, action: PruneImported) -> bool:
        """Ask for the dataset once more; in doubt it is there."""
        try:
            async with answering_soon():
                store = await self._open(bucket)
                return await read_admin_metadata(store, DatasetLayout(action.prefix, action.uuid)) is not None
        except DtoolS3Error as error:
            _LOG.info("import_not_pruned", extra={"uuid": action.uuid, "why": str(error)})
            return True

    async def _is_namespace(self, name: str, uid: str) -> bool:
        """Tell whether a namespace is the one that the watch has told of (rule 4)."""
        return await self._cluster.read_namespace_uid(name) == uid
