"""`dtool-s3 register` and `dtool-s3 abort-uploads`."""

from dtool_s3 import api
from dtool_s3.console.exit_code import ExitCode
from dtool_s3.console.output import format_count
from dtool_s3.console.session import Session


async def register(session: Session) -> ExitCode:
    """Write a lost registration key."""
    arguments = session.arguments
    is_new = await api.register(arguments.uri, prefix=arguments.prefix, configure=session.configure)
    said = "registered" if is_new else "was registered there already"
    document = {"uri": arguments.uri, "prefix": arguments.prefix, "is_new": is_new}
    session.output.result(document, [f"{arguments.uri}: {said}, under {arguments.prefix!r}"])
    return ExitCode.DONE


async def abort_uploads(session: Session) -> ExitCode:
    """Abort unfinished uploads."""
    uri = session.arguments.uri
    aborted = await api.abort_uploads(uri, configure=session.configure)
    said = f"{uri}: {format_count(aborted, 'unfinished upload')} aborted"
    session.output.result({"uri": uri, "aborted": aborted}, [said])
    return ExitCode.DONE
