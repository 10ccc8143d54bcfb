"""Who gets the Lease, when, and when it is lost. Times are a clock that the tests turn."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dtool_operator.adapters.connection import JSON, Refused
from dtool_operator.adapters.lease import Leadership, LeaseLost, LeaseTimes, build_identity, read_clock
from dtool_operator.errors import ApiFailure
from tests.support.eventually import eventually_async

QUICK = LeaseTimes(retry=0.01)


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """An API server with one Lease: answers conflicts as the real one, and counts."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.writes = self.reads = 0
        self.failure: ApiFailure | None = None
        self.loses_answers = False

    async def read(self, path: str) -> dict[str, Any]:  # noqa: ARG002
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        if self.lease is None:
            raise Refused("no such Lease", status=404, cause="")
        return {**self.lease, "metadata": dict(self.lease["metadata"])}

    async def write(
        self,
        method: str,
        path: str,  # noqa: ARG002
        body: Mapping[str, Any],
        *,
        content_type: str = JSON,  # noqa: ARG002
    ) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        known = None if self.lease is None else self.lease["metadata"]["resourceVersion"]
        if (method == "POST") != (known is None) or body["metadata"].get("resourceVersion") != known:
            raise Refused("it changed", status=409, cause="")
        self.version += 1
        self.writes += 1
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        if self.loses_answers:
            self.loses_answers = False
            raise ApiFailure("no answer")
        return self.lease

    async def close(self) -> None:
        pass

    @property
    def holder(self) -> str | None:
        assert self.lease is not None
        holder: str | None = self.lease["spec"].get("holderIdentity")
        return holder


class Fence:
    """A fence that remembers its deadlines."""

    def __init__(self) -> None:
        self.deadlines: list[float] = []
        self.is_closed = False
        self.is_broken = False

    def extend(self, deadline: float) -> None:
        if self.is_broken:
            raise BrokenPipeError
        self.deadlines.append(deadline)

    def close(self) -> None:
        self.is_closed = True


class Replica:
    """One process's claim, its fence and its clock."""

    def __init__(
        self, server: Server, name: str, clock: Callable[[], float], times: LeaseTimes = QUICK
    ) -> None:
        self.fence = Fence()
        self.stop = asyncio.Event()
        self.leadership = Leadership(
            server,
            namespace="dtool-system",
            name="dtool-operator",
            identity=name,
            build_fence=lambda: self.fence,
            times=times,
            clock=clock,
        )

    async def acquire(self) -> None:
        assert await self.leadership.acquire(self.stop)


async def is_true(what: bool) -> None:
    assert what


async def settle(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def pass_some_tries(server: Server) -> None:
    """Wait until everybody who asks has asked again."""
    before = server.reads
    await eventually_async(lambda: is_true(server.reads >= before + 10), within=5)


async def test_the_first_gets_it_and_stands_behind_a_fence() -> None:
    server, clock = Server(), Clock()
    one = Replica(server, "one", clock)

    await one.acquire()

    assert one.leadership.is_ours
    assert server.holder == "one"
    assert one.fence.deadlines == [1010.0]
    assert server.lease is not None
    assert server.lease["spec"]["leaseDurationSeconds"] == 15


async def test_another_waits_while_it_is_renewed_however_long() -> None:
    server, clock = Server(), Clock()
    one, other = Replica(server, "one", clock), Replica(server, "other", clock)
    await one.acquire()
    holding = asyncio.create_task(one.leadership.hold())
    waiting = asyncio.create_task(other.acquire())

    for _ in range(10):
        writes = server.writes
        clock.now += 4.0
        await eventually_async(lambda writes=writes: is_true(server.writes >= writes + 2), within=5)

    assert not waiting.done()
    assert not holding.done()
    assert server.holder == "one"
    assert one.fence.deadlines[-1] == clock.now + 10
    await settle(holding)
    await settle(waiting)


async def test_another_gets_it_when_it_saw_it_unchanged_for_its_whole_duration() -> None:
    server, clock = Server(), Clock()
    one, other = Replica(server, "one", clock), Replica(server, "other", clock)
    await one.acquire()
    clock.now += 100  # the other has not looked yet: what the Lease says of times counts for nothing
    waiting = asyncio.create_task(other.acquire())
    await pass_some_tries(server)
    clock.now += 14.9
    await pass_some_tries(server)
    assert not waiting.done()

    clock.now += 0.2
    async with asyncio.timeout(5):
        await waiting

    assert server.holder == "other"
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("renew_time", ["2001-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
async def test_clocks_of_other_machines_are_not_believed(renew_time: str) -> None:
    server, clock = Server(), Clock()
    one, other = Replica(server, "one", clock), Replica(server, "other", clock)
    await one.acquire()
    assert server.lease is not None
    server.lease["spec"]["renewTime"] = renew_time
    waiting = asyncio.create_task(other.acquire())
    await pass_some_tries(server)
    assert not waiting.done()

    clock.now += 15

    async with asyncio.timeout(5):
        await waiting


async def test_of_two_that_try_at_once_one_gets_it() -> None:
    server, clock = Server(), Clock()
    replicas = [Replica(server, f"replica {number}", clock) for number in range(5)]
    waiting = [asyncio.create_task(replica.acquire()) for replica in replicas]

    await pass_some_tries(server)

    assert [replica.leadership.is_ours for replica in replicas].count(True) == 1
    for task in waiting:
        await settle(task)


async def test_one_that_slept_past_its_deadline_ends_without_another_word() -> None:
    server, clock = Server(), Clock()
    one = Replica(server, "one", clock)
    await one.acquire()
    writes = server.writes

    clock.now += 20

    assert not one.leadership.is_ours
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await one.leadership.hold()
    assert server.writes == writes  # even where nobody else has taken it


async def test_an_outage_shorter_than_the_deadline_is_survived_and_a_longer_one_is_not() -> None:
    server, clock = Server(), Clock()
    one = Replica(server, "one", clock)
    await one.acquire()
    holding = asyncio.create_task(one.leadership.hold())
    server.failure = ApiFailure("no answer")
    clock.now += 9
    await pass_some_tries(server)
    assert not holding.done()
    server.failure = None
    await eventually_async(lambda: is_true(one.fence.deadlines[-1] == clock.now + 10), within=5)

    server.failure = ApiFailure("no answer")
    await pass_some_tries(server)
    clock.now += 10

    async with asyncio.timeout(5):
        with pytest.raises(LeaseLost, match="no answer"):
            await holding


async def test_it_is_lost_at_its_deadline_and_not_a_pause_later() -> None:
    server = Server()
    one = Replica(server, "one", read_clock, LeaseTimes(renew_deadline=0.2, retry=60.0))
    await one.acquire()

    async with asyncio.timeout(5):
        with pytest.raises(LeaseLost, match="could not be renewed"):
            await one.leadership.hold()


async def test_a_lease_that_another_has_taken_is_lost_at_once() -> None:
    server, clock = Server(), Clock()
    one = Replica(server, "one", clock)
    await one.acquire()
    assert server.lease is not None
    server.lease["spec"]["holderIdentity"] = "other"

    async with asyncio.timeout(5):
        with pytest.raises(LeaseLost, match="another's"):
            await one.leadership.hold()


async def test_a_lease_that_somebody_deleted_is_made_again() -> None:
    server, clock = Server(), Clock()
    one = Replica(server, "one", clock)
    await one.acquire()
    holding = asyncio.create_task(one.leadership.hold())

    server.lease = None

    await eventually_async(lambda: is_true(server.lease is not None), within=5)
    assert not holding.done()
    await settle(holding)


async def test_a_write_whose_answer_was_lost_counts_only_when_it_is_seen() -> None:
    server, clock = Server(), Clock()
    server.loses_answers = True
    one = Replica(server, "one", clock)

    await one.acquire()

    assert server.writes == 2
    assert one.leadership.is_ours


async def test_released_it_is_anothers_at_the_next_look() -> None:
    server, clock = Server(), Clock()
    one, other = Replica(server, "one", clock), Replica(server, "other", clock)
    await one.acquire()
    waiting = asyncio.create_task(other.acquire())
    await pass_some_tries(server)
    assert not waiting.done()

    await one.leadership.release()

    async with asyncio.timeout(5):
        await waiting
    assert not one.leadership.is_ours
    assert one.fence.is_closed


async def test_what_is_anothers_is_not_released() -> None:
    server, clock = Server(), Clock()
    one = Replica(server, "one", clock)
    await one.acquire()
    assert server.lease is not None
    server.lease["spec"]["holderIdentity"] = "other"

    await one.leadership.release()

    assert server.holder == "other"


async def test_an_api_server_that_is_away_does_not_hold_up_the_end() -> None:
    server, clock = Server(), Clock()
    one = Replica(server, "one", clock)
    await one.acquire()
    server.failure = ApiFailure("no answer")

    await one.leadership.release()

    assert one.fence.is_closed


async def test_one_that_waits_can_be_stopped() -> None:
    server, clock = Server(), Clock()
    one, other = Replica(server, "one", clock), Replica(server, "other", clock)
    await one.acquire()
    waiting = asyncio.create_task(other.leadership.acquire(other.stop))
    await pass_some_tries(server)

    other.stop.set()

    async with asyncio.timeout(5):
        assert not await waiting


async def test_without_its_fence_nobody_leads() -> None:
    server, clock = Server(), Clock()
    one = Replica(server, "one", clock)
    await one.acquire()
    one.fence.is_broken = True

    async with asyncio.timeout(5):
        with pytest.raises(LeaseLost, match="fence"):
            await one.leadership.hold()


def test_two_processes_of_one_name_are_two() -> None:
    assert build_identity("pod") != build_identity("pod")
    assert build_identity("pod").startswith("pod_")


async def test_what_keeps_one_from_the_lease_is_said_until_it_can_be_waited_for() -> None:
    server, clock = Server(), Clock()
    one, other = Replica(server, "one", clock), Replica(server, "other", clock)
    await one.acquire()
    server.failure = Refused("leases are forbidden", status=403, cause="")
    waiting = asyncio.create_task(other.leadership.acquire(other.stop))

    await pass_some_tries(server)
    assert other.leadership.trouble == "the Lease cannot be had: leases are forbidden"
    server.failure = None

    await pass_some_tries(server)
    assert other.leadership.trouble is None  # another has it: that is no trouble
    await settle(waiting)
