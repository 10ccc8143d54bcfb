"""One large dataset of small items, copied by a child process, by shards, and by shards that are killed."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.meters import count_s3_requests, difference
from benchmarks.operator_bench import Say, tell
from benchmarks.pod_meters import kill_in_pod
from benchmarks.scale_watch import Watch, watch_copy
from benchmarks.scale_world import ITEM_BYTES, SHARDS, ScaleWorld

SHARE, WHOLE, OPERATOR = "copyItems", "copy", ""
#: Of the items that are in place, when a shard's worker and the operator are killed.
SHARD_KILLED_AT, OPERATOR_KILLED_AT = 0.25, 0.5
FETCHED = 5

_REQUESTS = re.compile(r"^dtool_operator_s3_requests_total\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
_OPERATION = re.compile(r'operation="([^"]*)"')


@dataclass(slots=True)
class Bench:
    """The world, the size of the dataset, and where files may be written."""

    world: ScaleWorld
    say: Say
    directory: Path

    @property
    def items(self) -> int:
        """How many items the dataset has."""
        return self.world.items

    def count_requests(self) -> dict[str, int]:
        """Count the S3 requests that the operator and its workers have made, by operation."""
        found: Counter[str] = Counter()
        for sample in _REQUESTS.finditer(self.world.read_metrics()):
            operation = _OPERATION.search(sample["labels"])
            found[operation[1] if operation else ""] += int(float(sample["value"]))
        return dict(found)

    def per_item(self, counts: Mapping[str, int]) -> float:
        """Divide by the items."""
        return sum(counts.values()) / self.items


async def measure_scale(world: ScaleWorld, count: int, say: Say, directory: Path) -> list[Figure]:
    """Measure everything; nothing is installed before."""
    await asyncio.to_thread(world.set_up)
    started = time.monotonic()
    await asyncio.to_thread(world.write_dataset, count)
    say(f"{count:,} items of {ITEM_BYTES} bytes written in {time.monotonic() - started:.0f} s")
    bench = Bench(world, say, directory)
    figures: list[Figure] = []
    for row in (copy_whole, copy_in_shards, copy_with_deaths):
        found = await row(bench)
        for figure in found:
            say(f"{figure.row()} {figure.note}".rstrip())
        figures += found
    return figures


async def copy_whole(bench: Bench) -> list[Figure]:
    """Copy as it is without Jobs: a child process in the operator's Pod."""
    bucket = await asyncio.to_thread(bench.world.make_target)
    before = bench.count_requests()
    await asyncio.to_thread(bench.world.begin_copy, "whole", bucket)
    watch = await watch_copy(bench.world, "whole")
    asked, use = difference(before, bench.count_requests()), watch.use(OPERATOR)
    return [
        Figure("copy by a child process, from apply to Frozen", watch.seconds, "s", note=_told(bench, asked)),
        Figure("S3 requests for each item", bench.per_item(asked), ""),
        _memory("the operator's Pod, with its child", watch, OPERATOR),
        Figure("CPU time of the operator's Pod", use.cpu_seconds, "s", note="with its child, since it began"),
    ]


async def copy_in_shards(bench: Bench) -> list[Figure]:
    """Copy by an Indexed Job, then by the Job that finds everything in place and freezes."""
    world = bench.world
    await asyncio.to_thread(world.divide_copies)
    bucket = await asyncio.to_thread(world.make_target)
    before, writes = bench.count_requests(), await world.api.count_writes()
    marks = Marks(bench.count_requests)
    await asyncio.to_thread(world.begin_copy, "divided", bucket)
    watch = await watch_copy(world, "divided", marks.look)
    after, written = bench.count_requests(), difference(writes, await world.api.count_writes())
    await asyncio.to_thread(_read_by_upstream, bench, bucket)
    shards, whole = difference(before, marks.requests), difference(marks.requests, after)
    size = len(json.dumps(watch.body))
    return [
        *_tell_times(bench, watch, shards, whole),
        Figure("S3 requests of the shards for each item", bench.per_item(shards), ""),
        Figure("S3 requests of the copy after them for each item", bench.per_item(whole), ""),
        _memory("a shard's Pod", watch, SHARE),
        _memory("the Pod of the copy after them", watch, WHOLE),
        _memory("the operator's Pod meanwhile", watch, OPERATOR),
        Figure("CPU time of all shards", watch.use(SHARE).cpu_seconds, "s"),
        Figure("CPU time of the copy after them", watch.use(WHOLE).cpu_seconds, "s"),
        Figure(
            "writes to the API server for our objects",
            sum(written.values()),
            "",
            note=f"{tell(written)}; as JSON the largest Job has {watch.job_bytes:,} bytes, the DtoolDataset "
            f"{size:,}",
        ),
    ]


def _tell_times(
    bench: Bench, watch: Watch, shards: Mapping[str, int], whole: Mapping[str, int]
) -> list[Figure]:
    beside = watch.seconds - watch.seconds_of(SHARE) - watch.seconds_of(WHOLE)
    condition = next(each for each in watch.status["conditions"] if each["type"] == "Verified")
    note = (
        f"{beside:.1f} s of it looks, and Jobs that are made; then Frozen, Verified={condition['status']}, "
        f"{watch.status['items']:,} items; upstream dtool listed them all and fetched {FETCHED}"
    )
    return [
        Figure(f"copy by {SHARDS} shards, from apply to Frozen", watch.seconds, "s", note=note),
        Figure(
            "from the first shard's Pod to the last one's end",
            watch.seconds_of(SHARE),
            "s",
            note=_told(bench, shards),
        ),
        Figure(
            "the copy after them, which proves and freezes",
            watch.seconds_of(WHOLE),
            "s",
            note=_told(bench, whole),
        ),
    ]


async def copy_with_deaths(bench: Bench) -> list[Figure]:
    """Copy once more, and kill one shard's worker and later the operator with SIGKILL."""
    world = bench.world
    bucket = await asyncio.to_thread(world.make_target)
    metrics = world.lab.object_store.metrics_url
    deaths = Deaths(bench)
    await asyncio.to_thread(world.begin_copy, "killed", bucket)
    watch = await watch_copy(world, "killed", deaths.look)
    counted = count_s3_requests(metrics, bucket)
    pods = Counter(pod.index for pod in watch.of_kind(SHARE))
    copies = counted.get("COPY", 0)
    note = (
        f"the worker of shard {deaths.index} was killed with {deaths.items_at_shard:,} items in place, the "
        f"operator with {deaths.items_at_operator:,}; Pods by shard: "
        + ", ".join(f"{pods[index]}" for index in sorted(pods))
    )
    return [
        Figure("the same with a shard and the operator killed", watch.seconds, "s", note=note),
        Figure(
            "copies beyond one for each item",
            copies - bench.items,
            "",
            note=f"at the S3 server, which counted for the bucket: {tell(counted)}",
        ),
    ]


@dataclass(slots=True)
class Marks:
    """What the requests were when the last shard had ended: the Job after them is there."""

    count: Callable[[], dict[str, int]]
    requests: dict[str, int] = field(default_factory=dict)

    def look(self, watch: Watch) -> None:
        """Take it down, once."""
        if not self.requests and watch.of_kind(WHOLE):
            self.requests = self.count()


@dataclass(slots=True)
class Deaths:
    """Kills one shard's worker, then the operator."""

    bench: Bench
    index: int = 1
    items_at_shard: int = 0
    items_at_operator: int = 0

    def look(self, watch: Watch) -> None:
        """Kill whoever's turn it is."""
        done, items = watch.items_done, self.bench.items
        if not self.items_at_shard and done >= SHARD_KILLED_AT * items:
            (pod,) = (one for one in watch.of_kind(SHARE) if one.index == self.index)
            if kill_in_pod(pod.uid, "dtool-operator"):
                self.items_at_shard = done
        elif not self.items_at_operator and done >= OPERATOR_KILLED_AT * items:
            (operator,) = (one for one in watch.of_kind(OPERATOR) if one.phase == "Running")
            if kill_in_pod(operator.uid, "dtool-operator"):
                self.items_at_operator = done


def _read_by_upstream(bench: Bench, bucket: str) -> None:
    """Have upstream's dtool count the items and fetch some. Raises RuntimeError where it does not."""
    lab, uri = bench.world.lab, f"s3://{bucket}/{bench.world.uuid}"
    dtool = lab.upstream(bucket, bench.directory / "upstream", prefix=f"u/{lab.alice}/")
    told = dtool.run("ls", uri)
    identifiers = [line.split()[0] for line in told.splitlines()]
    if len(identifiers) != bench.items:
        raise RuntimeError(f"upstream dtool lists {len(identifiers)} items")
    for identifier in identifiers[:FETCHED]:
        path = dtool.run("item", "fetch", uri, identifier)
        if Path(path).stat().st_size != ITEM_BYTES:
            raise RuntimeError(f"upstream dtool fetched {path}")


def _memory(what: str, watch: Watch, kind: str) -> Figure:
    use = watch.use(kind)
    note = f"with the page cache that it caused {use.charged_mib:,.0f} MiB"
    return Figure(f"resident memory of {what}", use.resident_mib, "MiB", note=note)


def _told(bench: Bench, counts: Mapping[str, int]) -> str:
    return f"{sum(counts.values()):,} S3 requests: {tell(counts)}; {bench.items:,} items"
