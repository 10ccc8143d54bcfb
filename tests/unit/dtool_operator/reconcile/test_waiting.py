"""Who waits for a place (rule 17): namespaces take turns, and nobody loses his."""

from dtool_operator.names import DATASET_PLURAL
from dtool_operator.reconcile.queue import Key
from dtool_operator.reconcile.waiting import WaitingRoom


def key(name: str) -> Key:
    """The key of an object: the first letter is its namespace."""
    return Key(DATASET_PLURAL, name[0], name)


def filled(*names: str) -> WaitingRoom:
    room = WaitingRoom()
    for name in names:
        room.add(key(name))
    return room


def called(room: WaitingRoom, count: int) -> list[str]:
    return [one.uid for one in room.call(count)]


def test_rule_17_namespaces_are_called_in_turn_and_within_one_who_came_first() -> None:
    room = filled("a1", "a2", "a3", "b1", "c1", "c2")

    assert called(room, 4) == ["a1", "b1", "c1", "a2"]
    assert called(room, 9) == ["c2", "a3"]
    assert called(room, 1) == []


def test_rule_17_a_turn_is_kept_over_calls() -> None:
    room = filled("a1", "a2", "b1", "b2")

    assert [called(room, 1) for _ in range(4)] == [["a1"], ["b1"], ["a2"], ["b2"]]


def test_whoever_waits_already_keeps_his_turn() -> None:
    room = filled("a1", "a2", "a1")

    assert (len(room), called(room, 1)) == (2, ["a1"])


def test_whoever_was_called_and_comes_back_is_the_last() -> None:
    room = filled("a1", "a2")
    room.add(room.call(1)[0])

    assert called(room, 2) == ["a2", "a1"]


def test_whoever_leaves_is_not_called_and_leaves_nothing() -> None:
    room = filled("a1", "b1", "b2")

    room.discard(key("a1"))
    room.discard(key("b1"))
    room.discard(key("b1"))
    room.discard(key("x1"))

    assert (len(room), called(room, 9), len(room)) == (1, ["b2"], 0)
