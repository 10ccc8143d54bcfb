"""Copies by the thousand: of one namespace while others want a single one, and of all at once."""

import asyncio
import statistics
import time

from benchmarks.figures import Figure
from benchmarks.measurement import Measurement
from benchmarks.meters import LooksLog, cpu_seconds, difference, worker_seconds
from benchmarks.operator_bench import BARE, COPIES, FLOOD, SOURCE, TURNS, Bench, is_ready, tell
from benchmarks.world import World
from dtool_operator.names import DATASET_PLURAL

#: How many of the copies the library makes; as many at a time as the operator has workers by default.
BARE_COPIES, BARE_AT_ONCE = 500, 4


async def apply_one(bench: Bench) -> list[Figure]:
    """Copy one dataset at a time with an operator that has nothing else to do."""
    namespaces = bench.world.namespaces
    seconds = [
        await bench.time_to_ready(
            bench.copy(namespaces[turn], COPIES, f"single-{turn}", bench.sources[-1 - turn])
        )
        for turn in range(TURNS)
    ]
    bench.seconds_to_ready = statistics.median(seconds)
    return [
        Figure(
            "apply of a dataset of 10 items to Ready",
            bench.seconds_to_ready,
            "s",
            1.5,
            note=f"median of {TURNS}, {max(seconds):.2f} s at most",
        )
    ]


async def be_fair(bench: Bench) -> list[Figure]:
    """Have one namespace apply thousands of copies at once, and others a single one right after.

    The delay is what the single one takes longer than with an operator that has nothing else to do.
    """
    world, count = bench.world, bench.scale.flood
    flood = [
        bench.copy(world.namespaces[0], FLOOD, f"flood-{number:04d}", uuid)
        for number, uuid in enumerate(bench.sources[:count])
    ]
    started = time.monotonic()
    await world.apply(flood)
    bench.say(f"{count} datasets applied in {time.monotonic() - started:.1f} s")
    delays = []
    for turn in range(TURNS):
        uuid = bench.sources[-1 - TURNS - turn]
        single = bench.copy(world.namespaces[1 + turn], FLOOD, f"single-{turn}", uuid)
        delays.append(await bench.time_to_ready(single) - bench.seconds_to_ready)
    world.kill_operator()
    await world.clear()
    note = (
        f"the longest of {TURNS}, median {statistics.median(delays):.2f} s; {count:,} datasets applied before"
    )
    return [Figure("delay of a single dataset by another namespace's flood", max(delays), "s", 5, note=note)]


async def copy_many(bench: Bench, library: World) -> list[Figure]:
    """Apply copies in all namespaces at once; the library makes the same copies in one process.

    The cluster holds no other dataset by now.
    """
    world, scale = bench.world, bench.scale
    bodies = [
        bench.copy(world.namespaces[number % scale.namespaces], COPIES, f"copy-{number:04d}", uuid)
        for number, uuid in enumerate(bench.sources[: scale.copies])
    ]
    await asyncio.to_thread(world.start_operator)
    await bench.wait_until_quiet(LooksLog(world.log), since=time.monotonic(), within=60)
    writes, requests = await world.api.count_writes(), bench.s3_requests(SOURCE, COPIES)
    operator, workers = cpu_seconds(world.pid), worker_seconds(world.pid)
    started = time.monotonic()
    await world.apply(bodies)
    applied, done = time.monotonic() - started, 0
    while done < len(bodies) and time.monotonic() - started < scale.copy_seconds:
        await asyncio.sleep(2)
        done = sum(is_ready(each) for each in await world.api.list_all(DATASET_PLURAL))
    seconds, each = time.monotonic() - started, max(done, 1)
    operator, workers = cpu_seconds(world.pid) - operator, worker_seconds(world.pid) - workers
    found = difference(writes, await world.api.count_writes())
    asked = difference(requests, bench.s3_requests(SOURCE, COPIES))
    world.kill_operator()
    note = (
        f"{done:,} of {scale.copies:,} in {seconds:.0f} s, applied in {applied:.0f} s; for each: CPU of the "
        f"operator {1000 * operator / each:.0f} ms and of its workers {1000 * workers / each:.0f} ms, "
        f"{sum(asked.values()) / each:.1f} S3 requests, {sum(found.values()) / each:.1f} writes to the API "
        f"server ({tell(found)})"
    )
    return [
        Figure("copies of 10 items by the operator", done / seconds, "a second", note=note),
        *_compare(bench, await _copy_alone(bench, library), done / seconds),
    ]


async def _copy_alone(bench: Bench, library: World) -> Measurement:
    return await asyncio.to_thread(
        library.ours,
        "copy_many",
        source_bucket=SOURCE,
        target_bucket=BARE,
        uuids=list(bench.sources[: min(bench.scale.copies, BARE_COPIES)]),
        at_once=BARE_AT_ONCE,
    )


def _compare(bench: Bench, alone: Measurement, rate: float) -> list[Figure]:
    count = min(bench.scale.copies, BARE_COPIES)
    bare = count / alone.seconds
    asked = sum(bench.s3_requests(BARE).values())
    note = (
        f"{count} of them, {BARE_AT_ONCE} at a time; for each: "
        f"{1000 * alone.facts['s of CPU'] / count:.0f} ms of CPU, {asked / count:.1f} S3 requests to the "
        "target's bucket"
    )
    ratio = bare / rate if rate else float("inf")
    return [
        Figure("the same by the library in one process", bare, "a second", note=note),
        Figure("the library's rate over the operator's", ratio, "times"),
    ]
