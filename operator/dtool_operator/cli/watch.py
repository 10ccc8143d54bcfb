"""The stream of `kubectl get --watch`: owns reading it, going on after it broke, and the time limit."""

import codecs
import json
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from dtool_operator.cli.failure import CommandFailed, ExitCode
from dtool_operator.cli.kubectl import Body, Kubectl, Place, find_kubectl
from dtool_operator.cli.kubectl_words import Relay, explain

_CHUNK_BYTES: Final = 1 << 18
_PAUSE_SECONDS: Final = 1.0
#: So often in a row a watch may break before it said anything.
_ATTEMPTS: Final = 30
_END_SECONDS: Final = 5.0
_TICK_SECONDS: Final = 1.0
_BLANKS: Final = re.compile(r"\s*")


class Moment(Enum):
    """What a stream tells beside events."""

    BEGUN = auto()
    """It begins (again): what is there comes next, and of what went meanwhile nothing will be told."""
    TICK = auto()
    """Nothing came for a second."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch: ADDED, MODIFIED or DELETED, and the object."""

    type: str
    body: Body


class TimeOver(CommandFailed):
    """The time limit is over."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"not within {seconds:g} s",
            "it goes on in the cluster; `kubectl dtool status --watch` shows it",
            code=ExitCode.TIMED_OUT,
        )


def watch(
    kubectl: Kubectl, resource: str, place: Place, *, name: str | None, timeout_seconds: float | None
) -> Iterator[Event | Moment]:
    """Yield what happens to one object or all of a place, first those that are there.

    A stream that ends is begun anew: its objects come again as ADDED. Raises TimeOver, and CommandFailed for
    what kubectl says before its first event.
    """
    # `get NAME --watch` loses what changes between its get and its watch, whose first event it drops
    chosen = () if name is None else (f"--field-selector=metadata.name={name}",)
    words = ("get", resource, *chosen, *place.words, *kubectl.options)
    options = ("--watch", "--output-watch-events", "--output=json")
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    failures, is_begun = 0, False
    while True:
        with _stream((*words, *options)) as (process, relay):
            yield Moment.BEGUN
            for one in _read(process):
                if deadline is not None and timeout_seconds is not None and time.monotonic() >= deadline:
                    raise TimeOver(timeout_seconds)
                if isinstance(one, Event):
                    failures, is_begun = 0, True
                yield one
            process.wait(_END_SECONDS)
        relay.join(_END_SECONDS)
        failures = 0 if process.returncode == 0 else failures + 1
        error = explain(f"cannot watch {resource}{place}", relay.error)
        is_refused = error.reason == "Forbidden" or (relay.error and not is_begun)
        if failures and (is_refused or failures >= _ATTEMPTS):
            raise error
        if deadline is not None and timeout_seconds is not None and time.monotonic() >= deadline:
            raise TimeOver(timeout_seconds)
        time.sleep(_PAUSE_SECONDS)


@contextmanager
def _stream(words: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], Relay]]:
    read_end, write_end = os.pipe()
    relay = Relay(read_end, getattr(sys.stderr, "buffer", None))
    relay.start()
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell; the words are the user's own
            [find_kubectl(), *words], stdout=subprocess.PIPE, stderr=write_end
        )
    finally:
        os.close(write_end)
    try:
        yield process, relay
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _read(process: "subprocess.Popen[bytes]") -> Iterator[Event | Moment]:
    """Yield the events of one stream until it ends, and ticks."""
    assert process.stdout is not None
    decoder, text = codecs.getincrementaldecoder("utf-8")(errors="replace"), ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(_TICK_SECONDS):
                yield Moment.TICK
                continue
            chunk = os.read(process.stdout.fileno(), _CHUNK_BYTES)
            if not chunk:
                return
            text += decoder.decode(chunk)
            documents, text = split_documents(text)
            for one in documents:
                if isinstance(one, dict) and isinstance(one.get("object"), dict):
                    yield Event(str(one.get("type")), one["object"])


def split_documents(text: str) -> tuple[list[Any], str]:
    """Return the JSON documents that are complete, which follow each other, and the rest of the text."""
    found: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    while True:
        blank = _BLANKS.match(text, at)
        begin = at if blank is None else blank.end()
        try:
            document, at = decoder.raw_decode(text, begin)
        except ValueError:
            return found, text[begin:]
        found.append(document)
