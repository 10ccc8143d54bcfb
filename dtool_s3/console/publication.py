"""`dtool-s3 publish` and `dtool-s3 unpublish`."""

from dtool_s3 import api
from dtool_s3.console.exit_code import ExitCode
from dtool_s3.console.session import Session


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
    session.output.result({"uri": uri}, [f"{uri}: not published any more"])
    return ExitCode.DONE
