"""Who waits for a place among the transfers; round robin over namespaces, first come first served in each."""

from collections import OrderedDict

from dtool_operator.reconcile.queue import Key


class WaitingRoom:
    """Keys that found no place; whoever is called leaves, and comes back where it finds none again."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, OrderedDict[Key, None]] = OrderedDict()

    def add(self, key: Key, *, is_urgent: bool = False) -> None:
        """Let a key wait; one that waits already keeps its turn, an urgent one is its namespace's next."""
        keys = self._waiting.setdefault(key.namespace, OrderedDict())
        keys.setdefault(key)
        if is_urgent:
            keys.move_to_end(key, last=False)

    def discard(self, key: Key) -> None:
        """Let a key wait no more; unknown ones are fine."""
        keys = self._waiting.get(key.namespace, OrderedDict())
        keys.pop(key, None)
        if not keys:
            self._waiting.pop(key.namespace, None)

    def call(self, count: int) -> list[Key]:
        """Call up to `count` keys, each time of the namespace that was not called for longest."""
        called: list[Key] = []
        while self._waiting and len(called) < count:
            namespace, keys = self._waiting.popitem(last=False)
            key = next(iter(keys))
            del keys[key]
            if keys:
                self._waiting[namespace] = keys
            called.append(key)
        return called

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))
