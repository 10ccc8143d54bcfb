"""The choices that fields of both kinds offer; the values are those of the CRDs."""

from enum import StrEnum

from dtool_s3.settings import Addressing, ConditionalWrites


class EncryptionMode(StrEnum):
    """Server-side encryption asked for with every write."""

    SSE_S3 = "SSE-S3"
    SSE_KMS = "SSE-KMS"


class FromNamespaces(StrEnum):
    """Which namespaces a bucket admits, as in the Gateway API."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class TolerationOperator(StrEnum):
    """As in v1.Toleration."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """As in v1.Taint."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class SelectorOperator(StrEnum):
    """As in metav1.LabelSelectorRequirement."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class ReadAccess(StrEnum):
    """What admitted namespaces may read."""

    PREFIX = "Prefix"
    BUCKET = "Bucket"


class AccessMode(StrEnum):
    """Whether the operator writes to the bucket at all."""

    READ_WRITE = "ReadWrite"
    READ_ONLY = "ReadOnly"


class ImportMode(StrEnum):
    """Which datasets found in the bucket become DtoolDatasets."""

    NEVER = "Never"
    FROZEN = "Frozen"


class Identity(StrEnum):
    """Which uuid a copy has."""

    PRESERVE = "Preserve"
    NEW = "New"


class DeletionPolicy(StrEnum):
    """What happens to the data when the object is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class VerifyMethod(StrEnum):
    """How a dataset is verified."""

    LISTING = "Listing"
    CONTENT = "Content"


class Layout(StrEnum):
    """What a volume used as source holds."""

    FILES = "Files"
    DATASET = "Dataset"


class DatasetState(StrEnum):
    """Summary for people; programs use the conditions."""

    PENDING = "Pending"
    COPYING = "Copying"
    VERIFYING = "Verifying"
    PROTO = "Proto"
    FREEZING = "Freezing"
    FROZEN = "Frozen"
    DAMAGED = "Damaged"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


class SourceKind(StrEnum):
    """The fields of `Source`, of which exactly one is set."""

    URI = "uri"
    STORED = "stored"
    DATASET = "dataset"
    OBJECTS = "objects"
    VOLUME = "volume"


__all__ = [
    "AccessMode",
    "Addressing",
    "ConditionalWrites",
    "DatasetState",
    "DeletionPolicy",
    "EncryptionMode",
    "FromNamespaces",
    "Identity",
    "ImportMode",
    "Layout",
    "ReadAccess",
    "SelectorOperator",
    "SourceKind",
    "VerifyMethod",
]
