"""What an administrator sets, and what a mistake is answered with."""

import argparse
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from dtool_operator.settings import InvalidSetting, add_flags, list_settings, read_settings

NOWHERE = Path("/nonexistent/namespace")


def test_without_any_variable_the_defaults_hold() -> None:
    settings = read_settings({}, namespace_file=NOWHERE)

    assert settings.namespace == "dtool-system"
    assert settings.admin_namespaces == {"dtool-system"}
    assert settings.allowed_endpoints == frozenset()
    assert settings.state_dir == Path("/var/lib/dtool-operator")
    assert (settings.health_host, settings.health_port) == ("127.0.0.1", 8080)
    assert (settings.max_transfers, settings.reconcile_workers) == (4, 8)
    assert settings.resync_interval == timedelta(minutes=10)
    assert settings.deletion_timeout == timedelta(hours=1)
    assert settings.terminating_namespace_deletion_timeout == timedelta(minutes=5)
    assert (settings.backoff_base, settings.backoff_cap) == (timedelta(seconds=2), timedelta(minutes=5))
    assert settings.log_level == "info"
    assert settings.allowed_http_hosts == frozenset()
    assert settings.freeze_quiet_period == timedelta(seconds=30)
    assert settings.api_writes_per_second == 100
    assert (settings.leader_election, settings.lease_name) == (False, "dtool-operator")
    assert settings.identity == socket.gethostname()


def test_own_and_administrators_namespaces_are_watched_where_some_are_named() -> None:
    variables = {
        "DTOOL_OPERATOR_NAMESPACE": "storage",
        "DTOOL_OPERATOR_ADMIN_NAMESPACES": "instruments",
        "DTOOL_OPERATOR_WATCH_NAMESPACES": "alice,bob",
    }

    settings = read_settings(variables)

    assert settings.admin_namespaces == {"storage", "instruments"}
    assert settings.watch_namespaces == {"alice", "bob", "storage", "instruments"}
    assert read_settings({}, namespace_file=NOWHERE).watch_namespaces == frozenset()


def test_variables_replace_defaults() -> None:
    environment = {
        "DTOOL_OPERATOR_NAMESPACE": "storage",
        "DTOOL_OPERATOR_ADMIN_NAMESPACES": "storage, instruments,",
        "DTOOL_OPERATOR_ALLOWED_ENDPOINTS": "https://s3.example.org/,http://127.0.0.1:9000,aws",
        "DTOOL_OPERATOR_ALLOWED_HTTP_HOSTS": "Data.Example.org, [::1]:8443,10.0.0.1:80",
        "DTOOL_OPERATOR_LEADER_ELECTION": "True",
        "DTOOL_OPERATOR_RESYNC_INTERVAL": "1h30m",
        "DTOOL_OPERATOR_HEALTH_PORT": "0",
        "DTOOL_OPERATOR_LOG_LEVEL": "DEBUG",
        "PATH": "/bin",
    }

    settings = read_settings(environment, namespace_file=NOWHERE)

    assert settings.namespace == "storage"
    assert settings.admin_namespaces == {"storage", "instruments"}
    assert settings.allowed_endpoints == {"https://s3.example.org", "http://127.0.0.1:9000", "aws"}
    assert settings.allowed_http_hosts == {"data.example.org", "[::1]:8443", "10.0.0.1:80"}
    assert settings.leader_election
    assert settings.resync_interval == timedelta(minutes=90)
    assert settings.health_port == 0
    assert settings.log_level == "debug"


def test_a_flag_wins_over_its_variable() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    flags = vars(parser.parse_args(["--max-transfers", "9"]))

    settings = read_settings({"DTOOL_OPERATOR_MAX_TRANSFERS": "2"}, flags, namespace_file=NOWHERE)

    assert settings.max_transfers == 9


def test_in_a_pod_the_namespace_is_the_pods(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("storage\n")

    settings = read_settings({}, namespace_file=tmp_path / "namespace")

    assert settings.namespace == "storage"
    assert settings.admin_namespaces == {"storage"}


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("NAMESPACE", " ", "must not be empty"),
        ("ALLOWED_ENDPOINTS", "s3.example.org", "begins with https:// or http://, or is aws"),
        ("ALLOWED_HTTP_HOSTS", "https://example.org", "a host is written as"),
        ("ALLOWED_HTTP_HOSTS", "example.org/data", "a host is written as"),
        ("ALLOWED_HTTP_HOSTS", "me@example.org", "a host is written as"),
        ("ALLOWED_HTTP_HOSTS", "*.example.org", "a host is written as"),
        ("ALLOWED_HTTP_HOSTS", "example.org:65536", "a host is written as"),
        ("LEADER_ELECTION", "yes", "must be true or false"),
        ("LEASE_NAME", "../leases", "must be the name of an object"),
        ("API_WRITES_PER_SECOND", "0", "from 1 to 10000"),
        ("STATE_DIR", "", "must not be empty"),
        ("HEALTH_PORT", "65536", "from 0 to 65535"),
        ("HEALTH_PORT", "http", "from 0 to 65535"),
        ("MAX_TRANSFERS", "0", "from 1 to 1000"),
        ("RECONCILE_WORKERS", "-1", "from 1 to 100"),
        ("RESYNC_INTERVAL", "ten", "a duration is written as"),
        ("RESYNC_INTERVAL", "0s", "longer than nothing"),
        ("BACKOFF_CAP", "1s", "must not be shorter"),
        ("LOG_LEVEL", "loud", "must be one of debug"),
        ("MAX_TRANSFER", "4", "there is no such setting"),
    ],
)
def test_a_mistake_is_named_by_its_variable(name: str, value: str, complaint: str) -> None:
    with pytest.raises(InvalidSetting, match=f"DTOOL_OPERATOR_{name}: .*{complaint}"):
        read_settings({f"DTOOL_OPERATOR_{name}": value}, namespace_file=NOWHERE)


def test_a_mistake_in_a_flag_is_named_by_its_flag() -> None:
    with pytest.raises(InvalidSetting, match="--max-transfers: "):
        read_settings({}, {"max_transfers": "many"}, namespace_file=NOWHERE)


@pytest.mark.parametrize(
    "name", ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HEALTH", "PORT", "PORT_8080_TCP_ADDR"]
)
def test_what_kubernetes_sets_for_a_service_of_this_name_is_no_mistake(name: str) -> None:
    environment = {f"DTOOL_OPERATOR_{name}": "10.0.0.1"}

    assert read_settings(environment, namespace_file=NOWHERE).max_transfers == 4


def test_every_setting_says_what_it_means_and_its_default_can_be_parsed() -> None:
    for name, setting in list_settings().items():
        assert setting.meaning.endswith("."), name
        if setting.default is not None:
            setting.parse(setting.default)
