"""`dtool-s3 cp` and `dtool-s3 verify`."""

from dtool_s3 import api
from dtool_s3.console.directory import check_directories
from dtool_s3.console.exit_code import ExitCode
from dtool_s3.console.session import Session
from dtool_s3.console.verification import (
    describe,
    list_differences,
    note_unproven,
    verification_document,
)
from dtool_s3.transfer.verify import VerifyMethod


async def copy(session: Session) -> ExitCode:
    """Copy a dataset; its new URI is the last line."""
    arguments = session.arguments
    check_directories(arguments.source_uri, arguments.base_uri)
    copied = await api.copy(
        arguments.source_uri,
        arguments.base_uri,
        configure=session.configure,
        on_progress=session.on_progress,
        **session.concurrency,
    )
    verification = copied.result.verification
    session.output.note(f"{describe(verification)}; {copied.result.moved} moved by this run")
    note_unproven(session.output, verification, copied.uri)
    document = {
        "uri": copied.uri,
        "name": copied.result.admin.name,
        "moved": copied.result.moved,
        **verification_document(verification, copied.uri),
    }
    session.output.result(document, [copied.uri])
    return ExitCode.DONE


async def verify(session: Session) -> ExitCode:
    """Verify a dataset; differences are a result, not a failure of the command."""
    uri = session.arguments.uri
    verified = await api.verify(
        uri,
        method=VerifyMethod[session.arguments.method.upper()],
        configure=session.configure,
        on_progress=session.on_progress,
        **session.concurrency,
    )
    found = verified.verification
    document = {"uri": uri, "is_complete": found.is_complete, **verification_document(found, uri)}
    state = "complete" if found.is_complete else "NOT what its manifest says"
    lines = [*list_differences(found), f"{uri}: {state}: {describe(found)}"]
    session.output.result(document, lines)
    note_unproven(session.output, found, uri)
    return ExitCode.DONE if found.is_complete else ExitCode.DIFFERS
