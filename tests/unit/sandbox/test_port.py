"""Ports are free when they are chosen, and chosen again when somebody was faster."""

import socket

import pytest

from sandbox import port
from sandbox.errors import ProcessError
from sandbox.port import find_free_ports, with_free_ports


def test_ports_are_distinct_and_below_those_for_outgoing_connections() -> None:
    ports = find_free_ports(20, also_plus=10_000)

    everything = {*ports, *(each + 10_000 for each in ports)}
    assert len(everything) == 40
    assert max(everything) < 32_768


@pytest.mark.parametrize("offset", [0, 10_000])
def test_a_taken_port_is_not_chosen(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        wanted = taken.getsockname()[1] - offset
        monkeypatch.setattr(port, "LOWEST", wanted)
        monkeypatch.setattr(port, "HIGHEST", wanted)

        with pytest.raises(ProcessError, match="no 1 free ports"):
            find_free_ports(1, also_plus=offset)


def test_a_start_that_lost_its_port_is_tried_again() -> None:
    answers = iter([ProcessError("listen tcp: bind: address already in use"), "started"])

    def start() -> str:
        answer = next(answers)
        if isinstance(answer, ProcessError):
            raise answer
        return answer

    assert with_free_ports(start) == "started"


def test_a_start_that_fails_otherwise_is_not_tried_again() -> None:
    starts = []

    def start() -> None:
        starts.append(1)
        raise ProcessError("no disk")

    with pytest.raises(ProcessError, match="no disk"):
        with_free_ports(start)
    assert len(starts) == 1
