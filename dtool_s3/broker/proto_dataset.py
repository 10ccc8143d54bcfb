"""dtoolcore's proto dataset on a broker that is given; so that freezing has one code path for all callers.

dtoolcore decides the order of a freeze, our broker guards each step of it. Blocks: to be run in a thread.
"""

from collections.abc import Callable
from typing import Any

import dtoolcore

from dtool_s3.layout import DatasetLayout
from dtool_s3.storagebroker import S3StorageBroker
from dtool_s3.store.protocol import Listing, Store


class GivenProtoDataSet(dtoolcore.ProtoDataSet):  # type: ignore[misc]  # dtoolcore has no types
    """A proto dataset that neither reads variables nor looks for entry points."""

    def __init__(self, broker: S3StorageBroker, admin_metadata: dict[str, Any]) -> None:
        self._storage_broker = broker
        self._admin_metadata = admin_metadata
        self._uri = f"s3://{broker.bucket}/{broker.uuid}"


class _ItemTicker:
    """What dtoolcore takes for a progress bar: counts the items of the manifest."""

    label = ""
    item_show_func: object = None

    def __init__(self, on_items: Callable[[int], None]) -> None:
        self._on_items = on_items

    def update(self, count: int) -> None:
        self._on_items(count)


def freeze_proto_dataset(
    store: Store, layout: DatasetLayout, *, seen: Listing, on_items: Callable[[int], None]
) -> None:
    """Freeze the proto dataset at `layout`, as `dtool freeze` does.

    `seen` is a listing of it, on which the freeze rests; `on_items` is told items that were hashed. Raises
    what the broker raises; the dataset is then a proto dataset still.
    """
    broker = S3StorageBroker(f"s3://{store.bucket}/{layout.uuid}", store=store, prefix=layout.prefix)
    broker.rest_on(layout, seen)
    dataset = GivenProtoDataSet(broker, broker.get_admin_metadata())
    dataset.freeze(progressbar=_ItemTicker(on_items))
