"""Parts of a dataset's status by which work in Jobs is found again after a restart."""

from datetime import UTC
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from dtool_operator.api.schema import Count, NamespaceName, ObjectName, ShortText, StatusModel, Uuid

Moment = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]
"""A moment in UTC with its microseconds: those of a dataset are copied with it."""

Uid = Annotated[str, Field(min_length=1, max_length=64)]


class JobReference(StatusModel):
    """The Job that works for this object: recorded before it begins; the uid tells it from any other."""

    namespace: NamespaceName
    """Its namespace."""

    name: ObjectName
    """Its name."""

    uid: Uid
    """Its uid."""


class InspectedSource(StatusModel):
    """Which dataset an inspection of the source found, and how large."""

    uuid: Uuid
    """Its uuid."""

    name: ShortText
    """Its name."""

    creator_username: ShortText
    """Who created it."""

    created_at: Moment | None = None
    """When it was created."""

    frozen_at: Moment | None = None
    """When it was frozen."""

    items: Count = 0
    """Number of items."""

    size_bytes: Count = 0
    """Bytes of all items."""

    manifest_sha256: Annotated[
        Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")] | None, Field(alias="manifestSHA256")
    ] = None
    """SHA-256 of its manifest."""

    content_sha256: Annotated[
        Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")] | None, Field(alias="contentSHA256")
    ] = None
    """SHA-256 of what equal manifests share: hash function, identifiers, paths, sizes and hashes."""
