"""A DtoolBucket of a team serves its namespace with its Secret, whatever it asks for (rules 1, 2 and 5)."""

from typing import Any

import pytest

from dtool_operator.api.bucket import DtoolBucketSpec
from dtool_operator.errors import ApiFailure
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from tests.support.datasets import UUID
from tests.support.play import ADMIN_NAMESPACE, ADMITTED, ENDPOINT, Play

OWN_KEYS = {"secretRef": {"name": "own"}}

#: What a team may not set, by the field that the refusal names.
RESERVED: dict[str, dict[str, Any]] = {
    "credentials": {"credentials": None},
    "allowedNamespaces": {"allowedNamespaces": ADMITTED},
    "allowedNamespaces.all": {"allowedNamespaces": {"from": "All"}},
    "prefixOverrides": {"prefixOverrides": [{"namespace": "mallory", "prefix": "u/bob/"}]},
    "prefixOverrides.other": {"prefixOverrides": [{"namespace": "bob", "prefix": "u/x/"}]},
    "takeOver": {"takeOver": [{"namespace": "bob", "fromOwner": "a/b"}]},
    "workers": {"workers": {"priorityClassName": "system-cluster-critical"}},
}
#: Fields that give nobody a power over others: what they ask for is asked for with the team's own keys.
HARMLESS = {
    "bucket", "endpoint", "region", "addressing", "ca_bundle", "encryption", "conditional_writes",
    "prefix_template", "acknowledged_prefixes", "read_access", "access_mode", "listing", "limits", "suspend",
}  # fmt: skip


def team_bucket(play: Play, name: str = "own", **spec: Any) -> None:
    """Let mallory, who administrates her namespace, apply a DtoolBucket with her own Secret."""
    play.secret("own", namespace="mallory", key_id="mallory")
    play.cluster.let_operator_read_secrets("mallory")
    full = {"prefixTemplate": "m/{namespace}/", "credentials": OWN_KEYS, **spec}
    given = {key: value for key, value in full.items() if value is not None}
    play.bucket(name, namespace="mallory", **given)


def reason(play: Play, name: str = "own") -> str:
    told: str = play.condition("mallory", name, plural=BUCKET_PLURAL)["reason"]
    return told


def test_every_field_of_a_bucket_object_is_a_reserved_power_or_harmless() -> None:
    """Whoever adds a field decides here what it gives a team."""
    reserved = {"credentials", "allowed_namespaces", "prefix_overrides", "take_over", "workers"}

    assert set(DtoolBucketSpec.model_fields) == reserved | HARMLESS


@pytest.mark.parametrize("case", RESERVED)
async def test_a_reserved_power_on_a_teams_bucket_stalls_it_before_s3_is_asked(play: Play, case: str) -> None:
    play.server.create_bucket("mallorys")
    play.server.requests.clear()

    team_bucket(play, bucket="mallorys", **RESERVED[case])
    await play.settle()

    assert reason(play) == "ReservedForAdministrators"
    assert [request for request in play.server.requests if request.bucket == "mallorys"] == []


@pytest.mark.parametrize("template", ["", "u/{namespace}/", "u/alice/", "u/"])
async def test_a_teams_bucket_takes_no_prefix_of_an_administrators(play: Play, template: str) -> None:
    team_bucket(play, prefixTemplate=template)
    await play.settle()

    assert reason(play) == "PrefixOverlaps"
    assert play.condition(ADMIN_NAMESPACE, "lab", plural=BUCKET_PLURAL)["status"] == "True"


async def test_the_secret_of_another_namespace_is_never_read(play: Play) -> None:
    """A Secret is named without a namespace: the API server refuses one that is written beside its name."""
    play.server.create_bucket("mallorys")
    keys = {"secretRef": {"name": "lab-s3", "namespace": ADMIN_NAMESPACE}}
    with pytest.raises(ApiFailure, match="'namespace' was unexpected"):
        team_bucket(play, bucket="mallorys", credentials=keys)

    team_bucket(play, bucket="mallorys", credentials={"secretRef": {"name": "lab-s3"}})
    await play.settle()

    assert reason(play) == "SecretNotFound"


async def test_without_a_rolebinding_not_even_the_teams_own_secret_is_read(play: Play) -> None:
    play.server.create_bucket("mallorys")
    team_bucket(play, bucket="mallorys")
    play.cluster.let_operator_read_secrets("mallory", allowed=False)
    play.cluster.update_spec(BUCKET_PLURAL, "mallory", "own", region="eu-west-1")
    await play.settle()

    assert reason(play) == "SecretForbidden"


async def test_a_teams_bucket_is_no_way_into_a_bucket_of_the_same_name(play: Play) -> None:
    """Mallory names the instruments' bucket as hers: it is read with her keys, which may not."""
    await play.store_dataset()
    play.server.rejected_identities.add("mallory")
    team_bucket(play, bucket="instrument-data", endpoint=ENDPOINT, accessMode="ReadOnly")
    await play.settle()
    source = {"uri": f"s3://instrument-data/{UUID}"}
    play.server.create_bucket("mallorys")
    team_bucket(play, "target", bucket="mallorys")

    play.cluster.create(
        DATASET_PLURAL, "mallory", "loot", spec={"bucketRef": {"name": "target"}, "source": source}
    )
    await play.settle()

    assert play.condition("mallory", "loot")["status"] == "False"
    assert play.server.keys("mallorys") == []
