"""Watches one copy on the cluster until it is Frozen: its Pods, what they use, and how far it is."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.pod_meters import PodMeters, PodUse
from benchmarks.scale_world import ScaleWorld
from tests.support.chart import NAMESPACE

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 1200.0

Body = dict[str, Any]


@dataclass(slots=True)
class PodSeen:
    """A Pod of the operator's namespace. `kind`: of its work, empty: it is the operator's own."""

    name: str
    uid: str
    kind: str
    index: int
    first_seen: float
    """Seconds after the beginning, as is the next."""
    last_alive: float = 0.0
    phase: str = "Pending"


@dataclass(slots=True)
class Watch:
    """What was seen of one copy so far."""

    name: str
    started: float = field(default_factory=time.monotonic)
    pods: dict[str, PodSeen] = field(default_factory=dict)
    meters: PodMeters = field(default_factory=PodMeters)
    body: Body = field(default_factory=dict)
    job_bytes: int = 0
    seconds: float = 0.0

    @property
    def items_done(self) -> int:
        """How many items the status says are in place."""
        return int(self.status.get("progress", {}).get("items", 0))

    @property
    def status(self) -> Body:
        """The dataset's status as it was last read."""
        status: Body = self.body.get("status", {})
        return status

    def of_kind(self, kind: str) -> list[PodSeen]:
        """Return the Pods that did work of a kind, the oldest first."""
        return [pod for pod in self.pods.values() if pod.kind == kind]

    def use(self, kind: str) -> PodUse:
        """Return the highest figures among the Pods of a kind, and the CPU time of all."""
        uses = [self.meters.uses[pod.uid] for pod in self.of_kind(kind)]
        return PodUse(
            max((one.resident_mib for one in uses), default=0.0),
            max((one.charged_mib for one in uses), default=0.0),
            sum(one.cpu_seconds for one in uses),
        )

    def seconds_of(self, kind: str) -> float:
        """Return the time from the first such Pod to the end of the last."""
        pods = self.of_kind(kind)
        return max(pod.last_alive for pod in pods) - min(pod.first_seen for pod in pods)


#: Called after each look.
OnLook = Callable[[Watch], None]


async def watch_copy(world: ScaleWorld, name: str, on_look: OnLook = lambda _: None) -> Watch:
    """Look twice a second until the dataset is Frozen. Raises RuntimeError where it never is."""
    watch = Watch(name)
    while watch.status.get("state") != "Frozen":
        if time.monotonic() - watch.started > PATIENCE_SECONDS:
            raise RuntimeError(f"{name} is not frozen: {json.dumps(watch.status)[:2000]}")
        await asyncio.sleep(LOOK_SECONDS)
        await _look(world, watch)
        on_look(watch)
    watch.seconds = time.monotonic() - watch.started
    return watch


async def _look(world: ScaleWorld, watch: Watch) -> None:
    now = time.monotonic() - watch.started
    pods = (await world.api.send("GET", f"/api/v1/namespaces/{NAMESPACE}/pods"))["items"]
    for body in pods:
        seen = watch.pods.setdefault(body["metadata"]["uid"], _read_pod(body, now))
        seen.phase = body["status"].get("phase", "Pending")
        if seen.phase in {"Pending", "Running"}:
            seen.last_alive = now
    watch.meters.look([uid for uid, seen in watch.pods.items() if seen.phase == "Running"])
    jobs = (await world.api.send("GET", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"))["items"]
    watch.job_bytes = max([watch.job_bytes, *(len(json.dumps(job)) for job in jobs)])
    watch.body = await world.api.get("dtooldatasets", world.lab.alice, watch.name)


def _read_pod(body: Body, now: float) -> PodSeen:
    metadata = body["metadata"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    index = int(annotations.get("batch.kubernetes.io/job-completion-index", "0"))
    return PodSeen(metadata["name"], metadata["uid"], labels.get("dtool.dev/work", ""), index, now)
