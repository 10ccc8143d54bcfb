"""The only reader of Secrets: from a bucket's `credentials.secretRef` to keys; keeps nothing.

Secrets are read from the bucket object's own namespace and are not watched: whoever needs keys reads them
again and compares the version.
"""

from dataclasses import dataclass

from dtool_operator.adapters.cluster import Cluster, SecretData
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import OperatorError
from dtool_s3.settings import Credentials, Secret


@dataclass(frozen=True, slots=True)
class BucketCredentials:
    """Keys of a bucket and the version of the Secret they came from; None: the operator's own identity."""

    version: str
    credentials: Credentials | None


AMBIENT = BucketCredentials("ambient", None)


async def read_credentials(cluster: Cluster, bucket: DtoolBucket) -> BucketCredentials:
    """Read the keys of a bucket. Raises OperatorError: SecretNotFound, SecretForbidden or SecretInvalid."""
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
        raise OperatorError(Reason.SECRET_INVALID, f"Secret {namespace}/{name} has no value for {key}.")
    return value


def _read(secret: SecretData, key: str, namespace: str, name: str) -> str:
    """Read a value without the line end that `echo` and files give; none of ours has other spaces in it."""
    value = secret.data.get(key, "").strip()
    if not value.isprintable() or " " in value:
        message = f"The value of {key} in Secret {namespace}/{name} has spaces or line breaks in it."
        raise OperatorError(Reason.SECRET_INVALID, message)
    return value
