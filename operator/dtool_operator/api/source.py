"""Where a dataset comes from and what it refers to: buckets, objects, volumes."""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from dtool_operator.api.choice import Layout, SourceKind
from dtool_operator.api.schema import ApiModel, NamespaceName, ObjectName, Uuid, check_host

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_URI: Final = re.compile(
    r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,254}/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|https?://[^/?#@\s\x00-\x1f\x7f]+(/[^\s\x00-\x1f\x7f]*)?"
)


def _check_relative_path(path: str) -> str:
    if _CONTROL.search(path):
        raise ValueError("must not have control characters")
    if path.startswith("/") or any(part in {".", ".."} for part in path.split("/")):
        raise ValueError("must be a relative path without '.' and '..' segments")
    return path


def _check_objects_prefix(prefix: str) -> str:
    if _CONTROL.search(prefix) or (prefix and not prefix.endswith("/")):
        raise ValueError("must be '' or end in '/', without control characters")
    if any(segment in {".", ".."} for segment in prefix.split("/")):
        raise ValueError("must not have '.' or '..' as a segment")  # some servers would go elsewhere
    return prefix


def _check_uri(uri: str) -> str:
    if not _URI.fullmatch(uri):
        raise ValueError("must be s3://<bucket>/<uuid> or the http(s) URL of a published dataset")
    return uri if uri.startswith("s3://") else check_host(uri)


VolumePath = Annotated[str, Field(max_length=1024), AfterValidator(_check_relative_path)]


class BucketRef(ApiModel):
    """A DtoolBucket."""

    name: ObjectName
    """Its name."""

    namespace: NamespaceName | None = None
    """Its namespace; absent: the dataset's own."""


class DatasetRef(ApiModel):
    """A DtoolDataset."""

    name: ObjectName
    """Its name."""

    namespace: NamespaceName | None = None
    """Its namespace; absent: this dataset's own."""


class VolumeTarget(ApiModel):
    """A place in a PersistentVolumeClaim of the dataset's namespace."""

    claim_name: ObjectName
    """Name of the PersistentVolumeClaim."""

    path: VolumePath = ""
    """Directory in it that will hold the dataset's directory."""


class StoredSource(ApiModel):
    """A dataset in the bucket of a DtoolBucket."""

    bucket_ref: BucketRef
    """The bucket."""

    uuid: Uuid
    """The dataset."""


class ObjectsSource(ApiModel):
    """Plain S3 objects, which become the items of a new dataset."""

    bucket_ref: BucketRef
    """The bucket."""

    prefix: Annotated[str, Field(max_length=1024), AfterValidator(_check_objects_prefix)]
    """Every object below becomes an item; its relpath is what follows the prefix."""


class VolumeSource(ApiModel):
    """A directory in a PersistentVolumeClaim of the dataset's namespace."""

    claim_name: ObjectName
    """Name of the PersistentVolumeClaim."""

    path: VolumePath = ""
    """The directory."""

    layout: Layout = Layout.FILES
    """Files become the items of a new dataset; Dataset: a dataset that dtool wrote there."""


class Source(ApiModel):
    """Where the data come from: exactly one of uri, stored, dataset, objects, volume."""

    uri: Annotated[str, Field(min_length=8, max_length=2048), AfterValidator(_check_uri)] | None = None
    """`s3://bucket/uuid`, read through a DtoolBucket, or a dataset published by http(s)."""

    stored: StoredSource | None = None
    """A dataset in the bucket of a DtoolBucket."""

    dataset: DatasetRef | None = None
    """Another DtoolDataset; the copy waits until it is Frozen."""

    objects: ObjectsSource | None = None
    """Plain S3 objects."""

    volume: VolumeSource | None = None
    """A volume."""

    manifest_sha256: Annotated[
        Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")] | None, Field(alias="manifestSHA256")
    ] = None
    """SHA-256 of the source's manifest.json; any other manifest is refused."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [kind for kind in SourceKind if getattr(self, kind.value) is not None]
        if len(given) != 1:
            raise ValueError("exactly one of uri, stored, dataset, objects, volume must be set")
        if self.manifest_sha256 is not None and self.makes_new_dataset:
            raise ValueError("manifestSHA256 pins an existing dataset; objects and files have no manifest")
        return self

    @property
    def kind(self) -> SourceKind:
        """Which field is set."""
        return next(kind for kind in SourceKind if getattr(self, kind.value) is not None)

    @property
    def makes_new_dataset(self) -> bool:
        """Whether the source is no dataset yet: plain objects, or files on a volume."""
        files = self.volume is not None and self.volume.layout is Layout.FILES
        return files or self.objects is not None
