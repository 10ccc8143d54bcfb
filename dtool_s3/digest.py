"""Digests of objects and files by dtool's names of hash functions; owns reading every byte, nothing else."""

import hashlib
from pathlib import Path

from dtool_s3.documents import MD5_HASH_FUNCTION
from dtool_s3.errors import NotSupported
from dtool_s3.store.protocol import Store

_ALGORITHMS = {
    MD5_HASH_FUNCTION: "md5",
    "sha1sum_hexdigest": "sha1",
    "sha256sum_hexdigest": "sha256",
}
_READ_BYTES = 1024 * 1024


def algorithm_of(hash_function: str) -> str:
    """Return hashlib's name of a manifest's `hash_function`. Raises NotSupported."""
    try:
        return _ALGORITHMS[hash_function]
    except KeyError:
        raise NotSupported(
            f"the manifest's hash function {hash_function[:80]!r} is not one of {', '.join(_ALGORITHMS)}"
        ) from None


async def hash_object(store: Store, key: str, algorithm: str = "md5") -> str:
    """Read every byte of `key` and return the digest in hex. Raises what the store raises."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    async with store.stream(key) as stream:
        async for chunk in stream.chunks:
            digest.update(chunk)
    return digest.hexdigest()


def hash_file(path: Path, algorithm: str = "md5") -> str:
    """Read every byte of a file and return the digest in hex. Blocks; raises OSError."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
