"""What a failure about one item means, at the source and at the target; owns the words, performs no I/O."""

from collections.abc import Iterator
from contextlib import contextmanager

from dtool_s3.documents import ManifestItem
from dtool_s3.errors import (
    ItemMissing,
    NotFound,
    PreconditionFailed,
    RequestRefused,
    SourceDamaged,
    WrittenWhileFreezing,
)


@contextmanager
def reading_source(item: ManifestItem) -> Iterator[None]:
    """Say what it means for the source when an object vanishes or changes between listing and reading."""
    try:
        yield
    except NotFound as error:
        if error.code == "NoSuchUpload":  # a part was to be copied into an upload that is gone
            raise written_meanwhile(item) from error
        raise ItemMissing(f"item {item.relpath[:80]!r} vanished from the source during the copy") from error
    except PreconditionFailed as error:
        raise SourceDamaged(f"item {item.relpath[:80]!r} of the source changed during the copy") from error
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        raise SourceDamaged(
            f"item {item.relpath[:80]!r} of the source has more bytes than its manifest says"
        ) from error


@contextmanager
def writing_target(item: ManifestItem) -> Iterator[None]:
    """Say what it means for the target when an object or upload vanishes or changes under our hands."""
    try:
        yield
    except (NotFound, PreconditionFailed) as error:
        raise written_meanwhile(item) from error


def damaged(item: ManifestItem, found: str) -> SourceDamaged:
    """Build the error for an item of the source with other bytes than its manifest says."""
    return SourceDamaged(
        f"item {item.relpath[:80]!r} of the source has MD5 {found}, its manifest says {item.hash}"
    )


def written_meanwhile(item: ManifestItem) -> WrittenWhileFreezing:
    """Build the error for an item that somebody else writes while it is copied."""
    return WrittenWhileFreezing(f"item {item.relpath[:80]!r} was changed in the target during the copy")
