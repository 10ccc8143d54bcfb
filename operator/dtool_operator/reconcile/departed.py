"""Which objects went lately. A uid never comes back: what still speaks of it is old, whenever it arrives."""

from collections import OrderedDict
from typing import Final

#: An answer to an own write lags behind the watch by seconds; so many objects do not go in that time.
REMEMBERED: Final = 10_000


class Departed:
    """Remembers the uids that went last."""

    def __init__(self) -> None:
        self._uids: OrderedDict[str, None] = OrderedDict()

    def add(self, uid: str) -> None:
        """Remember an object that is gone."""
        self._uids[uid] = None
        if len(self._uids) > REMEMBERED:
            self._uids.popitem(last=False)

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids
