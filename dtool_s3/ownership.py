"""The owner marker `<prefix>.dtool-owner`: which namespace identity a prefix belongs to (rule 4 of the API).

Owns its text and how it is written: once, only where nothing is yet; never removed, and overwritten only to
replace an owner that the caller names. Whether an owner is the right one is the caller's decision. A marker
that cannot be read belongs to somebody else: it is an error, never "no owner".
"""

import json
from dataclasses import dataclass, field

from dtool_s3.errors import (
    BucketUnreachable,
    InvalidOwnerMarker,
    NotFound,
    PreconditionFailed,
    RequestRefused,
    StorageError,
)
from dtool_s3.layout import OWNER_MARKER_NAME
from dtool_s3.store.protocol import IF_ABSENT, Precondition, Store, if_match

MAX_OWNER_BYTES = 8 * 1024
_MAX_FIELD_CHARACTERS = 1024
_WRITE_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Owner:
    """A namespace's identity: `cluster` (uid of kube-system) and `namespace_uid`; these alone compare.

    `namespace` and `prefix` are for people: a namespace of the same name that was created again is another
    owner.
    """

    cluster: str
    namespace_uid: str
    namespace: str = field(compare=False)
    prefix: str = field(compare=False)

    def __str__(self) -> str:
        """Return the identity as messages print it and `takeOver.fromOwner` takes it."""
        return f"{self.cluster}/{self.namespace_uid}"


def owner_key(prefix: str) -> str:
    """Return the key of the marker of `prefix` (`""`, or ending in `/`)."""
    return f"{prefix}{OWNER_MARKER_NAME}"


def dump_owner(owner: Owner) -> bytes:
    """Return the marker's body: JSON, one line, so that people can read and compare it."""
    document = {
        "cluster": owner.cluster,
        "namespaceUid": owner.namespace_uid,
        "namespace": owner.namespace,
        "prefix": owner.prefix,
    }
    return json.dumps(document).encode() + b"\n"


def parse_owner(body: bytes) -> Owner:
    """Parse a marker's body. Raises InvalidOwnerMarker for anything `dump_owner` would not write."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidOwnerMarker("the owner marker is not JSON") from error
    if not isinstance(document, dict):
        raise InvalidOwnerMarker("the owner marker is not a JSON object")
    return Owner(
        cluster=_identity(document, "cluster"),
        namespace_uid=_identity(document, "namespaceUid"),
        namespace=_text(document, "namespace"),
        prefix=_text(document, "prefix"),
    )


async def read_owner(store: Store, prefix: str) -> Owner | None:
    """Return the owner of `prefix`; None only if there is no marker.

    Raises InvalidOwnerMarker for a marker that cannot be understood, and StorageError.
    """
    owner, _ = await _read(store, prefix)
    return owner


async def ensure_owner(store: Store, prefix: str, owner: Owner) -> Owner:
    """Create the marker where there is none; return who owns the prefix now, `owner` or somebody else.

    It is read first and after the write, so that a store which ignores If-None-Match does not lose somebody
    else's marker. A conflict or an unclear answer is settled by reading. Raises as `read_owner`.
    """
    return await _write_over(store, prefix, owner, replaced=None)


async def replace_owner(store: Store, prefix: str, *, expected: Owner, new: Owner) -> Owner:
    """Put `new` in the place of exactly `expected`; return who owns the prefix now, whoever that is.

    Anybody else's marker stays as it is; where there is none, `new` gets it. Written with If-Match on the
    marker that was read, and read again afterwards, by which a lost answer is settled too. Raises as
    `read_owner`.
    """
    return await _write_over(store, prefix, new, replaced=expected)


async def _write_over(store: Store, prefix: str, owner: Owner, *, replaced: Owner | None) -> Owner:
    """Write the marker over nothing, or over that of `replaced`, until a look shows an owner that stays."""
    problem: StorageError = BucketUnreachable(f"{owner_key(prefix)!r} was written and cannot be read back")
    for _ in range(_WRITE_ATTEMPTS):
        found, condition = await _read(store, prefix)
        if found is not None and (found == owner or found != replaced):
            return found
        try:
            await store.put(owner_key(prefix), dump_owner(owner), precondition=condition)
        except StorageError as error:
            if not (error.retryable or isinstance(error, PreconditionFailed)):
                raise
            problem = error
    found, _ = await _read(store, prefix)
    if found is None or (found != owner and found == replaced):
        raise problem
    return found


async def _read(store: Store, prefix: str) -> tuple[Owner | None, Precondition]:
    """Return the owner, and the condition under which what was read is what is written over."""
    key = owner_key(prefix)
    try:
        stored = await store.get(key, max_bytes=MAX_OWNER_BYTES)
        return parse_owner(stored.body), if_match(stored.info.etag)
    except NotFound:
        return None, IF_ABSENT
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        raise InvalidOwnerMarker(f"{key!r} in bucket {store.bucket!r} is too large") from error
    except InvalidOwnerMarker as error:
        raise InvalidOwnerMarker(f"{key!r} in bucket {store.bucket!r}: {error}") from error


def _text(document: dict[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or len(value) > _MAX_FIELD_CHARACTERS or not value.isprintable():
        raise InvalidOwnerMarker(f"the owner marker has no printable text as {name}")
    return value


def _identity(document: dict[str, object], name: str) -> str:
    value = _text(document, name)
    if not value or "/" in value:
        raise InvalidOwnerMarker(f"the owner marker names no {name}")
    return value
