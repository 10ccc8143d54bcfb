"""Status of a DtoolDataset: what the operator did and saw."""

from typing import Annotated

from pydantic import Field

from dtool_operator.api.choice import DatasetState, VerifyMethod
from dtool_operator.api.conditions import Condition
from dtool_operator.api.schema import (
    Count,
    LongText,
    ObservedGeneration,
    ShortText,
    StatusModel,
    Timestamp,
    Uuid,
)
from dtool_operator.api.work_status import InspectedSource, JobReference


class Progress(StatusModel):
    """How far the transfer is."""

    items: Count = 0
    """Items that are complete."""

    items_total: Count = 0
    """Items in all."""

    bytes: Count = 0
    """Bytes that are complete."""

    bytes_total: Count = 0
    """Bytes in all."""

    percent: ShortText | None = None
    """Share of the bytes, or of the items where all are empty: `51%`."""

    bytes_per_second: Count | None = None
    """Recent speed."""

    started_at: Timestamp | None = None
    """When this run of the transfer began."""

    updated_at: Timestamp | None = None
    """When these numbers were taken."""


class Evidence(StatusModel):
    """By what the items' content is proved (rule 13): numbers of items."""

    etag_md5: Annotated[Count, Field(alias="etagMD5")] = 0
    """The ETag equals the expected MD5."""

    read: Count = 0
    """Bytes were read and hashed."""

    same_as_source: Count = 0
    """Size and ETag equal the source's after a server-side copy."""


class Mismatch(StatusModel):
    """An item that is not as the manifest says."""

    relpath: LongText
    """The item."""

    expected: ShortText
    """What the manifest says."""

    found: ShortText
    """What is there."""


class Verification(StatusModel):
    """The last verification."""

    time: Timestamp
    """When it ended."""

    method: VerifyMethod
    """What it did."""

    items: Count = 0
    """Items looked at."""

    evidence: Evidence = Evidence()
    """By what their content is proved."""

    mismatches: Annotated[tuple[Mismatch, ...], Field(max_length=20)] = ()
    """Items that are not as the manifest says."""

    mismatch_count: Count = 0
    """How many there are in all."""


class Managed(StatusModel):
    """What the operator added and may remove again."""

    tags: Annotated[tuple[ShortText, ...], Field(max_length=200)] = ()
    """Tags."""

    annotations: Annotated[tuple[ShortText, ...], Field(max_length=200)] = ()
    """Names of annotations."""


class DtoolDatasetStatus(StatusModel):
    """What the operator did and saw."""

    observed_generation: ObservedGeneration = None
    """metadata.generation that this status speaks of; None until the operator has looked."""

    state: DatasetState | None = None
    """Summary for people."""

    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = ()
    """Ready, Frozen, Verified, MetadataSynced, and Reconciling or Stalled while they are true."""

    uuid: Uuid | None = None
    """The dataset's uuid."""

    uri: LongText | None = None
    """`s3://bucket/uuid`, as the dtool command line takes it."""

    name: ShortText | None = None
    """The dataset's name."""

    creator_username: ShortText | None = None
    """Who created it."""

    created_at: Timestamp | None = None
    """When it was created."""

    frozen_at: Timestamp | None = None
    """When it was frozen."""

    items: Count | None = None
    """Number of items."""

    size_bytes: Count | None = None
    """Bytes of all items."""

    size: ShortText | None = None
    """The same for people: `3.4Gi`."""

    progress: Progress | None = None
    """How far the transfer is; absent when none runs."""

    verified: Verification | None = None
    """The last verification."""

    managed: Managed | None = None
    """Tags and annotations the operator added."""

    job: JobReference | None = None
    """The Job that works for this object; absent when none does."""

    source: InspectedSource | None = None
    """Which dataset the source is, where it had to be looked at for that."""

    last_handled_reconcile_at: ShortText | None = None
    """Value of the annotation dtool.dev/reconcileRequestedAt that was acted on last."""

    last_handled_verify_at: ShortText | None = None
    """Value of the annotation dtool.dev/verifyRequestedAt that was acted on last."""
