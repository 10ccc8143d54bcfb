"""DELETE of one object and of many; owns no state."""

import asyncio
import re
from collections.abc import Iterator, Sequence

from dtool_s3.errors import (
    AccessDenied,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    StorageError,
    storage_error,
)
from dtool_s3.settings import ConditionalWrites
from dtool_s3.store.boto.answer import Answer, condition_parameters
from dtool_s3.store.boto.connection import Client, Connection
from dtool_s3.store.boto.reading import head
from dtool_s3.store.boto.retry import is_worth_repeating
from dtool_s3.store.boto.writing import check_by_looking
from dtool_s3.store.protocol import ALWAYS, Precondition

#: What S3 deletes in one request.
MAX_KEYS = 1000

# what XML cannot say, escaped or not
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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


async def delete_many(connection: Connection, keys: Sequence[str]) -> None:
    """Delete objects, up to 1,000 a request, one by one where the server does not take that request."""
    odd = [key for key in dict.fromkeys(keys) if _NOT_IN_XML.search(key)]
    wanted = [key for key in dict.fromkeys(keys) if not _NOT_IN_XML.search(key)]
    failures = [*await _delete_singly(connection, odd)]
    for start in range(0, len(wanted), MAX_KEYS):
        batch = wanted[start : start + MAX_KEYS]
        try:
            failures += await _delete_batch(connection, batch)
        except (NotSupported, RequestRefused, AccessDenied):  # the request, not a key: MalformedXML, say
            failures += await _delete_singly(connection, batch)
    if failures:
        raise failures[0]


async def _delete_batch(connection: Connection, keys: Sequence[str]) -> Sequence[StorageError]:
    """Delete at most 1,000 objects; return the errors of keys in the end."""
    pending, failures = list(keys), list[StorageError]()
    transient: dict[str, StorageError] = {}

    def call(client: Client) -> dict[str, StorageError]:
        wanted = {"Objects": [{"Key": key} for key in pending], "Quiet": True}
        return dict(_errors(connection, client.delete_objects(Bucket=connection.bucket, Delete=wanted)))

    async def attempt(_: int) -> None:
        errors = await connection.send("delete_many", pending[0], call)
        transient.clear()
        transient.update((key, error) for key, error in errors.items() if is_worth_repeating(error))
        failures.extend(error for key, error in errors.items() if key not in transient)
        pending[:] = transient
        for error in transient.values():
            raise error

    try:
        await connection.retry.repeat(attempt)
    except StorageError as error:
        if error not in transient.values():
            raise
        failures.extend(transient.values())
    return failures


def _errors(connection: Connection, answer: Answer) -> Iterator[tuple[str, StorageError]]:
    """Each key that could not be deleted, and why."""
    for told in answer.get("Errors", ()):
        key, code = told.get("Key", ""), told.get("Code", "")
        # a status is not told: what is unknown is a refusal
        error = storage_error(code, 400, f"delete of {connection.place(key)}: {code}")
        if not isinstance(error, NotFound):
            yield key, error


async def _delete_singly(connection: Connection, keys: Sequence[str]) -> Sequence[StorageError]:
    outcomes = await asyncio.gather(
        *(delete(connection, key, ALWAYS) for key in keys), return_exceptions=True
    )
    failures = []
    for outcome in outcomes:
        if isinstance(outcome, StorageError):
            failures.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
    return failures
