"""Brings the planned items of a copy into place, several at a time; owns what is known of them afterwards.

The plans are taken from their queue as they are worked on, so that of many items no more is held than needed.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

from dtool_s3.concurrency import run_workers
from dtool_s3.documents import Manifest
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.budget import ByteBudget
from dtool_s3.transfer.items import ItemMover, PlacedItem
from dtool_s3.transfer.plan import Evidence, ItemPlan
from dtool_s3.transfer.progress import ProgressCounter
from dtool_s3.transfer.request import CopyRequest
from dtool_s3.transfer.shared_budget import shared_budget
from dtool_s3.transfer.tally import Verification

#: Small items that one worker copies at a time: beside the first, so many more.
_COPIED_IN_TURN = 7


@dataclass(slots=True)
class Placing:
    """One run: what is in place so far, by which evidence; ETags by identifier where they are no MD5."""

    mover: ItemMover
    concurrency: int
    etags: dict[str, str] = field(default_factory=dict)
    evidence: Counter[Evidence] = field(default_factory=Counter)
    moved: int = 0

    async def place(self, plans: deque[ItemPlan], counter: ProgressCounter) -> None:
        """Bring all items into place; the first failure stops the rest and is raised as it is."""
        workers = min(max(1, self.concurrency), len(plans))

        async def work() -> None:
            while plans:
                taken = _take_few(plans, self.mover, workers)
                if len(taken) > 1:
                    found = await self.mover.place_many(taken)
                else:
                    found = [await self.mover.place(taken[0])]
                for plan, placed in zip(taken, found, strict=True):
                    self._note(plan, placed)
                    counter.add(items=1, size_bytes=plan.item.size_bytes)

        await run_workers(work, count=workers)

    def verification(self, manifest: Manifest) -> Verification:
        """Return what is known of the items, all of which are in place."""
        return Verification(
            items=len(manifest.items),
            size_bytes=manifest.size_bytes,
            evidence={kind: self.evidence[kind] for kind in Evidence},
        )

    def _note(self, plan: ItemPlan, placed: PlacedItem) -> None:
        if placed.etag != plan.item.hash:
            self.etags[plan.identifier] = placed.etag
        self.evidence[placed.evidence] += 1
        self.moved += placed.is_moved


def start_placing(
    source: Store, target: Store, request: CopyRequest, has_base64_handles: bool, *, server_side: bool
) -> Placing:
    """Return the work on the items of a copy; `has_base64_handles`: headers of the source can be kept."""
    budget = shared_budget() if request.memory_bytes is None else ByteBudget(request.memory_bytes)
    mover = ItemMover(
        source,
        target,
        request.target_layout,
        keeps_headers=has_base64_handles,
        must_stream=not server_side,
        limits=request.limits,
        grace_seconds=request.grace_seconds,
        budget=budget,
    )
    return Placing(mover, request.concurrency)


def _take_few(plans: deque[ItemPlan], mover: ItemMover, workers: int) -> list[ItemPlan]:
    """Take the next item, and more that are copied with it; fewer towards the end, so that none waits."""
    taken = [plans.popleft()]
    if mover.may_copy_many(taken[0]):
        limit = min(_COPIED_IN_TURN, len(plans) // (2 * workers))
        while len(taken) <= limit and mover.may_copy_many(plans[0]):
            taken.append(plans.popleft())
    return taken
