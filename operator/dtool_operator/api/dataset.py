"""DtoolDataset: one dataset at one place, where it comes from, and what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from dtool_operator.api.choice import DeletionPolicy, Identity, VerifyMethod
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.parsing import ApiObject, InvalidObject, parse_metadata, parse_spec, parse_status
from dtool_operator.api.schema import (
    ApiModel,
    DtoolName,
    Interval,
    Uuid,
)
from dtool_operator.api.source import BucketRef, Source, VolumeTarget

README_MAXIMUM_BYTES: Final = 128 * 1024
DATASET_NAME_MAXIMUM: Final = 80
CONTENT_INTERVAL_MINIMUM: Final = timedelta(hours=24)


def _check_readme(readme: str) -> str:
    if len(readme.encode("utf-8", "surrogatepass")) > README_MAXIMUM_BYTES:
        raise ValueError("must have at most 131072 bytes (128 KiB)")
    return readme


class Verify(ApiModel):
    """How and how often a frozen dataset is verified."""

    interval: Interval = timedelta(hours=168)
    """Time between two verifications."""

    method: VerifyMethod = VerifyMethod.LISTING
    """Listing: keys, sizes and ETags; Content: every byte is read and hashed."""

    @model_validator(mode="after")
    def _check_interval(self) -> Self:
        if self.method is VerifyMethod.CONTENT and self.interval < CONTENT_INTERVAL_MINIMUM:
            raise ValueError("interval must be at least 24h with method Content")
        return self


class DtoolDatasetSpec(ApiModel):
    """What the user asks for."""

    bucket_ref: BucketRef | None = None
    """The bucket that shall hold the dataset. Either this or `volume`. Immutable."""

    volume: VolumeTarget | None = None
    """The volume that shall hold the dataset. Immutable."""

    source: Source | None = None
    """Where the data come from. Immutable, absent or present for good."""

    identity: Identity = Identity.PRESERVE
    """Preserve: the source's uuid; New: a derived dataset with its own. Immutable."""

    uuid: Uuid | None = None
    """Instead of a source: the dataset that already is there. Immutable."""

    freeze: bool = False
    """Freezes a proto dataset; once true it stays true. A copy is always frozen."""

    name: DtoolName | None = None
    """Name of a new dataset; absent: metadata.name."""

    readme: Annotated[str, Field(max_length=README_MAXIMUM_BYTES), AfterValidator(_check_readme)] | None = (
        None
    )
    """README.yml; absent: the source's."""

    tags: Annotated[tuple[DtoolName, ...], Field(max_length=100)] = ()
    """Tags the dataset shall have."""

    annotations: Annotated[dict[DtoolName, JsonValue], Field(max_length=100)] = Field(default_factory=dict)
    """Annotations the dataset shall have, any JSON."""

    verify: Verify = Verify()
    """How and how often the dataset is verified."""

    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What happens to the data when this object is deleted."""

    suspend: bool = False
    """True: nothing is started, running work is cancelled."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.bucket_ref is None) == (self.volume is None):
            raise ValueError("exactly one of bucketRef and volume must be set")
        if self.source is not None and self.uuid is not None:
            raise ValueError("source and uuid exclude each other")
        if self.identity is Identity.NEW and self.source is None:
            raise ValueError("identity New needs a source")
        return self

    @property
    def is_new_dataset(self) -> bool:
        """Whether the dataset gets an own uuid and name: not adopted, not a copy that preserves identity."""
        if self.uuid is not None:
            return False
        return self.source is None or self.identity is Identity.NEW or self.source.makes_new_dataset


@dataclass(frozen=True, slots=True)
class DtoolDataset(ApiObject):
    """One object, parsed."""

    spec: DtoolDatasetSpec
    status: DtoolDatasetStatus

    @property
    def dataset_name(self) -> str:
        """The name a new dataset gets."""
        return self.spec.name or self.meta.name


def parse_dataset(body: Mapping[str, Any]) -> DtoolDataset:
    """Parse an object of the API server; raise InvalidObject, naming the field, if its spec is not valid."""
    meta = parse_metadata(body)
    spec = parse_spec(DtoolDatasetSpec, meta, body)
    if spec.is_new_dataset and spec.name is None and len(meta.name) > DATASET_NAME_MAXIMUM:
        raise InvalidObject(meta, "spec.name: needed, because metadata.name is longer than 80 characters")
    return DtoolDataset(meta, spec, parse_status(DtoolDatasetStatus, body))
