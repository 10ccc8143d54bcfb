"""Secrets stay secret in every way a value is shown or stored."""

import copy
import dataclasses
import json
import logging
import pickle
from collections.abc import Callable

import pytest

from dtool_s3.settings import (
    Addressing,
    ConditionalWrites,
    Credentials,
    Endpoint,
    Secret,
    ambient_credentials,
)

TEXT = "wJalrXUtnFEMI"
CREDENTIALS = Credentials("AKIA", Secret(TEXT), Secret(f"token-{TEXT}"))


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!r:>40}",
        lambda secret: f"{secret:>40}",
        lambda secret: f"{secret!s}",
        "{0} {0!r}".format,
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - one way among others
        lambda secret: str([secret]) + str({"key": secret}),
        lambda secret: str(ValueError(secret)),
        lambda secret: json.dumps({"key": secret}, default=str),
        lambda _: repr(CREDENTIALS) + str(CREDENTIALS),
        lambda _: repr(dataclasses.replace(CREDENTIALS, access_key_id="other")),
    ],
)
def test_a_secret_is_not_shown(show: Callable[[Secret], str]) -> None:
    shown = show(Secret(TEXT))

    assert TEXT not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "store",
    [pickle.dumps, json.dumps, copy.copy, copy.deepcopy, vars, lambda _: dataclasses.asdict(CREDENTIALS)],
)
def test_a_secret_is_not_stored(store: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError) as caught:
        store(Secret(TEXT))

    assert TEXT not in str(caught.value)


def test_a_secret_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("%s %r %s", Secret(TEXT), Secret(TEXT), CREDENTIALS)

    assert TEXT not in caplog.text


def test_a_secret_is_revealed_on_demand_only() -> None:
    assert Secret(TEXT).reveal() == TEXT


def test_secrets_compare_by_their_text_with_secrets_only() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert hash(Secret(TEXT)) == hash(Secret(TEXT))
    assert Secret(TEXT) != Secret("other")
    assert Secret(TEXT) != TEXT


def test_changed_keys_are_seen_by_comparing_credentials() -> None:
    assert dataclasses.replace(CREDENTIALS) == CREDENTIALS
    assert dataclasses.replace(CREDENTIALS, session_token=None) != CREDENTIALS


def test_an_endpoint_is_aws_with_conditional_writes_unless_said_otherwise() -> None:
    assert Endpoint() == Endpoint(None, None, Addressing.AUTO, None, ConditionalWrites.REQUIRED)
    assert ambient_credentials() is None
