"""What the operator's rows share: how much of everything, the world, and waiting for it."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from benchmarks.meters import LooksLog, count_s3_requests, cpu_seconds
from benchmarks.operator_world import Body, OperatorWorld
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL

FROZEN, SOURCE, COPIES, FLOOD, BARE = "frozen", "source-data", "copies", "flood", "bare-copies"
QUIET_SECONDS = 5.0
POLL_SECONDS = 0.5
IDLE_CPU_SHARE = 0.1
TURNS = 5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; `copy_seconds`: when to stop waiting for all copies."""

    datasets: int = 10_000
    namespaces: int = 200
    adopted: int = 100
    copies: int = 2_000
    flood: int = 3_000
    copy_seconds: float = 150.0

    @classmethod
    def scaled(cls, factor: float) -> "Scale":
        """Make everything smaller by a factor."""
        whole = cls()
        return cls(
            datasets=int(whole.datasets * factor),
            namespaces=max(10, int(whole.namespaces * factor)),
            adopted=max(8, int(whole.adopted * min(1.0, 4 * factor))),
            copies=int(whole.copies * factor),
            flood=int(whole.flood * factor),
            copy_seconds=max(20.0, whole.copy_seconds * factor),
        )

    def __str__(self) -> str:
        return (
            f"{self.datasets:,} frozen datasets and their objects in one bucket and {self.namespaces} "
            f"namespaces; {self.copies:,} copies of 10 items each, and {self.flood:,} for fairness."
        )


@dataclass(slots=True)
class Bench:
    """The world, and what rows tell each other: uuids of sources, and how long one copy takes at rest."""

    world: OperatorWorld
    scale: Scale
    say: Say
    sources: Sequence[str] = ()
    seconds_to_ready: float = 0.0

    def s3_requests(self, *buckets: str) -> dict[str, int]:
        """Count the requests to buckets, by method."""
        counted = [count_s3_requests(self.world.store.metrics_url, bucket) for bucket in buckets]
        names = {name for each in counted for name in each}
        return {name: sum(each.get(name, 0) for each in counted) for name in names}

    def copy(self, namespace: str, bucket: str, name: str, uuid: str) -> Body:
        """Compose a DtoolDataset that copies one of the sources."""
        return self.world.describe(namespace, bucket, name, source={"uri": f"s3://{SOURCE}/{uuid}"})

    async def wait_until_quiet(self, looks: LooksLog, *, since: float, within: float) -> float:
        """Wait until no dataset is looked at and the process rests; return when, in seconds from `since`."""
        pid = self.world.pid
        cpu, at, busy_at = cpu_seconds(pid), time.monotonic(), time.monotonic()
        while at - busy_at < QUIET_SECONDS and at - since < within:
            await asyncio.sleep(POLL_SECONDS)
            now, used = time.monotonic(), cpu_seconds(pid)
            if looks.read() or used - cpu > IDLE_CPU_SHARE * (now - at):
                busy_at = now
            cpu, at = used, now
        return busy_at - since

    async def wait_ready(self, plural: str, *names: tuple[str, str], within: float = 300) -> None:
        """Wait until objects, by namespace and name, are Ready."""
        waiting, deadline = list(names), time.monotonic() + within
        while waiting:
            if is_ready(await self.world.api.get(plural, *waiting[-1])):
                waiting.pop()
                continue
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(waiting)} {plural} are not Ready, among them {waiting[-1]}")
            await asyncio.sleep(0.1)

    async def wait_listed(self, namespace: str, name: str, count: int, *, within: float = 300) -> None:
        """Wait until a bucket object tells of so many datasets."""
        async with asyncio.timeout(within):
            while True:
                body = await self.world.api.get(BUCKET_PLURAL, namespace, name)
                if body.get("status", {}).get("datasets", {}).get("total") == count:
                    return
                await asyncio.sleep(0.5)

    async def time_to_ready(self, body: Body) -> float:
        """Create a dataset; return the seconds until it is Ready."""
        started = time.monotonic()
        created = await self.world.api.create(DATASET_PLURAL, body)
        await self.wait_status(created, lambda status: is_ready({"status": status}))
        return time.monotonic() - started

    async def wait_observed(self, body: Body) -> None:
        """Wait until the status of a dataset speaks of this version of its spec."""
        generation = body["metadata"]["generation"]
        await self.wait_status(body, lambda status: bool(status.get("observedGeneration") == generation))

    async def wait_status(self, body: Body, is_wanted: Callable[[Any], bool], *, within: float = 120) -> None:
        """Watch a dataset from a version on until its status is as wanted."""
        metadata = body["metadata"]
        events = self.world.api.watch(DATASET_PLURAL, metadata["namespace"], metadata["resourceVersion"])
        async with asyncio.timeout(within), aclosing(events):
            async for event in events:
                one = event["object"]
                if one["metadata"].get("name") == metadata["name"] and is_wanted(one.get("status", {})):
                    return


def is_ready(body: Body) -> bool:
    """Tell whether an object is Ready."""
    conditions = body.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def tell(counts: Mapping[str, int]) -> str:
    """Write counts down."""
    return ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items())) or "none"
