"""Tries everything that datasets need of a bucket and says what to do; owns the questions and their order.

Writes two small objects and removes them: the self-test's under the configured prefix, and one whose key
starts like a registration key. Shows where each setting came from, and no secret.
"""

import secrets
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from urllib.parse import urlsplit

from dtool_s3.configuration import Configuration, Configure, check_installation, open_store
from dtool_s3.errors import (
    AccessDenied,
    BucketNotFound,
    BucketUnreachable,
    ClockSkewed,
    CredentialsRejected,
    DtoolS3Error,
    InvalidURI,
    NotSupported,
    RequestRefused,
    SettingsError,
    StorageError,
)
from dtool_s3.layout import REGISTRATION_KEY_PREFIX
from dtool_s3.selftest import PROBE_NAME, SelfTestResult, check_store
from dtool_s3.settings import ConditionalWrites, ambient_credentials
from dtool_s3.store.protocol import IF_ABSENT, Store, UrlStore
from dtool_s3.uri import BaseURI, parse_uri

#: No UUID: no listing of datasets takes it for a registration key.
REGISTRATION_PROBE_KEY = f"{REGISTRATION_KEY_PREFIX}selftest"
_MD5_PROVES = (
    "An ETag equal to the manifest's MD5 proves an item's bytes; other items, such as those uploaded in "
    "parts, are unproven until they are read"
)
#: S3 refuses requests whose clock is 15 minutes off.
CLOCK_TOLERANCE_SECONDS = 120
_PRESIGNED_SECONDS = 60


class Status(StrEnum):
    """How a question was answered."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One question and its answer; `advice` says what to do, `error` is what was raised."""

    name: str
    status: Status
    message: str
    advice: str = ""
    error: DtoolS3Error | None = None


async def examine(base_uri: str, *, configure: Configure) -> list[Finding]:
    """Ask everything that can still be asked; never raises for what it finds. Raises InvalidURI."""
    uri = parse_uri(base_uri)
    if not isinstance(uri, BaseURI):
        raise InvalidURI(f"{base_uri!r} names a dataset where a bucket is meant: s3://{uri.bucket}")
    findings = [_installation()]
    try:
        configuration = configure(uri.bucket)
    except SettingsError as error:
        return [*findings, _failed("configuration", error)]
    findings += _settings(configuration)
    store = open_store(configuration)
    reached = await _ask("bucket", _reach(store))
    findings.append(reached)
    if reached.status is Status.FAIL:
        return findings
    writing = await _writing(store, configuration)
    findings += [*writing, await _ask("registration keys", _register(store))]
    if writing[0].status is not Status.FAIL:
        findings.append(await _ask("signed URLs", _sign(store, configuration), failure=Status.WARN))
    return findings


async def _ask(name: str, answer: Awaitable[Finding], *, failure: Status = Status.FAIL) -> Finding:
    try:
        return await answer
    except DtoolS3Error as error:
        return _failed(name, error, failure)


def _failed(name: str, error: DtoolS3Error, status: Status = Status.FAIL) -> Finding:
    return Finding(name, status, f"{error.reason}: {error}", _ADVICE.get(type(error), ""), error)


_CHECK_ENDPOINT = "check DTOOL_S3_ENDPOINT_<bucket>, or endpoint_url in ~/.aws/config"
_ADVICE: dict[type[DtoolS3Error], str] = {
    AccessDenied: "give these keys the rights that datasets need: `Prefixes and access` in the documentation",
    BucketNotFound: "check the bucket's name and DTOOL_S3_ENDPOINT_<bucket>",
    BucketUnreachable: _CHECK_ENDPOINT,
    RequestRefused: _CHECK_ENDPOINT,
    ClockSkewed: "set this machine's clock",
    CredentialsRejected: "check the keys, and whether they belong to this endpoint",
    SettingsError: "correct the variable that is named",
}


def _installation() -> Finding:
    versions = []
    for package in ("dtool-operator", "dtoolcore", "botocore", "obstore"):
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    try:
        check_installation()
    except SettingsError as error:
        return Finding("installation", Status.FAIL, str(error), "run the two commands", error)
    return Finding("installation", Status.OK, ", ".join(versions))


def _settings(configuration: Configuration) -> list[Finding]:
    """Show what was resolved, without secrets, and where each variable was found."""
    endpoint, url = configuration.endpoint, configuration.endpoint.url
    host = urlsplit(url).netloc.rpartition("@")[2] if url else "as the AWS configuration says"
    if configuration.credentials is ambient_credentials:
        keys = f"profile {endpoint.profile}" if endpoint.profile else "the AWS chain"
    else:
        keys = "given"
    encryption = endpoint.encryption.mode.value if endpoint.encryption else "the bucket's own"
    message = (
        f"endpoint {host}, region {endpoint.region or 'default'}, keys: {keys}, prefix "
        f"{configuration.prefix!r}, addressing {endpoint.addressing.value}, encryption: {encryption}, "
        f"conditional writes {endpoint.conditional_writes.value}"
    )
    origins = [
        Finding("variable", Status.OK, f"{name} from {origin}")
        for name, origin in sorted(configuration.origins.items())
    ]
    plain = url is not None and url.startswith("http://") and not _is_loopback(url)
    status, advice = (Status.WARN, "use https:// for anything but tests") if plain else (Status.OK, "")
    return [Finding("configuration", status, message, advice), *origins]


def _is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in {"localhost", "127.0.0.1", "::1"}


async def _reach(store: Store) -> Finding:
    result = await check_store(store, prefix=None, conditional_writes=ConditionalWrites.REQUIRED)
    return Finding("bucket", Status.OK, str(result))


async def _writing(store: Store, configuration: Configuration) -> list[Finding]:
    """Try the prefix; tell what the probe's answer shows of clock and ETags."""
    try:
        prefix = configuration.check_prefix()
        result = await check_store(
            store, prefix=prefix, conditional_writes=configuration.endpoint.conditional_writes
        )
    except DtoolS3Error as error:
        found = _failed("writing", error)
        if isinstance(error, NotSupported) and "BestEffort" in str(error):
            name = f"DTOOL_S3_CONDITIONAL_WRITES_{configuration.bucket}"
            found = Finding(
                "conditional writes",
                Status.FAIL,
                str(error),
                f"where nobody else writes the same datasets, set {name}=BestEffort",
                error,
            )
        return [found]
    status = Status.WARN if result.ignored else Status.OK
    advice = "see that never two writers make or freeze the same dataset" if result.ignored else ""
    return [Finding("writing", status, str(result), advice), _clock(result), _etags(result)]


def _clock(result: SelfTestResult) -> Finding:
    """Compare this clock with the time that the server gave the probe."""
    if result.written_at is None or result.read_at is None:
        return Finding("clock", Status.OK, "not asked")
    offset = (result.read_at - result.written_at).total_seconds()
    message = f"this clock is {offset:+.0f} s from the server's"
    if abs(offset) > CLOCK_TOLERANCE_SECONDS:
        return Finding("clock", Status.WARN, message, "set this machine's clock: S3 refuses at 15 minutes")
    return Finding("clock", Status.OK, message)


def _etags(result: SelfTestResult) -> Finding:
    if result.has_md5_etags:
        return Finding("ETags", Status.OK, "the MD5 of what was written in one piece. " + _MD5_PROVES)
    return Finding(
        "ETags",
        Status.WARN,
        "no MD5s (encryption with KMS, or the server's own kind)",
        "a listing proves no bytes, only sizes: use `dtool-s3 verify --method content` for bytes",
    )


async def _register(store: Store) -> Finding:
    """Create and remove a key that starts like a registration key; one that is there is not ours."""
    body = secrets.token_hex(8).encode()
    await store.delete(REGISTRATION_PROBE_KEY)
    await store.put(REGISTRATION_PROBE_KEY, body, precondition=IF_ABSENT)
    await store.delete(REGISTRATION_PROBE_KEY)
    made = f"keys that start with {REGISTRATION_KEY_PREFIX!r} can be made"
    return Finding("registration keys", Status.OK, made)


async def _sign(store: Store, configuration: Configuration) -> Finding:
    """Read an object by a signed URL, as a stranger would."""
    if not isinstance(store, UrlStore):
        raise NotSupported("this store gives no URLs")
    key, body = f"{configuration.prefix}{PROBE_NAME}", secrets.token_hex(32).encode()
    await store.put(key, body)
    try:
        url = await store.presign("GET", key, expires_seconds=_PRESIGNED_SECONDS)
        found = await store.fetch_unsigned(url, max_bytes=1024)
    finally:
        with suppress(StorageError):
            await store.delete(key)
    if found != body:
        raise NotSupported("a signed URL answers with something else than the object")
    return Finding("signed URLs", Status.OK, "a signed URL answers without credentials")
