"""The list of reasons."""

import copy
import pickle

import pytest

from dtool_operator.api.reasons import Reason, find_reason, is_stalled_reason


def test_a_reason_is_its_text_and_knows_its_meaning() -> None:
    assert Reason("UUIDTaken") is Reason.UUID_TAKEN
    assert f"{Reason.UUID_TAKEN}" == "UUIDTaken"
    assert "registration key" in Reason.UUID_TAKEN.meaning


def test_a_reason_survives_copying_and_pickling() -> None:
    assert copy.deepcopy(Reason.FROZEN) is Reason.FROZEN
    assert pickle.loads(pickle.dumps(Reason.FROZEN)) is Reason.FROZEN  # noqa: S301 (our own bytes)


def test_exactly_the_reasons_that_nothing_outside_the_object_can_help_are_stalled() -> None:
    """Rule 20."""
    assert {str(reason) for reason in Reason if is_stalled_reason(reason)} == {
        "InvalidSpec",
        "UnsafePath",
        "ContentDiffers",
        "AlreadyInBucket",
        "InvalidManifest",
        "ReservedForAdministrators",
        "NotSupported",
    }


@pytest.mark.parametrize("reason", ["NotSupported", "InvalidSpec"])
def test_a_reason_read_back_as_text_is_judged_the_same(reason: str) -> None:
    assert is_stalled_reason(reason)


def test_every_reason_that_the_contract_names_is_there() -> None:
    """Rule 20."""
    named = {
        "AccessDenied",
        "AlreadyInBucket",
        "BucketNotFound",
        "BucketNotReady",
        "BucketUnreachable",
        "ClaimedByAnother",
        "ClockSkewed",
        "ContentDiffers",
        "ContentNotRead",
        "CredentialsRejected",
        "DatasetMissing",
        "EndpointNotAllowed",
        "InvalidManifest",
        "InvalidSpec",
        "ItemArchived",
        "ItemMissing",
        "NamespaceNotAllowed",
        "NotSupported",
        "OutsideAnyPrefix",
        "PrefixOverlaps",
        "PrefixOwnedByOther",
        "QuotaExceeded",
        "ReadOnlyBucket",
        "RegistrationHijacked",
        "ReservedForAdministrators",
        "SecretForbidden",
        "SourceAmbiguous",
        "SourceDamaged",
        "SourceDatasetNotFound",
        "SourceNotAllowed",
        "SourceNotFound",
        "SourceNotFrozen",
        "Suspended",
        "Throttled",
        "UUIDTaken",
        "UnsafePath",
        "WrittenWhileFreezing",
    }

    assert named <= set(Reason)


def test_a_reason_is_found_by_its_text_and_an_unknown_one_is_the_default() -> None:
    assert find_reason("ItemMissing", Reason.STORAGE_ERROR) is Reason.ITEM_MISSING
    assert find_reason("NoSuchThing", Reason.STORAGE_ERROR) is Reason.STORAGE_ERROR
