"""The only reader of Secrets: from a bucket's `credentials` and `caBundle` to keys and certificates.

Keeps nothing. Both are read from the bucket object's own namespace and are not watched: whoever needs them
reads them again and compares the version.
"""

import ssl
from dataclasses import dataclass, field

from dtool_operator.adapters.cluster import Cluster, SecretData
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import OperatorError
from dtool_s3.settings import Credentials, Secret

#: More than twice what all public certificates take.
MAX_CA_BUNDLE_CHARACTERS = 512 * 1024


@dataclass(frozen=True, slots=True)
class BucketCredentials:
    """What a bucket is spoken to with, and the version of the Secret and ConfigMap that it came from.

    `credentials` None: the operator's own identity. `ca_bundle`: PEM text; None: the public certificates.
    """

    version: str
    credentials: Credentials | None
    ca_bundle: str | None = field(default=None, repr=False)


AMBIENT = BucketCredentials("ambient", None)


async def read_credentials(cluster: Cluster, bucket: DtoolBucket) -> BucketCredentials:
    """Read the keys of a bucket and the certificates that it trusts.

    Raises OperatorError: SecretNotFound, SecretForbidden, SecretInvalid or CABundleInvalid.
    """
    found = await _read_keys(cluster, bucket)
    if bucket.spec.ca_bundle is None:
        return found
    ref = bucket.spec.ca_bundle.config_map_key_ref
    config_map = await cluster.read_config_map(bucket.namespace, ref.name)
    text = config_map.data.get(ref.key, "")
    problem = find_ca_problem(text)
    if problem is not None:
        where = f"{ref.key} in ConfigMap {bucket.namespace}/{ref.name}"
        raise OperatorError(Reason.CA_BUNDLE_INVALID, f"The value of {where} {problem}.")
    return BucketCredentials(f"{found.version}+{config_map.resource_version}", found.credentials, text)


def find_ca_problem(text: str) -> str | None:
    """Say what keeps a text from being certificates in PEM; None: nothing."""
    if not text:
        return "is missing or empty"
    if len(text) > MAX_CA_BUNDLE_CHARACTERS:
        return f"is longer than {MAX_CA_BUNDLE_CHARACTERS} characters"
    certificates = text.encode("ascii", "ignore").decode("ascii")  # comments may hold anything
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError):
        return "holds no certificates in PEM"
    return None


async def _read_keys(cluster: Cluster, bucket: DtoolBucket) -> BucketCredentials:
    if bucket.spec.credentials is None:
        return AMBIENT
    name = bucket.spec.credentials.secret_ref.name
    secret = await cluster.read_secret(bucket.namespace, name)
    token = _read(secret, "AWS_SESSION_TOKEN", bucket.namespace, name)
    return BucketCredentials(
        secret.resource_version,
        Credentials(
            access_key_id=_require(secret, "AWS_ACCESS_KEY_ID", bucket.namespace, name),
            secret_access_key=Secret(_require(secret, "AWS_SECRET_ACCESS_KEY", bucket.namespace, name)),
            session_token=Secret(token) if token else None,
        ),
    )


def _require(secret: SecretData, key: str, namespace: str, name: str) -> str:
    value = _read(secret, key, namespace, name)
    if not value:
        message = f"Secret {namespace}/{name} has no value for {key}: add it."
        raise OperatorError(Reason.SECRET_INVALID, message)
    return value


def _read(secret: SecretData, key: str, namespace: str, name: str) -> str:
    """Read a value without the line end that `echo` and files give; none of ours has other spaces in it."""
    value = secret.data.get(key, "").strip()
    if not value.isprintable() or " " in value:
        message = f"The value of {key} in Secret {namespace}/{name} has spaces or line breaks in it."
        raise OperatorError(Reason.SECRET_INVALID, message)
    return value
