"""Which keys of a bucket lead to datasets: two listings that hold nothing else, however much lies there.

Reads nothing but listings; what is found at the keys is the catalog's.
"""

from collections.abc import Sequence

from dtool_s3.errors import AccessDenied, NotSupported
from dtool_s3.layout import REGISTRATION_KEY_PREFIX
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.uri import is_uuid

#: How many keys that begin as registration keys do, or entries directly below a prefix, are looked through.
MAX_KEYS = 100_000


async def list_registrations(store: Store, max_keys: int | None) -> Sequence[ListedObject]:
    """List the registration keys; what lies below prefixes such as `dtool-x/` is not looked through."""
    start = REGISTRATION_KEY_PREFIX

    def is_registration(key: str) -> bool:
        return is_uuid(key.removeprefix(start))

    listing = await store.list(start, delimiter="/", limit=max_keys, keeps=is_registration)
    if listing.is_cut:
        message = f"bucket {store.bucket!r} has more than {max_keys:,} keys that begin with {start!r}"
        raise NotSupported(message, code="TooManyKeys")
    return listing.objects


async def list_roots(store: Store, prefix: str, max_keys: int | None) -> frozenset[str] | None:
    """List the folders `<prefix><uuid>/`; None where they are too many or may not be listed."""

    def is_root(key: str) -> bool:
        return key.endswith("/") and is_uuid(key[len(prefix) : -1])

    try:
        listing = await store.list(prefix, delimiter="/", limit=max_keys, keeps=is_root)
    except AccessDenied:
        return None
    except NotSupported as error:
        if error.code != "TooManyKeys":
            raise
        return None
    return None if listing.is_cut else frozenset(listing.common_prefixes)
