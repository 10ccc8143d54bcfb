"""Every reason that a condition or Event may carry, with its meaning. docs/api.md prints this list."""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """A fact about an object, in CamelCase. Programs compare them; the message says what to do."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Keep the meaning beside the value; `Reason("Frozen")` looks the member up and makes none."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    # Going well
    SUCCEEDED = "Succeeded", "Everything the spec asks for is so."
    FROZEN = "Frozen", "The dataset is complete and frozen."
    PROTO = "Proto", "The dataset is a proto dataset, open for others to fill, as the spec asks."
    SYNCED = "Synced", "README, tags and annotations are as the spec asks."
    CONTENT_VERIFIED = "ContentVerified", "Every item's content was proved by its ETag or by reading it."
    WITHIN_PREFIXES = "WithinPrefixes", "Every dataset lies under an admitted or acknowledged prefix."

    # Under way
    PENDING = "Pending", "Accepted; the work has not begun yet."
    QUEUED = "Queued", "Waits for its turn: the limits of the bucket or of the operator are reached."
    COPYING = "Copying", "Items are being copied."
    VERIFYING = "Verifying", "The items are being listed, hashed or read."
    FREEZING = "Freezing", "The manifest is being written and the dataset frozen."
    DELETING = "Deleting", "The object is being deleted and its unfinished or unwanted data removed."
    PROGRESSING = "Progressing", "The operator works towards what the spec asks."

    # The place
    BUCKET_NOT_FOUND = (
        "BucketNotFound",
        "On a dataset: no DtoolBucket of this name exists. On a bucket: S3 knows no bucket of this name.",
    )
    BUCKET_NOT_READY = (
        "BucketNotReady",
        "The DtoolBucket is not Ready, or is suspended; its conditions say why.",
    )
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed", "The DtoolBucket does not admit the dataset's namespace."
    READ_ONLY_BUCKET = "ReadOnlyBucket", "The DtoolBucket is ReadOnly; nothing is written there."
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        "One more dataset would exceed the bucket's limit per namespace, or the endpoint has no room left.",
    )
    PREFIX_OWNED_BY_OTHER = (
        "PrefixOwnedByOther",
        "The prefix carries the owner marker of another namespace or cluster; nothing there is touched.",
    )
    PREFIX_OVERLAPS = (
        "PrefixOverlaps",
        "The prefix equals or nests with one of another bucket object or namespace.",
    )
    UUID_TAKEN = "UUIDTaken", "The registration key of this uuid names another prefix of the bucket."
    ALREADY_IN_BUCKET = "AlreadyInBucket", "The dataset already is in this bucket under another prefix."
    CLAIMED_BY_ANOTHER = (
        "ClaimedByAnother",
        "An older DtoolDataset describes the same dataset at the same place.",
    )
    REGISTRATION_HIJACKED = (
        "RegistrationHijacked",
        "The registration key of a dataset that is here is gone, or names another prefix.",
    )
    OUTSIDE_ANY_PREFIX = "OutsideAnyPrefix", "A dataset lies outside every admitted and acknowledged prefix."
    REGISTRATION_MISSING = "RegistrationMissing", "A dataset under a prefix has no registration key."

    # The source
    SOURCE_NOT_FOUND = "SourceNotFound", "There is no dataset where the source points."
    SOURCE_NOT_ALLOWED = "SourceNotAllowed", "No DtoolBucket lets this namespace read the source."
    SOURCE_AMBIGUOUS = (
        "SourceAmbiguous",
        "Two endpoints have a bucket of the source's name; use source.stored.",
    )
    SOURCE_NOT_FROZEN = "SourceNotFrozen", "The source is a proto dataset; it is copied once it is frozen."
    SOURCE_DAMAGED = "SourceDamaged", "Items of the source differ from the source's own manifest."
    SOURCE_TOO_LARGE = (
        "SourceTooLarge",
        "The source has more files than a dataset may have, or than its manifest can name.",
    )
    SOURCE_DATASET_NOT_FOUND = "SourceDatasetNotFound", "The DtoolDataset named as source does not exist."

    # The data
    CONTENT_DIFFERS = "ContentDiffers", "What lies at the target differs from what should be there."
    ITEM_MISSING = "ItemMissing", "Items are missing, or are not as the manifest says."
    ITEM_ARCHIVED = "ItemArchived", "Items are in an archive storage class and cannot be read."
    INVALID_MANIFEST = (
        "InvalidManifest",
        "The manifest is not a dtool manifest, exceeds the bounds, or is not the one the spec pins.",
    )
    INVALID_ADMIN_METADATA = (
        "InvalidAdminMetadata",
        "The dataset's administrative metadata cannot be read, or contradict themselves or their key.",
    )
    UNSAFE_PATH = "UnsafePath", "An item's path would leave the dataset's directory."
    DATASET_MISSING = "DatasetMissing", "The dataset was here and is no longer."
    CONTENT_NOT_READ = "ContentNotRead", "Sizes are right; content that was not read is not proved."
    VERIFICATION_OVERDUE = (
        "VerificationOverdue",
        "The last verification is longer ago than spec.verify.interval allows.",
    )
    WRITTEN_WHILE_FREEZING = "WrittenWhileFreezing", "Somebody wrote to the dataset while it was frozen."

    # Access and the store
    ENDPOINT_NOT_ALLOWED = "EndpointNotAllowed", "The endpoint or host is not on the operator's allow-list."
    ACCESS_DENIED = "AccessDenied", "S3 refused the request for these credentials."
    CREDENTIALS_REJECTED = "CredentialsRejected", "S3 does not accept the access key, secret or token."
    SECRET_NOT_FOUND = "SecretNotFound", "The Secret that spec.credentials names does not exist."
    SECRET_INVALID = (
        "SecretInvalid",
        "The Secret lacks AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY, or a value has spaces in it.",
    )
    SECRET_FORBIDDEN = (
        "SecretForbidden",
        "The operator may not read the Secret or ConfigMap in this namespace; bind the reader role.",
    )
    CA_BUNDLE_INVALID = (
        "CABundleInvalid",
        "The ConfigMap key that spec.caBundle names is missing or holds no PEM.",
    )
    BUCKET_UNREACHABLE = "BucketUnreachable", "The endpoint does not answer, or not as S3."
    CLOCK_SKEWED = "ClockSkewed", "The clocks of operator and endpoint differ by too much."
    THROTTLED = "Throttled", "The endpoint asks to slow down."
    STORAGE_ERROR = "StorageError", "S3 answered with an error; the message has its code."
    TRANSFER_FAILED = (
        "TransferFailed",
        "The worker that moved the data ended unexpectedly; it is tried again.",
    )

    # Jobs and volumes
    JOBS_DISABLED = "JobsDisabled", "This work needs a Job, and the operator is set to run none, or not this."
    JOBS_FORBIDDEN = (
        "JobsForbidden",
        "The operator may not run Jobs in this namespace; bind the job-runner role.",
    )
    JOB_LOST = "JobLost", "The Job was deleted, or replaced by another of its name; it is begun again."
    JOB_REFUSED = "JobRefused", "The API server refuses the Job or its Pod; the message has its words."
    POD_QUOTA_EXCEEDED = "PodQuotaExceeded", "A ResourceQuota of the namespace leaves no room for the Pod."
    POD_EVICTED = "PodEvicted", "The Pod was evicted or its node lost; it is begun again."
    UNSCHEDULABLE = "Unschedulable", "No node takes the Pod; the scheduler's words are in the message."
    IMAGE_PULL_FAILED = "ImagePullFailed", "The node cannot get the image of the Pod."
    OUT_OF_MEMORY = "OutOfMemory", "The Pod was ended because it needed more memory than it may have."
    VOLUME_NOT_FOUND = "VolumeNotFound", "There is no PersistentVolumeClaim of this name, or it is unbound."
    VOLUME_FULL = "VolumeFull", "The volume has no room left."
    VOLUME_UNAVAILABLE = "VolumeUnavailable", "The volume cannot be mounted, or its files not be read."
    SIGNING_FAILED = "SigningFailed", "The worker gets no signed URLs from the operator's signing endpoint."

    # The object itself
    INVALID_SPEC = (
        "InvalidSpec",
        "The spec contradicts itself or a rule of the API; the message names the field.",
    )
    RESERVED_FOR_ADMINISTRATORS = (
        "ReservedForAdministrators",
        "Only a DtoolBucket in an administrator's namespace may use this field.",
    )
    NOT_SUPPORTED = "NotSupported", "The operator or the store cannot do what this field asks."
    SUSPENDED = "Suspended", "spec.suspend is true: nothing is started."
    INTERNAL_ERROR = (
        "InternalError",
        "The operator failed unexpectedly; its log has the details. It tries again.",
    )


_STALLED = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.UNSAFE_PATH,
        Reason.CONTENT_DIFFERS,
        Reason.ALREADY_IN_BUCKET,
        Reason.INVALID_MANIFEST,
        Reason.RESERVED_FOR_ADMINISTRATORS,
        Reason.NOT_SUPPORTED,
    }
)


def is_stalled_reason(reason: str) -> bool:
    """Tell whether no change outside the object can help (rule 20); every other reason is tried again."""
    return reason in _STALLED


def find_reason(text: str, default: Reason) -> Reason:
    """Return the reason of this name, or `default` for a name that is none of the API's."""
    return next((reason for reason in Reason if reason.value == text), default)
