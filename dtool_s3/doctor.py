"""Tries everything that datasets need of a bucket and says what to do; owns the questions and their order.

Writes two small objects and removes them: the self-test's under the configured prefix, and one whose key
starts like a registration key.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable
from contextlib import suppress
from importlib import metadata

from dtool_s3.configuration import Configuration, Configure, check_installation, open_store
from dtool_s3.errors import (
    AccessDenied,
    DtoolS3Error,
    InvalidURI,
    NotFound,
    NotSupported,
    SettingsError,
    StorageError,
)
from dtool_s3.finding import Finding, Status, failed
from dtool_s3.layout import REGISTRATION_KEY_PREFIX
from dtool_s3.selftest import PROBE_NAME, SelfTestResult, check_store
from dtool_s3.settings import ConditionalWrites, ambient_credentials
from dtool_s3.settings_findings import (
    VARIABLE_PREFIX,
    check_cache_directory,
    describe_chain,
    describe_settings,
    find_unknown_variables,
)
from dtool_s3.store.protocol import IF_ABSENT, Store, UrlStore
from dtool_s3.uri import BaseURI, parse_uri
from dtool_s3.variable import Variables

#: No UUID: no listing of datasets takes it for a registration key.
REGISTRATION_PROBE_KEY = f"{REGISTRATION_KEY_PREFIX}selftest"
_MD5_PROVES = (
    "An ETag equal to the manifest's MD5 proves an item's bytes; other items, such as those uploaded in "
    "parts, are unproven until they are read"
)
#: S3 refuses requests whose clock is 15 minutes off.
CLOCK_TOLERANCE_SECONDS = 120
_PRESIGNED_SECONDS = 60


async def examine(
    base_uri: str, *, configure: Configure, config_path: str | os.PathLike[str] | None = None
) -> list[Finding]:
    """Ask everything that can still be asked; never raises for what it finds. Raises InvalidURI.

    `config_path`: the JSON file whose variables are looked at beside the environment's; None: dtool's own.
    """
    uri = parse_uri(base_uri)
    if not isinstance(uri, BaseURI):
        raise InvalidURI(f"{base_uri!r} names a dataset where a bucket is meant: s3://{uri.bucket}")
    findings = [_installation()]
    with suppress(SettingsError):  # a file that cannot be read is a finding of the configuration
        findings += find_unknown_variables(Variables(config_path).names(VARIABLE_PREFIX), uri.bucket)
    try:
        configuration = configure(uri.bucket)
    except SettingsError as error:
        return [*findings, failed("configuration", error)]
    findings += describe_settings(configuration)
    if configuration.store is None and configuration.credentials is ambient_credentials:
        findings.append(await asyncio.to_thread(describe_chain, configuration.endpoint))
    findings.append(await asyncio.to_thread(check_cache_directory, configuration.cache_directory))
    store = open_store(configuration)
    reached = await _ask("bucket", _reach(store))
    findings.append(reached)
    if reached.status is Status.FAIL:
        return findings
    writing = await _writing(store, configuration)
    if isinstance(writing[0].error, AccessDenied):
        writing.append(await _ask("reading", _read(store, configuration)))
    findings += [*writing, await _ask("registration keys", _register(store))]
    if writing[0].status is not Status.FAIL:
        findings.append(await _ask("signed URLs", _sign(store, configuration), failure=Status.WARN))
    return findings


async def _ask(name: str, answer: Awaitable[Finding], *, failure: Status = Status.FAIL) -> Finding:
    try:
        return await answer
    except DtoolS3Error as error:
        return failed(name, error, failure)


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


async def _reach(store: Store) -> Finding:
    result = await check_store(store, prefix=None, conditional_writes=ConditionalWrites.REQUIRED)
    return Finding("bucket", Status.OK, str(result))


async def _read(store: Store, configuration: Configuration) -> Finding:
    """Try to read where writing was denied; a key that is not there may be read."""
    with suppress(NotFound):
        await store.get(f"{configuration.prefix}{PROBE_NAME}", max_bytes=1024)
    return Finding(
        "reading",
        Status.OK,
        "keys that only read are enough for `dtool-s3 ls`, `verify` and `cp` from this bucket",
    )


async def _writing(store: Store, configuration: Configuration) -> list[Finding]:
    """Try the prefix; tell what the probe's answer shows of clock and ETags."""
    try:
        prefix = configuration.check_prefix()
        result = await check_store(
            store, prefix=prefix, conditional_writes=configuration.endpoint.conditional_writes
        )
    except DtoolS3Error as error:
        found = failed("writing", error)
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
