"""One bucket as obstore's blocking calls see it: the only module that imports obstore.

Sends every request once and names no failure: what is not an answer to rely on is `Unanswered`. Blocking
calls on purpose: obstore's coroutines cost the same, but let the interpreter abort now and then when a
process ends soon after (its threads still hold Python objects then). Never used in a forked child.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, GenericError
from obstore.store import S3Store as ObstoreBucket

from dtool_s3.digest import md5_hexdigest
from dtool_s3.errors import NotFound, RequestRefused, StorageError
from dtool_s3.settings import Credentials, Encryption, EncryptionMode
from dtool_s3.store.boto.answer import lowered
from dtool_s3.store.object_loop.outcome import AnswerLost, Unanswered, UnprovenEtag
from dtool_s3.store.protocol import Body, ListedObject, ObjectInfo, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obstore import GetOptions, GetResult
    from obstore.store import ClientConfig, S3Config, S3Credential

    from dtool_s3.store.boto.target import Target

#: Of larger objects obstore, and the step to Python, make copies; botocore reads to where they stay.
MAX_GET_BYTES = 8 * 1024**2

CONNECT_TIMEOUT = timedelta(seconds=10)
# obstore knows no "none", and 30 s would be the default, bodies included
_TOTAL_TIMEOUT = timedelta(days=7)

_FAILURES = (BaseError, OSError, ValueError)
# in obstore's texts, which have no fields; where they change, a put is repeated that need not be
_REFUSED = "Server returned non-2xx status code"
_NO_SUCH_KEY = "<Code>NoSuchKey</Code>"
_MD5 = re.compile(r"\A[0-9a-f]{32}\Z")
#: Names of attributes that are headers; user metadata come in lower case.
_HEADERS = frozenset(
    {
        "Cache-Control",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Language",
        "Content-Type",
        "Storage-Class",
    }
)


class ObjectBucket:
    """Requests to one target; renewed credentials are noticed at every request. Raises `Unanswered`."""

    def __init__(self, target: Target, encryption: Encryption | None, read_timeout_seconds: int) -> None:
        self.target = target
        self._read_timeout_seconds = read_timeout_seconds
        self._encryption = encryption
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._stores: dict[str, ObstoreBucket] = {}

    def head(self, key: str) -> ObjectInfo:
        """HEAD an object. Raises NotFound."""
        return _info(key, self._fetch("head", key, {"head": True}))

    def get(self, key: str, max_bytes: int) -> StoredObject | None:
        """Read an object whole; None: its size is above MAX_GET_BYTES, and nothing was read.

        Raises NotFound, and RequestRefused before reading more than `max_bytes`.
        """
        found = self._fetch("get", key, {})
        info = _info(key, found)
        if info.size_bytes > max_bytes:
            message = f"{self._place(key)} has {info.size_bytes} bytes, more than {max_bytes}"
            raise RequestRefused(message, code="EntityTooLarge")
        if info.size_bytes > MAX_GET_BYTES:
            return None
        return StoredObject(info, _body(found, info.size_bytes))

    def get_range(self, key: str, first_byte: int, size_bytes: int, etag: str) -> bytes:
        """Read a part of an object that still has `etag`. Raises NotFound."""
        wanted = (first_byte, first_byte + size_bytes)
        found = self._fetch("get_range", key, {"range": wanted, "if_match": f'"{etag}"'})
        if _info(key, found).etag != etag or found.range != wanted:
            raise Unanswered
        return _body(found, size_bytes)

    def put(self, key: str, body: Body, metadata: Mapping[str, str]) -> ObjectInfo:
        """Write an object with its SHA-256. Raises AnswerLost, UnprovenEtag where it shows other bytes."""
        store = self._store()
        try:
            answer = obstore.put(store, key, body, attributes=dict(metadata), use_multipart=False)
        except _FAILURES as error:
            is_lost = type(error) is GenericError and _REFUSED not in str(error)
            raise (AnswerLost if is_lost else Unanswered) from None
        etag = _etag(answer["e_tag"])
        if _MD5.match(etag) and etag != md5_hexdigest(body):
            raise UnprovenEtag
        return ObjectInfo(key, len(body), etag, datetime.now(UTC), lowered(metadata))

    def copy(self, source_bucket: str, source: ListedObject, key: str) -> None:
        """Copy an object on the server, with its metadata.

        A store's bucket is the one that its copies come from: requests go to its endpoint, wherever that is,
        and that is this target's.
        """
        store = self._store(source_bucket)
        with _unanswered():
            obstore.copy(store, source.key, key)

    def _place(self, key: str) -> str:
        return f"s3://{self.target.bucket}/{key}"

    def _fetch(self, operation: str, key: str, options: GetOptions) -> GetResult:
        store = self._store()
        try:
            return obstore.get(store, key, options=options)
        except FileNotFoundError as error:
            raise self._missing(operation, key, str(error)) from None
        except _FAILURES:
            raise Unanswered from None

    def _missing(self, operation: str, key: str, told: str) -> NotFound | Unanswered:
        """Name a missing object; a missing bucket has the same status, and is named by botocore."""
        what = f"{operation} of {self._place(key)}"
        if operation == "head":  # no body that says which
            return NotFound(f"{what}: HTTP 404", code="404")
        if _NO_SUCH_KEY in told:
            return NotFound(f"{what}: NoSuchKey (HTTP 404)", code="NoSuchKey")
        return Unanswered()

    def _store(self, bucket: str | None = None) -> ObstoreBucket:
        try:
            credentials = self.target.read_credentials()
        except StorageError:
            raise Unanswered from None
        name = bucket or self.target.bucket
        with self._lock:
            if credentials != self._credentials:
                self._stores.clear()
                self._credentials = credentials
            if name not in self._stores:
                self._stores[name] = _open_store(
                    name, self.target, credentials, self._encryption, self._read_timeout_seconds
                )
            return self._stores[name]


@contextmanager
def _unanswered() -> Iterator[None]:
    try:
        yield
    except _FAILURES:
        raise Unanswered from None


def _info(key: str, found: GetResult) -> ObjectInfo:
    meta, attributes = found.meta, found.attributes
    metadata = {name: value for name, value in attributes.items() if name not in _HEADERS}
    return ObjectInfo(
        key, meta["size"], _etag(meta["e_tag"]), meta["last_modified"].astimezone(UTC), metadata
    )


def _etag(told: str | None) -> str:
    if not told:
        raise Unanswered
    return told.strip('"')


def _body(found: GetResult, size_bytes: int) -> bytes:
    with _unanswered():
        body = bytes(found.bytes())
    if len(body) != size_bytes:
        raise Unanswered
    return body


def _open_store(
    bucket: str,
    target: Target,
    credentials: Credentials,
    encryption: Encryption | None,
    read_timeout_seconds: int,
) -> ObstoreBucket:
    """Open a store with every setting said: obstore takes what is left open from AWS_* variables."""
    token = credentials.session_token
    keys: S3Credential = {
        "access_key_id": credentials.access_key_id,
        "secret_access_key": credentials.secret_access_key.reveal(),
        "token": None if token is None else token.reveal(),
        "expires_at": None,  # asked for anew before each request
    }
    config: S3Config = {
        "endpoint": target.url,
        "aws_endpoint_url_s3": target.url,
        "virtual_hosted_style_request": True,
        "region": target.region,
        # verified by AWS and by servers that pass over the hash that the signature holds
        "checksum_algorithm": "SHA256",
        "unsigned_payload": False,
        "skip_signature": False,
        "s3_express": False,
        "request_payer": False,
    }
    if encryption is not None:
        config |= _encryption(encryption)
    with _unanswered():
        return ObstoreBucket(
            bucket,
            config=config,
            client_options=_client_options(target, read_timeout_seconds),
            retry_config={"max_retries": 0},
            credential_provider=lambda: keys,
        )


def _encryption(encryption: Encryption) -> S3Config:
    match encryption.mode:
        case EncryptionMode.SSE_S3:
            return {"server_side_encryption": "AES256"}
        case EncryptionMode.SSE_KMS:
            config: S3Config = {"server_side_encryption": "aws:kms"}
            if encryption.kms_key_id is not None:
                config["sse_kms_key_id"] = encryption.kms_key_id
            return config


def _client_options(target: Target, read_timeout_seconds: int) -> ClientConfig:
    """Options of the HTTP client; its read timeout counts from the start of a request, body included."""
    options: ClientConfig = {
        "allow_http": target.ca_bundle is None,
        "allow_invalid_certificates": False,
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": timedelta(seconds=read_timeout_seconds),
        "timeout": _TOTAL_TIMEOUT,
        "user_agent": "dtool-s3",
        # no proxy, as botocore decided: one is named, and everything is excluded from it, because else those
        # of the environment and of the system count
        "proxy_url": "http://127.0.0.1:9",
        "proxy_excludes": urlsplit(target.url).hostname or "",
    }
    if target.ca_bundle is not None:
        options["root_certificate"] = Path(target.ca_bundle).read_bytes()
    return options
