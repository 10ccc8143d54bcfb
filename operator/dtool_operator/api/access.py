"""How a bucket is reached: certificates, access keys, encryption. References only, never a secret itself."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from dtool_operator.api.choice import EncryptionMode
from dtool_operator.api.schema import ApiModel, ObjectName


class ConfigMapKeyRef(ApiModel):
    """A key of a ConfigMap in the bucket object's namespace."""

    name: ObjectName
    """Name of the ConfigMap."""

    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "ca.crt"
    """Key in its data."""


class CaBundle(ApiModel):
    """Certificates to trust for the endpoint."""

    config_map_key_ref: ConfigMapKeyRef
    """Where the PEM text is."""


class SecretRef(ApiModel):
    """A Secret in the bucket object's namespace."""

    name: ObjectName
    """Name of the Secret."""


class Credentials(ApiModel):
    """Where the access keys are."""

    secret_ref: SecretRef
    """A Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if needed, AWS_SESSION_TOKEN."""


class Encryption(ApiModel):
    """Server-side encryption of what the operator writes."""

    mode: EncryptionMode
    """SSE-S3 or SSE-KMS."""

    kms_key_id: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^[!-~]+$")] | None = None
    """Key for SSE-KMS; absent: the bucket's default key."""

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.kms_key_id is not None and self.mode is not EncryptionMode.SSE_KMS:
            raise ValueError("kmsKeyId goes with mode SSE-KMS only")
        return self
