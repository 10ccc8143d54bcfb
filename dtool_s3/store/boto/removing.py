"""DELETE of one object and of many; owns no state."""

from dtool_s3.errors import NotFound, PreconditionFailed
from dtool_s3.settings import ConditionalWrites
from dtool_s3.store.boto.answer import condition_parameters
from dtool_s3.store.boto.connection import Connection
from dtool_s3.store.boto.reading import head
from dtool_s3.store.boto.writing import check_by_looking
from dtool_s3.store.protocol import Precondition


async def delete(connection: Connection, key: str, precondition: Precondition) -> None:
    """Delete an object; what is gone already is fine, with a condition too."""
    condition = condition_parameters(precondition)
    try:
        if condition and connection.endpoint.conditional_writes is ConditionalWrites.BEST_EFFORT:
            await check_by_looking(connection, "delete", key, precondition)
            condition = {}
        await connection.ask(
            "delete", key, lambda client: client.delete_object(Bucket=connection.bucket, Key=key, **condition)
        )
    except NotFound:
        return
    except PreconditionFailed:
        if await _is_there(connection, key):
            raise


async def _is_there(connection: Connection, key: str) -> bool:
    try:
        await head(connection, key)
    except NotFound:
        return False
    return True
