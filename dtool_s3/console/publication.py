"""`dtool-s3 publish` and `dtool-s3 unpublish`."""

from dtool_s3 import api
from dtool_s3.console.exit_code import ExitCode
from dtool_s3.console.session import Session

#: Nobody knows afterwards whether there were any, and they cannot be taken back.
_STILL_VALID = "signed URLs that were given out work until they expire, at most 7 days after they were signed"


async def publish(session: Session) -> ExitCode:
    """Publish a dataset; the URL by which everybody reads it is the only line."""
    arguments = session.arguments
    url = await api.publish(
        arguments.uri, expires_seconds=arguments.expires_seconds, configure=session.configure
    )
    session.output.result({"uri": arguments.uri, "url": url}, [url])
    return ExitCode.DONE


async def unpublish(session: Session) -> ExitCode:
    """Take a publication back."""
    uri = session.arguments.uri
    await api.unpublish(uri, configure=session.configure)
    session.output.result(
        {"uri": uri, "hint": _STILL_VALID}, [f"{uri}: not published any more; {_STILL_VALID}"]
    )
    return ExitCode.DONE
