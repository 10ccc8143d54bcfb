"""What a worker tells, from the library's values to worker lines; pure."""

from dtool_operator.planning.task import (
    DatasetFacts,
    ErrorLine,
    MismatchLine,
    ProgressLine,
    ResultLine,
    SourceFacts,
    WorkerLine,
)
from dtool_s3.documents import AdminMetadata
from dtool_s3.errors import DtoolS3Error
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Progress
from dtool_s3.transfer.verify import Verification, VerifiedDataset, require_complete
from dtool_s3.volume.inspection import SourceSummary

_MAX_MESSAGE_CHARACTERS = 2000


def build_internal_error(error: BaseException) -> ErrorLine:
    """Describe a failure that nobody foresaw: by its class alone, its text may hold anything."""
    message = f"the worker failed unexpectedly: {type(error).__name__}"
    return ErrorLine(reason="InternalError", message=message, retryable=True)


def tell_source(found: SourceSummary) -> ResultLine:
    """Say which dataset a source is."""
    return ResultLine(
        source=SourceFacts(
            uuid=found.uuid,
            name=found.name,
            creator_username=found.creator_username,
            created_at=found.created_at,
            frozen_at=found.frozen_at,
            items=found.items,
            size_bytes=found.size_bytes,
            manifest_sha256=found.manifest_sha256,
            content_sha256=found.content_sha256,
        )
    )


def tell_verified(found: VerifiedDataset) -> WorkerLine:
    """Say what a verification found: facts, and an error where the dataset is not whole."""
    facts = describe_dataset(found.admin, found.verification)
    try:
        require_complete(found.verification)
    except DtoolS3Error as error:
        return tell_error(error, facts)
    return ResultLine(facts=facts)


def tell_frozen(result: CopyResult) -> ResultLine:
    """Say that a dataset is frozen, and what is known of it."""
    return ResultLine(facts=describe_dataset(result.admin, result.verification, moved=result.moved))


def tell_error(error: DtoolS3Error, facts: DatasetFacts | None = None) -> ErrorLine:
    """Say why the work failed; `facts`: what is known of a dataset that is there all the same."""
    return ErrorLine(
        reason=error.reason,
        message=str(error)[:_MAX_MESSAGE_CHARACTERS],
        retryable=error.retryable,
        facts=facts,
    )


def tell_progress(progress: Progress) -> ProgressLine:
    """Say how far it is."""
    return ProgressLine(
        phase=progress.phase.value,
        items=progress.items,
        items_total=progress.items_total,
        bytes=progress.bytes,
        bytes_total=progress.bytes_total,
    )


def describe_dataset(admin: AdminMetadata, verification: Verification, *, moved: int = 0) -> DatasetFacts:
    """Say which frozen dataset it is, and what was found of it."""
    mismatches = verification.mismatches
    return DatasetFacts(
        name=admin.name,
        creator_username=admin.creator_username,
        created_at=admin.created_at,
        frozen_at=admin.frozen_at,
        items=verification.items,
        size_bytes=verification.size_bytes,
        etag_md5=verification.evidence.get(Evidence.ETAG_MD5, 0),
        read=verification.evidence.get(Evidence.READ, 0),
        same_as_source=verification.evidence.get(Evidence.SAME_AS_SOURCE, 0),
        unproven=verification.unproven,
        mismatch_count=verification.mismatch_count,
        mismatches=tuple(
            MismatchLine(relpath=m.relpath, expected=m.expected, found=m.found) for m in mismatches
        ),
        moved=moved,
    )
