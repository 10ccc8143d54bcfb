"""Digests by dtool's names of hash functions, of files and of what S3 makes of parts; owns no request."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dtool_s3.documents import MD5_HASH_FUNCTION
from dtool_s3.errors import NotSupported

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


def md5_digest(body: bytes | memoryview) -> bytes:
    """Return the MD5 of `body`, 16 bytes: a checksum against accidents."""
    return hashlib.md5(body, usedforsecurity=False).digest()


def md5_hexdigest(body: bytes | memoryview) -> str:
    """Return the MD5 of `body` as hex digits, the form of a plain object's ETag."""
    return md5_digest(body).hex()


def hash_file(path: Path, algorithm: str = "md5") -> str:
    """Read every byte of a file and return the digest in hex. Blocks; raises OSError."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def multipart_etag(part_md5s: Iterable[bytes]) -> str:
    """Return the ETag of an object uploaded in parts with these MD5s, as S3 and its likes compute it.

    Encrypted objects have others, which proves nothing. Source: S3 "Checking object integrity".
    """
    digests = tuple(part_md5s)
    return f"{md5_digest(b''.join(digests)).hex()}-{len(digests)}"


def read_exactly(descriptor: int, first_byte: int, size_bytes: int) -> bytes:
    """Read `size_bytes` of a file from `first_byte` on; fewer only where it ends. Blocks; raises OSError."""
    body = os.pread(descriptor, size_bytes, first_byte)
    if len(body) in {0, size_bytes}:
        return body
    pieces = [body]
    while (missing := size_bytes - sum(map(len, pieces))) and pieces[-1]:
        pieces.append(os.pread(descriptor, missing, first_byte + size_bytes - missing))
    return b"".join(pieces)
