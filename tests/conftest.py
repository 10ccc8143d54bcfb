"""Fixtures for every test; naming them here starts nothing."""

import signal

pytest_plugins = [
    "tests.support.s3_place",
    "tests.support.sandbox",
    "tests.support.moto",
    "tests.support.installed",
]


def pytest_configure() -> None:
    """Take Ctrl-C again: what a shell starts in the background ignores it, and so would all it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
