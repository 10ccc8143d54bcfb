"""`dtool-s3 freeze` and `dtool-s3 rm`."""

from dtool_s3 import api
from dtool_s3.console.exit_code import ExitCode
from dtool_s3.console.output import format_count
from dtool_s3.console.session import Session
from dtool_s3.console.verification import describe, note_unproven, verification_document


async def freeze(session: Session) -> ExitCode:
    """Freeze a proto dataset."""
    uri = session.arguments.uri
    frozen = await api.freeze(
        uri,
        remove_extra=session.arguments.remove_extra,
        configure=session.configure,
        on_progress=session.on_progress,
    )
    session.output.note(f"{frozen.admin.name}: {describe(frozen.verification)}")
    note_unproven(session.output, frozen.verification, uri)
    document = {"uri": uri, "name": frozen.admin.name, **verification_document(frozen.verification, uri)}
    session.output.result(document, [uri])
    return ExitCode.DONE


async def remove(session: Session) -> ExitCode:
    """Remove a dataset."""
    uri = session.arguments.uri
    removed = await api.remove(
        uri,
        only_proto=session.arguments.only_proto,
        configure=session.configure,
        on_progress=session.on_progress,
    )
    session.output.result(
        {"uri": uri, "removed_keys": removed}, [f"{uri}: {format_count(removed, 'key')} removed"]
    )
    return ExitCode.DONE
