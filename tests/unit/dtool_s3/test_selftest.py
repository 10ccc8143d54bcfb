"""The self-test: finds what a store gets wrong, and leaves nothing behind."""

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BucketNotFound,
    BucketUnreachable,
    CredentialsRejected,
    NotSupported,
    PreconditionFailed,
    StorageError,
)
from dtool_s3.selftest import PROBE_NAME, Probe, SelfTestResult, check_store
from dtool_s3.settings import ConditionalWrites
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer

PREFIX = "u/alice/"
REQUIRED, BEST_EFFORT = ConditionalWrites.REQUIRED, ConditionalWrites.BEST_EFFORT
WRITES = {"put", "copy", "delete", "start_upload"}


def _server(*, honours_preconditions: bool = True) -> MemoryServer:
    server = MemoryServer(honours_preconditions=honours_preconditions)
    server.create_bucket("lab")
    server.write("lab", "u/bob/data", b"of others")
    return server


async def _check(
    server: MemoryServer, prefix: str | None = PREFIX, writes: ConditionalWrites = REQUIRED
) -> SelfTestResult:
    return await check_store(server.store("lab"), prefix=prefix, conditional_writes=writes)


def _operations(server: MemoryServer) -> list[str]:
    return [request.operation for request in server.requests]


async def test_a_good_store_passes_everything_and_nothing_is_left() -> None:
    server = _server()

    result = await _check(server)

    assert result == SelfTestResult(tuple(Probe))
    assert result.has_written
    assert server.keys("lab") == ["u/bob/data"]


async def test_only_one_key_under_the_prefix_is_ever_written() -> None:
    """Rule 7."""
    server = _server()

    await _check(server)

    (key,) = {request.key for request in server.requests if request.operation in WRITES}
    assert key.startswith(f"{PREFIX}{PROBE_NAME}")


async def test_what_a_killed_self_test_left_is_gone_after_the_next() -> None:
    server = _server()
    server.faults.append(Fault(operation="delete", error=BucketUnreachable("dead")))
    with pytest.raises(BucketUnreachable):
        await _check(server)
    assert f"{PREFIX}{PROBE_NAME}" in server.keys("lab")

    await _check(server)

    assert server.keys("lab") == ["u/bob/data"]


async def test_without_a_prefix_nothing_is_written() -> None:
    """Rule 7."""
    server = _server()

    result = await _check(server, prefix=None)

    assert result == SelfTestResult((Probe.HEAD, Probe.LIST))
    assert not result.has_written
    assert _operations(server) == ["check_bucket", "list"]


async def test_a_store_that_ignores_conditions_is_not_supported() -> None:
    """Rule 7."""
    server = _server(honours_preconditions=False)

    with pytest.raises(NotSupported, match=r"If-None-Match and If-Match.*BestEffort"):
        await _check(server)

    assert server.keys("lab") == ["u/bob/data"]


async def test_a_store_that_ignores_conditions_passes_where_best_effort_is_enough() -> None:
    server = _server(honours_preconditions=False)

    result = await _check(server, writes=BEST_EFFORT)

    assert result.ignored == (Probe.IF_NONE_MATCH, Probe.IF_MATCH)
    assert "ignores If-None-Match and If-Match" in str(result)
    assert Probe.IF_MATCH not in result.passed
    assert server.keys("lab") == ["u/bob/data"]


async def test_a_store_that_knows_no_conditions_says_so_itself() -> None:
    server = _server()
    server.faults.append(Fault("put", skip=1, error=NotSupported("no such header", code="NotImplemented")))

    with pytest.raises(NotSupported, match="no such header"):
        await _check(server)

    assert server.keys("lab") == ["u/bob/data"]


def _replacing(server: MemoryServer, before: bytes, after: bytes) -> Fault:
    """A fault that plays a store which keeps something else than it is given."""

    def replace() -> None:
        (key,) = (key for key in server.keys("lab") if key.startswith(PREFIX))
        server.write("lab", key, before + server.read("lab", key).body + after)

    return Fault("get", hook=replace)


async def test_checksum_framing_written_into_objects_is_recognised() -> None:
    """Rule 7."""
    server = _server()
    server.faults.append(_replacing(server, b"51\r\n", b"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"))

    with pytest.raises(NotSupported, match="aws-chunked") as caught:
        await _check(server)

    assert caught.value.code == "BadDigest"
    assert server.keys("lab") == ["u/bob/data"]


async def test_bytes_that_changed_are_found() -> None:
    server = _server()

    def change() -> None:
        (key,) = (key for key in server.keys("lab") if key.startswith(PREFIX))
        server.write("lab", key, server.read("lab", key).body[:-1])

    server.faults.append(Fault("get", hook=change))

    with pytest.raises(NotSupported, match="bytes changed"):
        await _check(server)


async def test_an_object_that_is_not_where_it_was_written_is_a_wrong_endpoint() -> None:
    server = _server()

    def vanish() -> None:
        (key,) = (key for key in server.keys("lab") if key.startswith(PREFIX))
        server.remove("lab", key)

    server.faults.append(Fault("get", hook=vanish))

    with pytest.raises(BucketUnreachable, match="addressing"):
        await _check(server)


async def test_a_missing_bucket_is_an_error() -> None:
    server = MemoryServer()

    with pytest.raises(BucketNotFound):
        await _check(server)


async def test_unknown_keys_are_an_error() -> None:
    server = _server()
    server.rejected_identities.add(None)

    with pytest.raises(CredentialsRejected):
        await _check(server, prefix=None)


@pytest.mark.parametrize("operation", ["check_bucket", "list", "put", "get", "delete"])
async def test_whatever_is_refused_is_the_error_and_deletion_is_tried_after_a_write(operation: str) -> None:
    server = _server()
    server.allows = lambda _who, asked, _bucket, _key: asked != operation

    with pytest.raises(AccessDenied, match=operation):
        await _check(server)

    assert ("delete" in _operations(server)) == (operation in {"put", "get", "delete"})
    assert server.keys("lab") == ["u/bob/data"] or operation == "delete"


async def test_a_deletion_that_fails_too_does_not_hide_the_first_failure() -> None:
    server = _server(honours_preconditions=False)
    server.faults.append(Fault("delete", error=BucketUnreachable("gone"), times=None))

    with pytest.raises(NotSupported):
        await _check(server)


@pytest.mark.parametrize(
    "error", [PreconditionFailed("odd", code="412"), BucketUnreachable("no answer")], ids=["refused", "lost"]
)
async def test_a_first_write_that_fails_is_no_success(error: StorageError) -> None:
    server = _server()
    server.faults.append(Fault("put", error=error))

    with pytest.raises(type(error)):
        await _check(server)
