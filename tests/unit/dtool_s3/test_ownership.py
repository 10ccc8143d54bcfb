"""The owner marker: created once, read always, overwritten only for an owner that is named."""

import json
from contextlib import suppress

import pytest

from dtool_s3.errors import AccessDenied, BucketUnreachable, InvalidOwnerMarker
from dtool_s3.ownership import (
    MAX_OWNER_BYTES,
    Owner,
    dump_owner,
    ensure_owner,
    owner_key,
    parse_owner,
    read_owner,
    replace_owner,
)
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer, MemoryStore

PREFIX = "u/alice/"
ALICE = Owner("cluster-1", "uid-alice", "alice", PREFIX)
BOB = Owner("cluster-2", "uid-bob", "bob", PREFIX)
OTHER = Owner("cluster-1", "uid-mallory", "alice", PREFIX)


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket("lab")
    return server


@pytest.fixture
def store(server: MemoryServer) -> MemoryStore:
    return server.store("lab")


def test_a_marker_survives_dump_and_parse() -> None:
    parsed = parse_owner(dump_owner(ALICE))

    assert (parsed.cluster, parsed.namespace_uid) == ("cluster-1", "uid-alice")
    assert (parsed.namespace, parsed.prefix) == ("alice", PREFIX)


def test_a_marker_has_the_documented_keys() -> None:
    assert json.loads(dump_owner(ALICE)) == {
        "cluster": "cluster-1",
        "namespaceUid": "uid-alice",
        "namespace": "alice",
        "prefix": PREFIX,
    }


def test_owners_are_equal_by_cluster_and_namespace_uid_alone() -> None:
    assert Owner("c", "u", "renamed", "elsewhere/") == Owner("c", "u", "alice", PREFIX)
    assert Owner("c", "u", "alice", PREFIX) != Owner("d", "u", "alice", PREFIX)
    assert Owner("c", "u", "alice", PREFIX) != Owner("c", "v", "alice", PREFIX)


def test_an_owner_prints_as_take_over_takes_it() -> None:
    """Rule 4."""
    assert str(ALICE) == "cluster-1/uid-alice"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"somebody's notes",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"cluster": "c", "namespaceUid": "", "namespace": "n", "prefix": ""}',
        b'{"cluster": "a/b", "namespaceUid": "u", "namespace": "n", "prefix": ""}',
        b'{"cluster": "c", "namespaceUid": 7, "namespace": "n", "prefix": ""}',
        b'{"cluster": "c", "namespaceUid": "u", "namespace": "n\\u0000", "prefix": ""}',
        b'{"cluster": "c", "namespaceUid": "u", "namespace": "n"}',
        b'{"cluster": "%s", "namespaceUid": "u", "namespace": "n", "prefix": ""}' % (b"c" * 2000),
    ],
)
def test_foreign_text_is_no_owner_and_no_crash(body: bytes) -> None:
    with pytest.raises(InvalidOwnerMarker):
        parse_owner(body)


async def test_a_prefix_without_marker_has_no_owner(store: MemoryStore) -> None:
    assert await read_owner(store, PREFIX) is None


@pytest.mark.parametrize("body", [b"notes", b"x" * (MAX_OWNER_BYTES + 1)])
async def test_a_marker_that_cannot_be_understood_is_an_error_naming_it(
    server: MemoryServer, store: MemoryStore, body: bytes
) -> None:
    server.write("lab", owner_key(PREFIX), body)

    with pytest.raises(InvalidOwnerMarker, match=r"u/alice/\.dtool-owner"):
        await ensure_owner(store, PREFIX, ALICE)

    assert server.read("lab", owner_key(PREFIX)).body == body


async def test_a_free_prefix_becomes_ours(server: MemoryServer, store: MemoryStore) -> None:
    assert await ensure_owner(store, PREFIX, ALICE) == ALICE

    assert server.keys("lab") == ["u/alice/.dtool-owner"]
    assert await read_owner(store, PREFIX) == ALICE


async def test_our_own_marker_is_not_written_again(server: MemoryServer, store: MemoryStore) -> None:
    await ensure_owner(store, PREFIX, ALICE)
    server.requests.clear()

    assert await ensure_owner(store, PREFIX, ALICE) == ALICE

    assert [request.operation for request in server.requests] == ["get"]


@pytest.mark.parametrize("honours", [True, False])
async def test_somebody_elses_marker_stays(*, honours: bool) -> None:
    server = MemoryServer(honours_preconditions=honours)
    server.create_bucket("lab")
    server.write("lab", owner_key(PREFIX), dump_owner(OTHER))

    assert await ensure_owner(server.store("lab"), PREFIX, ALICE) == OTHER

    assert server.read("lab", owner_key(PREFIX)).body == dump_owner(OTHER)


async def test_whoever_was_first_in_a_race_owns_the_prefix(server: MemoryServer, store: MemoryStore) -> None:
    """Rule 4."""

    def other_writes() -> None:
        server.write("lab", owner_key(PREFIX), dump_owner(OTHER))

    server.faults.append(Fault("put", hook=other_writes))

    assert await ensure_owner(store, PREFIX, ALICE) == OTHER


async def test_a_lost_answer_is_settled_by_reading(server: MemoryServer, store: MemoryStore) -> None:
    server.faults.append(Fault("put", error=BucketUnreachable("lost"), after_effect=True))

    assert await ensure_owner(store, PREFIX, ALICE) == ALICE


async def test_a_store_that_never_takes_the_marker_is_an_error(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.faults.append(Fault("put", error=BucketUnreachable("no answer"), times=None))

    with pytest.raises(BucketUnreachable, match="no answer"):
        await ensure_owner(store, PREFIX, ALICE)


async def test_a_refused_write_is_not_repeated(server: MemoryServer, store: MemoryStore) -> None:
    server.faults.append(Fault("put", error=AccessDenied("no", code="AccessDenied"), times=None))

    with pytest.raises(AccessDenied):
        await ensure_owner(store, PREFIX, ALICE)

    assert [request.operation for request in server.requests] == ["get", "put"]


async def test_exactly_the_named_owner_is_replaced(server: MemoryServer, store: MemoryStore) -> None:
    """Rule 4."""
    server.write("lab", owner_key(PREFIX), dump_owner(OTHER))

    assert await replace_owner(store, PREFIX, expected=OTHER, new=ALICE) == ALICE

    assert server.read("lab", owner_key(PREFIX)).body == dump_owner(ALICE)
    assert [request.operation for request in server.requests] == ["get", "put", "get"]


@pytest.mark.parametrize("honours", [True, False])
async def test_an_owner_that_is_not_the_named_one_stays(*, honours: bool) -> None:
    """Rule 4."""
    server = MemoryServer(honours_preconditions=honours)
    server.create_bucket("lab")
    server.write("lab", owner_key(PREFIX), dump_owner(BOB))

    assert await replace_owner(server.store("lab"), PREFIX, expected=OTHER, new=ALICE) == BOB

    assert server.read("lab", owner_key(PREFIX)).body == dump_owner(BOB)


async def test_who_replaced_already_writes_nothing(server: MemoryServer, store: MemoryStore) -> None:
    server.write("lab", owner_key(PREFIX), dump_owner(ALICE))

    assert await replace_owner(store, PREFIX, expected=OTHER, new=ALICE) == ALICE

    assert [request.operation for request in server.requests] == ["get"]


async def test_where_the_named_owner_is_gone_the_prefix_becomes_ours(store: MemoryStore) -> None:
    assert await replace_owner(store, PREFIX, expected=OTHER, new=ALICE) == ALICE

    assert await read_owner(store, PREFIX) == ALICE


async def test_of_two_that_replace_one_owner_the_first_wins(server: MemoryServer, store: MemoryStore) -> None:
    server.write("lab", owner_key(PREFIX), dump_owner(OTHER))

    def bob_replaces() -> None:
        server.write("lab", owner_key(PREFIX), dump_owner(BOB))

    server.faults.append(Fault("put", hook=bob_replaces))

    assert await replace_owner(store, PREFIX, expected=OTHER, new=ALICE) == BOB


@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize("operation", ["get", "put"])
@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("after_effect", [True, False])
async def test_a_replacement_that_fails_anywhere_converges_when_it_is_called_again(
    *, honours: bool, operation: str, skip: int, after_effect: bool
) -> None:
    server = MemoryServer(honours_preconditions=honours)
    server.create_bucket("lab")
    server.write("lab", owner_key(PREFIX), dump_owner(OTHER))
    store = server.store("lab")
    fault = Fault(operation, error=BucketUnreachable("lost"), skip=skip, after_effect=after_effect)
    server.faults.append(fault)

    with suppress(BucketUnreachable):
        await replace_owner(store, PREFIX, expected=OTHER, new=ALICE)

    assert await replace_owner(store, PREFIX, expected=OTHER, new=ALICE) == ALICE


async def test_a_replacement_that_the_store_never_takes_is_an_error(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write("lab", owner_key(PREFIX), dump_owner(OTHER))
    server.faults.append(Fault("put", error=BucketUnreachable("no answer"), times=None))

    with pytest.raises(BucketUnreachable, match="no answer"):
        await replace_owner(store, PREFIX, expected=OTHER, new=ALICE)

    assert server.read("lab", owner_key(PREFIX)).body == dump_owner(OTHER)


async def test_a_marker_that_cannot_be_understood_is_never_replaced(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write("lab", owner_key(PREFIX), b"notes")

    with pytest.raises(InvalidOwnerMarker):
        await replace_owner(store, PREFIX, expected=OTHER, new=ALICE)

    assert server.read("lab", owner_key(PREFIX)).body == b"notes"
