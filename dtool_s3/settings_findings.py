"""What the doctor says of variables, the AWS chain and the cache directory, before a bucket is asked.

Shows where each setting came from, and no secret: of an access key's id its beginning only. Writes nothing.
"""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from dtool_s3.configuration import Configuration
from dtool_s3.errors import DtoolS3Error
from dtool_s3.finding import Finding, Status, failed
from dtool_s3.settings import Credentials, Endpoint, ambient_credentials

VARIABLE_PREFIX = "DTOOL_S3_"
#: Variables as they stand, and those that end with `_<bucket>`.
PLAIN_VARIABLES = frozenset({"DTOOL_S3_DATASET_PREFIX", "DTOOL_S3_PUBLISH_EXPIRY"})
BUCKET_VARIABLES = frozenset(
    VARIABLE_PREFIX + part
    for part in (
        "ACCESS_KEY_ID",
        "ADDRESSING",
        "CA_BUNDLE",
        "CONDITIONAL_WRITES",
        "DATASET_PREFIX",
        "ENCRYPTION",
        "ENDPOINT",
        "KMS_KEY_ID",
        "PROFILE",
        "REGION",
        "SECRET_ACCESS_KEY",
        "SESSION_TOKEN",
    )
)
_SHOWN_OF_AN_ID = 4


def find_unknown_variables(origins: Mapping[str, str], bucket: str) -> list[Finding]:
    """Warn of variables that nothing reads, with the known name that is nearest; `origins` by variable."""
    findings = []
    for name, origin in sorted(origins.items()):
        if not name.startswith(VARIABLE_PREFIX) or name in PLAIN_VARIABLES:
            continue
        if any(name.startswith(f"{known}_") for known in BUCKET_VARIABLES):
            continue
        meant = _nearest(name, bucket)
        advice = f"is {meant} meant?" if meant else "see the configuration section of the documentation"
        findings.append(Finding("variable", Status.WARN, f"{name} from {origin} is read by nothing", advice))
    return findings


def _nearest(name: str, bucket: str) -> str:
    """Return the variable that a name may stand for, of the bucket at its end or else `bucket`; or `""`."""
    start, _, end = name.rpartition("_")
    has_bucket = end != end.upper()  # names of buckets are in lower case
    known = BUCKET_VARIABLES if has_bucket else BUCKET_VARIABLES | PLAIN_VARIABLES
    near = get_close_matches(start if has_bucket else name, sorted(known), n=1)
    if not near or near[0] in PLAIN_VARIABLES:
        return "".join(near)
    return f"{near[0]}_{end if has_bucket else bucket}"


def describe_settings(configuration: Configuration) -> list[Finding]:
    """Show what was resolved, without secrets, and where each variable was found."""
    endpoint, url = configuration.endpoint, configuration.endpoint.url
    shown = _without_user(url) if url else "as the AWS configuration says"
    encryption = endpoint.encryption.mode.value if endpoint.encryption else "the bucket's own"
    message = (
        f"endpoint {shown}, region {endpoint.region or 'default'}, keys: {_keys(configuration)}, prefix "
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


def describe_chain(endpoint: Endpoint) -> Finding:
    """Tell which endpoint, profile and key the AWS chain decides on; blocks while it looks for keys."""
    from dtool_s3.store.boto.client import build_client, open_session  # noqa: PLC0415 - costs 0.1 s

    name = "AWS chain"
    try:
        session = open_session(endpoint)
        client = build_client(session, endpoint, None, max_connections=1, read_timeout_seconds=10)
        found = session.get_credentials()
    except DtoolS3Error as error:
        return failed(name, error)
    url = _without_user(str(client.meta.endpoint_url))
    message = f"endpoint {url}, profile {session.profile or 'default'}"
    client.close()
    if found is None:
        advice = "give keys: DTOOL_S3_ACCESS_KEY_ID_<bucket> and its likes, or ~/.aws/credentials"
        return Finding(name, Status.WARN, f"{message}, no keys were found", advice)
    key_id = _shortened(found.get_frozen_credentials().access_key)
    return Finding(name, Status.OK, f"{message}, access key id {key_id} (from {found.method})")


def check_cache_directory(directory: Path) -> Finding:
    """Tell whether items can be fetched into the cache directory, or into a new one there."""
    name = "cache directory"
    nearest = next((p for p in (directory, *directory.absolute().parents) if os.path.lexists(p)), directory)
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return Finding(name, Status.OK, f"{str(directory)!r} can be written")
    why = "may not be written" if nearest.is_dir() else "is no directory"
    return Finding(
        name,
        Status.WARN,
        f"{str(directory)!r} cannot be used: {str(nearest)!r} {why}",
        "set DTOOL_CACHE_DIRECTORY: dtool fetches items into it",
    )


def _keys(configuration: Configuration) -> str:
    if isinstance(configuration.credentials, Credentials):
        return f"given, access key id {_shortened(configuration.credentials.access_key_id)}"
    if configuration.credentials is not ambient_credentials:
        return "given by the program"
    profile = configuration.endpoint.profile
    return f"profile {profile}" if profile else "the AWS chain"


def _shortened(access_key_id: str) -> str:
    return f"{access_key_id[:_SHOWN_OF_AN_ID]}…"


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in {"localhost", "127.0.0.1", "::1"}
