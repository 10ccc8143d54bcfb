"""The registration key `dtool-<uuid>`: who owns a UUID in a bucket; owns how it is created and read.

The key's body is the prefix under which the dataset lies. It is created once, only where nothing is yet,
and never overwritten: in a shared bucket the first writer wins and everybody else must see that.
"""

from dtool_s3.documents import MAX_ADMIN_METADATA_BYTES, MAX_REGISTRATION_BYTES, parse_admin_metadata
from dtool_s3.errors import (
    DatasetMissing,
    InvalidAdminMetadata,
    NotFound,
    PreconditionFailed,
    RegistrationHijacked,
    RequestRefused,
    StorageError,
    UUIDTaken,
)
from dtool_s3.layout import REGISTRATION_KEY_PREFIX, DatasetLayout
from dtool_s3.store.protocol import IF_ABSENT, Store

#: How often a creation is tried whose key was seen to exist and then to be gone, or whose answer got lost.
_CREATE_ATTEMPTS = 4


async def read_registration(store: Store, uuid: str) -> str | None:
    """Return the prefix that the bucket registers for `uuid`; None only if there is no such key.

    The text is returned as it stands: `""` (always so before dtool-s3 0.11), or a prefix, which data written
    with a setting without trailing slash lack too. Raises StorageError; InvalidAdminMetadata for a body
    that is no prefix (too large, not UTF-8).
    """
    key = f"{REGISTRATION_KEY_PREFIX}{uuid}"
    try:
        stored = await store.get(key, max_bytes=MAX_REGISTRATION_BYTES)
    except NotFound:
        return None
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        raise InvalidAdminMetadata(f"the registration key {key!r} is too large to hold a prefix") from error
    try:
        return stored.body.decode()
    except UnicodeDecodeError as error:
        raise InvalidAdminMetadata(f"the registration key {key!r} does not hold UTF-8 text") from error


async def ensure_registration(store: Store, layout: DatasetLayout) -> None:
    """Create the registration key, or see that it already names this prefix.

    A conflict or an unclear answer is settled by reading: an equal body is fine, a missing key is created
    again (a few times), anything else raises UUIDTaken. The key is never overwritten.
    """
    problem: StorageError | None = None
    for _ in range(_CREATE_ATTEMPTS):
        try:
            await store.put(layout.registration_key, layout.prefix.encode(), precondition=IF_ABSENT)
        except StorageError as error:
            if not (error.retryable or isinstance(error, PreconditionFailed)):
                raise
            problem = error
        else:
            return
        if await _is_registered(store, layout):
            return
    assert problem is not None
    raise problem


async def register_found(store: Store, layout: DatasetLayout) -> bool:
    """Write the lost registration key of the dataset at `layout`; False if it is there and names this prefix.

    Raises DatasetMissing where no dataset lies, InvalidAdminMetadata where it cannot be read, has another
    UUID, or where its prefix cannot be registered, UUIDTaken where the key names another prefix.
    """
    key = layout.admin_metadata_key
    if not layout.prefix.isprintable() or len(layout.prefix.encode()) > MAX_REGISTRATION_BYTES:
        raise InvalidAdminMetadata(f"{layout.prefix[:80]!r} is no prefix that a registration key can hold")
    try:
        stored = await store.get(key, max_bytes=MAX_ADMIN_METADATA_BYTES)
    except NotFound as error:
        raise DatasetMissing(f"there is no {key!r} in bucket {store.bucket!r}") from error
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        raise InvalidAdminMetadata(f"{key!r} is larger than {MAX_ADMIN_METADATA_BYTES} bytes") from error
    parse_admin_metadata(stored.body, stored.info.metadata, uuid=layout.uuid)
    if await _is_registered(store, layout):
        return False
    await ensure_registration(store, layout)
    return True


async def check_registration(store: Store, layout: DatasetLayout) -> None:
    """Raise unless the registration key exists and names this prefix.

    UUIDTaken where it names another one, RegistrationHijacked where it is gone.
    """
    if not await _is_registered(store, layout):
        raise RegistrationHijacked(f"the registration key {layout.registration_key!r} is missing")


async def recheck_registration(store: Store, layout: DatasetLayout) -> None:
    """Like `check_registration`, for a key that was right before: any change is RegistrationHijacked."""
    try:
        await check_registration(store, layout)
    except UUIDTaken as error:
        raise RegistrationHijacked(
            f"the registration key {layout.registration_key!r} was changed while the dataset was frozen"
        ) from error


async def _is_registered(store: Store, layout: DatasetLayout) -> bool:
    """Tell whether the key names this prefix; False if there is none; UUIDTaken if it names another."""
    try:
        registered = await read_registration(store, layout.uuid)
    except InvalidAdminMetadata as error:
        raise UUIDTaken(str(error)) from error
    if registered is None:
        return False
    if registered != layout.prefix:
        raise UUIDTaken(
            f"{layout.registration_key!r} in bucket {store.bucket!r} registers this UUID under another "
            f"prefix than {layout.prefix!r}"
        )
    return True
