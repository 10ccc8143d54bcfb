"""Loads in advance what a process's first request to S3 loads, for a process that forks others.

Opens no connection, starts no thread, and asks obstore nothing: the children may use everything.
"""

from contextlib import suppress

from dtool_s3.errors import DtoolS3Error
from dtool_s3.settings import Credentials, Endpoint, Secret


def warm_up() -> None:
    """Load both clients' code and botocore's description of S3; a failure is left to the first request."""
    import dtool_s3.store.object_loop.bucket  # noqa: F401, PLC0415 - obstore, only where it is asked for
    from dtool_s3.store.boto.client import build_client, open_session  # noqa: PLC0415 - botocore, likewise
    from dtool_s3.store.boto.observation import observe_target  # noqa: PLC0415 - as above

    endpoint, nobody = Endpoint("https://s3.invalid", region="us-east-1"), Credentials("nobody", Secret(""))
    with suppress(DtoolS3Error):
        session = open_session(endpoint)
        client = build_client(session, endpoint, nobody, max_connections=1, read_timeout_seconds=1)
        # signs a request and stops before it is sent
        observe_target(client, session, endpoint=endpoint, bucket="bucket", credentials=nobody)
        client.close()
