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
    token = secret.data.get("AWS_SESSION_TOKEN")
    return BucketCredentials(
        secret.resource_version,
        Credentials(
            access_key_id=_require(secret, "AWS_ACCESS_KEY_ID", bucket.namespace, name),
            secret_access_key=Secret(_require(secret, "AWS_SECRET_ACCESS_KEY", bucket.namespace, name)),
            session_token=Secret(token) if token else None,
        ),
    )


def _require(secret: SecretData, key: str, namespace: str, name: str) -> str:
    value = secret.data.get(key, "").strip()
    if not value:
        raise OperatorError(Reason.SECRET_INVALID, f"Secret {namespace}/{name} has no value for {key}.")
    return value
