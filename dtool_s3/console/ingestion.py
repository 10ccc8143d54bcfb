"""`dtool-s3 ingest`."""

from uuid import uuid4

from dtool_s3 import api
from dtool_s3.console.exit_code import ExitCode
from dtool_s3.console.session import Session
from dtool_s3.console.verification import describe, note_unproven, verification_document
from dtool_s3.errors import (
    BucketNotFound,
    CredentialsRejected,
    InvalidURI,
    ItemArchived,
    SettingsError,
    SourceNotFound,
    UnsafePath,
)
from dtool_s3.transfer.progress import Progress

#: What ends a run before anything is written: there is nothing to go on with.
_AT_ONCE = (
    BucketNotFound,
    CredentialsRejected,
    InvalidURI,
    ItemArchived,
    SettingsError,
    SourceNotFound,
    UnsafePath,
)


async def ingest(session: Session) -> ExitCode:
    """Make a dataset of plain objects; its URI is the last line."""
    arguments = session.arguments
    uuid = arguments.uuid or str(uuid4())

    def announce() -> None:
        """Tell the UUID once there is something to go on with; it is that of this run from then on."""
        if arguments.uuid is None:
            arguments.uuid = uuid
            session.output.note(f"the new dataset is {uuid}: after an interruption go on with --uuid {uuid}")

    def tell(progress: Progress) -> None:
        announce()
        session.on_progress(progress)

    try:
        made = await api.ingest(
            arguments.prefix_uri,
            arguments.base_uri,
            name=arguments.name,
            uuid=uuid,
            readme="" if arguments.readme is None else arguments.readme.read_text(encoding="utf-8"),
            skips_markers=arguments.skip_markers,
            configure=session.configure,
            on_progress=tell,
            **session.concurrency,
        )
    except _AT_ONCE:
        raise
    except BaseException:  # also an interruption
        announce()
        raise
    verification = made.result.verification
    session.output.note(describe(verification))
    note_unproven(session.output, verification, made.uri)
    document = {"uri": made.uri, "name": arguments.name, **verification_document(verification, made.uri)}
    session.output.result(document, [made.uri])
    return ExitCode.DONE
