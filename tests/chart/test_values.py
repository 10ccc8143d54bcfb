"""values.yaml and its schema: every key is explained, every setting can be made, wrong values are named."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from dtool_operator.planning.worker_pod import WorkerPod, parse_worker_pod
from dtool_operator.settings import PREFIX, list_settings, read_settings
from sandbox.errors import HelmError
from tests.chart.cases import CASES, read_values
from tests.support.chart import CHART, container_of, find, pod_of, render, variables_of

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"replcas": 2}, "replcas"),
    ({"replicas": "2"}, "/replicas"),
    ({"replicas": 11}, "/replicas"),
    ({"image": {"tags": "1"}}, "tags"),
    ({"image": {"tag": "a b"}}, "/image/tag"),
    ({"image": {"repository": ""}}, "/image/repository"),
    ({"image": {"digest": "0123"}}, "/image/digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"image": {"pullSecrets": ["registry"]}}, "/image/pullSecrets/0"),
    ({"maxConcurrentTransfers": 0}, "/maxConcurrentTransfers"),
    ({"maxConcurrentTransfers": 1.5}, "/maxConcurrentTransfers"),
    ({"resources": {"limit": {}}}, "limit"),
    ({"resources": {"limits": {"memory": "much"}}}, "/resources/limits/memory"),
    ({"watchNamespaces": "alice"}, "/watchNamespaces"),
    ({"adminNamespaces": ["Alice"]}, "/adminNamespaces/0"),
    ({"allowedEndpoints": ["s3.example.org"]}, "/allowedEndpoints/0"),
    ({"allowedHTTPHosts": ["https://example.org"]}, "/allowedHTTPHosts/0"),
    ({"settings": {"resyncInterval": "10 minutes"}}, "/settings/resyncInterval"),
    ({"settings": {"resyncInterval": "0s"}}, "/settings/resyncInterval"),
    ({"settings": {"logLevel": "loud"}}, "/settings/logLevel"),
    ({"settings": {"stateDir": "/x"}}, "stateDir"),
    ({"workers": {"nodeSelector": {"ssd": True}}}, "/workers/nodeSelector/ssd"),
    ({"workers": {"securityContext": {"runAsUser": 0}}}, "/workers/securityContext/runAsUser"),
    ({"workers": {"securityContext": {"privileged": True}}}, "privileged"),
    ({"workers": {"tolerations": [{"efect": "NoSchedule"}]}}, "efect"),
    ({"workers": {"env": {"AWS_SECRET_ACCESS_KEY": "x"}}}, "AWS_SECRET_ACCESS_KEY"),
    ({"jobs": {"aboveSize": "100G"}}, "/jobs/aboveSize"),
    ({"jobs": {"aboveSize": 0}}, "/jobs/aboveSize"),
    ({"jobs": {"maxShards": 0}}, "/jobs/maxShards"),
    ({"signing": {"url": "http://signing"}}, "/signing/url"),
    ({"signing": {"url": "https://signing/path"}}, "/signing/url"),
    ({"signing": {"port": 443}}, "/signing/port"),
    ({"bindAddress": "localhost"}, "/bindAddress"),
    ({"serviceAccount": {"annotations": {"a": 1}}}, "/serviceAccount/annotations/a"),
    ({"crds": {"keep": "yes"}}, "/crds/keep"),
    ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "/podDisruptionBudget/maxUnavailable"),
    ({"proxy": {"httpsProxy": "proxy:3128"}}, "/proxy/httpsProxy"),
    ({"extraEnv": [{"name": "DTOOL_OPERATOR_LEASE_NAME", "value": "x"}]}, "/extraEnv/0/name"),
    ({"extraEnv": [{"value": "x"}]}, "/extraEnv/0"),
    ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot"),
    ({"strategy": "OnDelete"}, "/strategy"),
    # what the schema cannot say
    ({"replicas": 2, "leaderElection": {"enabled": False}}, "replicas: more than one needs leaderElection"),
    ({"serviceAccount": {"create": False}}, "serviceAccount.name: needed"),
    (
        {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}},
        "metrics.serviceMonitor.enabled: needs metrics.service.enabled",
    ),
]
#: Settings that are not the administrator's in a Pod: who and where it is, and its directory.
FIXED = {"namespace", "service_account", "state_dir", "identity"}


@pytest.mark.parametrize(("values", "said"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_a_wrong_value_is_refused_by_its_key(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError) as refusal:
        render(values)

    assert said in str(refusal.value)


def list_open_objects(schema: Any, path: str = "") -> Iterator[str]:
    if isinstance(schema, Mapping):
        if "properties" in schema and schema.get("additionalProperties") is not False:
            yield path
        for key, value in schema.items():
            yield from list_open_objects(value, f"{path}/{key}")


def test_no_key_is_let_in_that_the_schema_does_not_name() -> None:
    assert list(list_open_objects(SCHEMA)) == []


def list_keys(
    values: Mapping[str, Any], schema: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, bool, bool]]:
    """Yield each key of either, and whether it is in the values and in the schema."""
    known = schema["properties"]
    for key in sorted(known.keys() | values.keys()):
        yield f"{path}{key}", key in values, key in known
        inner = known.get(key, {})
        if "properties" in inner:
            yield from list_keys(values.get(key, {}), inner, f"{path}{key}.")


def test_values_and_schema_name_the_same_keys() -> None:
    differing = [key for key, *is_in in list_keys(VALUES, SCHEMA) if not all(is_in)]

    assert differing == ["global"]  # Helm's own, which every chart is given


def test_every_key_is_explained() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        found = re.match(r"( *)([A-Za-z]+):(.*)", line)
        if found is None or line.lstrip().startswith("- "):
            continue
        above = lines[number - 1].strip()
        is_group = not found[3].strip()
        assert above.startswith("#") or is_group, f"line {number + 1}: {found[2]} is not explained"
        block = _comment_above(lines, number)
        assert is_group or block.startswith("# -- "), f"line {number + 1}: {found[2]}: begin with `# -- `"


def _comment_above(lines: list[str], number: int) -> str:
    while lines[number - 1].strip().startswith("#"):
        number -= 1
        if lines[number].strip().startswith("# -- "):
            break
    return lines[number].strip()


def read_variables(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of the rendered Deployment, as its process would find them."""
    found = variables_of(render(values))
    return {name: text for name, text in found.items() if name.startswith(PREFIX) and isinstance(text, str)}


@pytest.mark.parametrize("case", CASES)
def test_the_operator_understands_every_setting_that_it_is_given(case: str) -> None:
    settings = read_settings({**read_variables(read_values(case)), f"{PREFIX}NAMESPACE": "dtool-system"})

    assert settings.health_port in (8080, 18080)


def test_every_setting_can_be_made_by_a_value() -> None:
    everything = read_variables({**read_values("everything"), "watchNamespaces": ["alice"]})

    known = {f"{PREFIX}{name.upper()}" for name in list_settings().keys() - FIXED}
    assert known - everything.keys() == set()


def test_the_defaults_are_the_operators_own() -> None:
    variables = read_variables({})

    in_a_pod = {"health_host", "leader_election", "signing_host"}
    for name, setting in list_settings().items():
        if name not in in_a_pod and (text := variables.get(f"{PREFIX}{name.upper()}")) and setting.default:
            assert text == setting.default, name


def test_numbers_are_written_out() -> None:
    assert read_variables({"jobs": {"itemsPerShard": 100_000_000}})[f"{PREFIX}ITEMS_PER_SHARD"] == "100000000"


@pytest.mark.parametrize(
    ("transfers", "requests", "limit"),
    [(1, ("200m", "384Mi"), "1024Mi"), (4, ("500m", "768Mi"), "2560Mi"), (16, ("1700m", "2304Mi"), "8704Mi")],
)
def test_resources_follow_from_the_number_of_transfers(
    transfers: int, requests: tuple[str, str], limit: str
) -> None:
    resources = container_of(render({"maxConcurrentTransfers": transfers}))["resources"]

    assert (resources["requests"]["cpu"], resources["requests"]["memory"]) == requests
    assert resources["limits"] == {"memory": limit}


def test_given_resources_are_taken_as_they_are() -> None:
    resources = {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}}

    assert container_of(render({"resources": resources}))["resources"] == resources


def test_without_a_lease_the_old_pod_ends_before_the_new_one_begins() -> None:
    def strategy(*, enabled: bool) -> str:
        values = {"leaderElection": {"enabled": enabled}}
        return str(find(render(values), "Deployment")["spec"]["strategy"]["type"])

    assert (strategy(enabled=False), strategy(enabled=True)) == ("Recreate", "RollingUpdate")


def test_a_changed_worker_pod_starts_the_operator_again() -> None:
    def annotations(**workers: Any) -> Any:
        return pod_of(render({"workers": workers}))["metadata"]["annotations"]

    assert annotations() == annotations()
    assert annotations() != annotations(priorityClassName="batch")


def read_worker_pod(values: Mapping[str, Any]) -> WorkerPod:
    return parse_worker_pod(find(render(values), "ConfigMap")["data"]["pod.yaml"])


def test_the_operator_reads_of_workers_what_was_given() -> None:
    given = read_values("everything")

    pod = read_worker_pod({**given, "workers": {**given["workers"], "serviceAccountName": "mover"}})

    assert pod.node_selector == {"disk": "fast"}
    assert pod.tolerations == ({"key": "batch", "operator": "Exists", "effect": "NoSchedule"},)
    assert (pod.priority_class_name, pod.service_account_name) == ("batch", "mover")
    assert [secret.name for secret in pod.image_pull_secrets] == ["registry"]
    assert pod.env["https_proxy"] == "http://proxy.example.org:3128"
    assert pod.env["NO_PROXY"].startswith(".example.org,")


def test_the_workers_of_the_chart_are_by_default_those_of_the_operator() -> None:
    assert read_worker_pod({}) == WorkerPod()


def test_users_of_workers_can_be_left_to_the_cluster() -> None:
    nobody = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}

    context = read_worker_pod({"workers": {"securityContext": nobody}}).security_context

    assert (context.run_as_user, context.run_as_group, context.fs_group) == (None, None, None)


def test_services_are_no_settings() -> None:
    """The kubelet would set DTOOL_OPERATOR_SIGNING_PORT=tcp://... for a Service dtool-operator-signing."""
    assert pod_of(render())["spec"]["enableServiceLinks"] is False
