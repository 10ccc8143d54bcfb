"""Freezing a proto dataset that others filled, where it lies: waiting for them, freezing, looking again.

Owns the quiet period and the step from a coroutine into dtoolcore's freeze, which runs in a thread and rests
on the listing that was found quiet: whatever changes since is refused at the flip. Order and guards of the
freeze itself are in `dtool_s3.broker` and `dtool_s3.freezing`. Aborts no uploads and removes no items.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    NotFound,
    NotSupported,
    PreconditionFailed,
    WrittenWhileFreezing,
)
from dtool_s3.freezing import list_items, read_admin_metadata
from dtool_s3.layout import DatasetLayout
from dtool_s3.naming import name_few
from dtool_s3.registration import check_registration
from dtool_s3.store.protocol import Listing, Store
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.verify import VerifiedDataset, verify_dataset


async def freeze_dataset(
    store: Store,
    layout: DatasetLayout,
    *,
    quiet_seconds: float,
    on_progress: ProgressSink = no_progress,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> VerifiedDataset:
    """Freeze a proto dataset once nobody writes to it; return what a listing shows of it afterwards.

    Quiet is: two equal listings `quiet_seconds` apart, and no unfinished multipart upload where those may be
    listed (rule 14 of the API design). What differs after the flip is in the result. A dataset that is frozen
    already is verified and returned, after what an interrupted freeze left to be cleared away.

    Raises WrittenWhileFreezing where it is not quiet or does not stay so, ContentDiffers, naming keys under
    `data/` that are no items, ItemMissing, DatasetMissing, UUIDTaken, RegistrationHijacked, StorageError: it
    is a proto dataset still then, and freezing it again goes on.
    """
    await check_registration(store, layout)
    admin, _ = await read_admin_metadata(store, layout)
    if admin.is_frozen:
        await _clear_away(store, layout)
    else:
        quiet = await _wait_until_quiet(store, layout, quiet_seconds, on_progress, sleep)
        await freeze_listed(store, layout, quiet, on_progress=on_progress)
    return await verify_dataset(store, layout, on_progress=on_progress)


async def freeze_listed(
    store: Store, layout: DatasetLayout, listing: Listing, *, on_progress: ProgressSink = no_progress
) -> None:
    """Freeze a proto dataset as `dtool freeze` does, by a listing of `layout.root` that was just taken.

    `on_progress` is told items that were hashed. Raises as `freeze_dataset`.
    """
    import dtoolcore  # noqa: PLC0415 - slow to load, like the broker over it; needed here only

    from dtool_s3.broker.proto_dataset import freeze_proto_dataset  # noqa: PLC0415 - see above

    ticker = _Ticker(_count(layout, listing, on_progress), asyncio.get_running_loop())
    try:
        await asyncio.to_thread(freeze_proto_dataset, store, layout, seen=listing, on_items=ticker)
    except (NotFound, PreconditionFailed) as error:
        raise WrittenWhileFreezing(f"{layout.root!r} changed after it was listed: {error}") from error
    except (dtoolcore.DtoolCoreValueError, dtoolcore.DtoolCoreInvalidNameError) as error:
        raise ContentDiffers(
            f"metadata of single items in {layout.root!r} cannot become overlays: {error}"
        ) from error
    finally:
        ticker.is_stopped = True


async def _wait_until_quiet(
    store: Store,
    layout: DatasetLayout,
    quiet_seconds: float,
    on_progress: ProgressSink,
    sleep: Callable[[float], Awaitable[None]],
) -> Listing:
    """Return a listing that equals the one `quiet_seconds` before; raise WrittenWhileFreezing."""
    await _check_uploads(store, layout)
    before = await store.list(layout.root)
    _count(layout, before, on_progress)
    await sleep(quiet_seconds)
    now = await store.list(layout.root)
    await _check_uploads(store, layout)
    if now.objects != before.objects:
        changed = sorted({listed.key for listed in {*before.objects} ^ {*now.objects}})
        raise WrittenWhileFreezing(
            f"{layout.root!r} was written to within {quiet_seconds:g} seconds: {name_few(changed)}"
        )
    return now


async def _check_uploads(store: Store, layout: DatasetLayout) -> None:
    """Raise WrittenWhileFreezing where items are being uploaded, as far as that may be known."""
    with suppress(AccessDenied, NotSupported):
        uploads = await store.list_uploads(layout.root)
        if uploads:
            keys = sorted({upload.key for upload in uploads})
            raise WrittenWhileFreezing(
                f"{len(uploads)} multipart uploads are not finished; complete or abort them: {name_few(keys)}"
            )


async def _clear_away(store: Store, layout: DatasetLayout) -> None:
    """Remove the metadata of single items that a freeze made overlays of and was killed before removing."""
    from dtool_s3.broker.freeze_session import FreezeSession  # noqa: PLC0415 - see `freeze_listed`
    from dtool_s3.broker.items import ItemReader  # noqa: PLC0415 - likewise

    await FreezeSession(store, layout, ItemReader(store, layout)).remove_fragments()


def _count(layout: DatasetLayout, listing: Listing, on_progress: ProgressSink) -> ProgressCounter:
    """Tell how much there is, and count from nothing."""
    items = list_items(layout, listing.objects).values()
    return ProgressCounter(
        on_progress,
        items_total=len(items),
        bytes_total=sum(listed.size_bytes for listed in items),
        phase=Phase.FREEZING,
    )


class _Ticker:
    """Counts items in another thread, and ends the work there once nobody waits for it."""

    def __init__(self, counter: ProgressCounter, loop: asyncio.AbstractEventLoop) -> None:
        self._counter, self._loop = counter, loop
        self.is_stopped = False

    def __call__(self, items: int) -> None:
        if self.is_stopped:
            raise InterruptedError("the freezing was given up before anything was written")
        self._loop.call_soon_threadsafe(lambda: self._counter.add(items=items, size_bytes=0))
