"""What an administrator can set: one table of names, defaults and meanings, read from the environment.

Every field of Settings is a variable `DTOOL_OPERATOR_<FIELD>` and a flag `--<field>` of `dtool-operator run`.
Reads the environment and the ServiceAccount's namespace file when asked to; importing it does nothing.
"""

import argparse
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

from dtool_operator.api.quantities import parse_size
from dtool_operator.planning.prefix_policy import AWS
from dtool_operator.setting_parsers import (
    LOG_LEVELS,
    PULL_POLICIES,
    parse_endpoints,
    parse_hosts,
    parse_https_url,
    parse_level,
    parse_names,
    parse_number,
    parse_object_name,
    parse_path,
    parse_positive_duration,
    parse_pull_policy,
    parse_switch,
    parse_text,
)

_OPTIONAL: Final = frozenset(
    {"worker_image", "worker_pod_file", "worker_ca_file", "job_above_size", "signing_url"}
)
PREFIX: Final = "DTOOL_OPERATOR_"
NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE: Final = "dtool-system"
# what the kubelet sets in every Pod for a Service named dtool-operator
_SERVICE_LINK: Final = re.compile(rf"{PREFIX}(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")


class InvalidSetting(ValueError):
    """A variable or flag that means nothing; the message names it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: the default as a user would write it (None: see the meaning)."""

    default: str | None
    parse: Callable[[str], object]
    meaning: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations are written as in the API: `90s`, `10m`, `1h30m`; lists with commas."""

    namespace: Annotated[
        str,
        Setting(
            None,
            parse_text,
            f"The operator's own namespace; default: the one of its Pod, else {DEFAULT_NAMESPACE}.",
        ),
    ]
    service_account: Annotated[
        str,
        Setting(
            "dtool-operator",
            parse_object_name,
            "Name of the operator's ServiceAccount, for the command lines that its messages tell teams.",
        ),
    ]
    watch_namespaces: Annotated[
        frozenset[str],
        Setting(
            "",
            parse_names,
            "Namespaces whose objects are looked at, beside the operator's own and those of administrators; "
            "default: all.",
        ),
    ]
    admin_namespaces: Annotated[
        frozenset[str],
        Setting(
            "",
            parse_names,
            "Namespaces whose DtoolBuckets have an administrator's powers, beside the operator's own.",
        ),
    ]
    allowed_endpoints: Annotated[
        frozenset[str],
        Setting(
            "",
            parse_endpoints,
            f"S3 endpoints that DtoolBuckets may name, {AWS} for AWS; default: AWS and the endpoints of "
            "administrators' buckets.",
        ),
    ]
    allowed_http_hosts: Annotated[
        frozenset[str],
        Setting(
            "",
            parse_hosts,
            "Hosts (host or host:port) whose published datasets may be the source of a copy; default: none, "
            "http and https sources are refused.",
        ),
    ]
    state_dir: Annotated[
        Path,
        Setting(
            "/var/lib/dtool-operator",
            parse_path,
            "Directory for what running transfers need: task documents and credentials files.",
        ),
    ]
    health_host: Annotated[
        str,
        Setting(
            "127.0.0.1", parse_text, "Address that serves /healthz, /readyz and /metrics; in a Pod 0.0.0.0."
        ),
    ]
    health_port: Annotated[
        int, Setting("8080", parse_number(0, 65535), "Port of the same; 0: a free one, which the log tells.")
    ]
    max_transfers: Annotated[int, Setting("4", parse_number(1, 1000), "Transfers that run at the same time.")]
    reconcile_workers: Annotated[
        int, Setting("8", parse_number(1, 100), "Objects that are looked at at the same time.")
    ]
    api_writes_per_second: Annotated[
        int,
        Setting(
            "100",
            parse_number(1, 10_000),
            "Writes to the API server on the long run; twice as many may leave at once.",
        ),
    ]
    resync_interval: Annotated[
        timedelta,
        Setting(
            "10m",
            parse_positive_duration,
            "How often every object is looked at, and the watches are compared with a list.",
        ),
    ]
    freeze_quiet_period: Annotated[
        timedelta,
        Setting(
            "30s",
            parse_positive_duration,
            "How long nobody may have written to a proto dataset before it is frozen in place.",
        ),
    ]
    deletion_timeout: Annotated[
        timedelta,
        Setting(
            "1h", parse_positive_duration, "How long removing data may hold up the deletion of its object."
        ),
    ]
    terminating_namespace_deletion_timeout: Annotated[
        timedelta,
        Setting("5m", parse_positive_duration, "The same, where the whole namespace is being deleted."),
    ]
    backoff_base: Annotated[
        timedelta,
        Setting("2s", parse_positive_duration, "First pause before what failed is tried again."),
    ]
    backoff_cap: Annotated[
        timedelta,
        Setting("5m", parse_positive_duration, "Longest pause before what failed is tried again."),
    ]
    leader_election: Annotated[
        bool,
        Setting(
            "false",
            parse_switch,
            "Whether several replicas share the work of one: the holder of the Lease works, the others wait.",
        ),
    ]
    lease_name: Annotated[
        str,
        Setting("dtool-operator", parse_object_name, "Name of the Lease in the operator's own namespace."),
    ]
    identity: Annotated[
        str,
        Setting(
            None,
            parse_text,
            "Name that the Lease shows of its holder; every process adds a random part. Default: the host's.",
        ),
    ]
    worker_image: Annotated[
        str | None,
        Setting(
            None,
            parse_text,
            "Image of the Pods that work with volumes and on large copies; default: none, that is refused.",
        ),
    ]
    worker_image_pull_policy: Annotated[
        str,
        Setting("IfNotPresent", parse_pull_policy, f"When that image is pulled: {', '.join(PULL_POLICIES)}."),
    ]
    worker_pod_file: Annotated[
        Path | None,
        Setting(
            None,
            parse_path,
            "YAML file with what these Pods have beside their work: resources, nodeSelector, tolerations, "
            "affinity, priorityClassName, imagePullSecrets, securityContext; default: nothing.",
        ),
    ]
    worker_ca_file: Annotated[
        Path | None,
        Setting(
            None,
            parse_path,
            "PEM file with the certificates that these Pods trust for S3 and HTTP sources in place of the "
            "public ones, read once; default: the public ones.",
        ),
    ]
    job_above_size: Annotated[
        int | None,
        Setting(
            None,
            parse_size,
            "Copies between buckets of at least this size (100Gi; 0: all) run as Jobs in the operator's "
            "namespace; default: none do.",
        ),
    ]
    items_per_shard: Annotated[
        int,
        Setting(
            "1000000",
            parse_number(1, 100_000_000),
            "Items of a copy that one Pod of its Job moves; larger copies are divided among several.",
        ),
    ]
    max_shards: Annotated[
        int, Setting("16", parse_number(1, 1000), "Pods that a copy is divided among at most.")
    ]
    signing_url: Annotated[
        str | None,
        Setting(
            None,
            parse_https_url,
            "https:// address of this operator's signing endpoint as Pods reach it; default: none, volumes "
            "then work only with buckets whose DtoolBucket is in their own namespace.",
        ),
    ]
    signing_host: Annotated[
        str,
        Setting("127.0.0.1", parse_text, "Address that the signing endpoint listens on; in a Pod 0.0.0.0."),
    ]
    signing_port: Annotated[int, Setting("8443", parse_number(0, 65535), "Port of the same.")]
    signing_expiry: Annotated[
        timedelta,
        Setting(
            "30s",
            parse_positive_duration,
            "How long a presigned URL may be used; a volume's dataset is frozen so long after its upload.",
        ),
    ]
    log_level: Annotated[str, Setting("info", parse_level, f"One of {', '.join(LOG_LEVELS)}.")]


def list_settings() -> dict[str, Setting]:
    """Return the table by field name, in the order of the fields."""
    hints = get_type_hints(Settings, include_extras=True)
    return {one.name: hints[one.name].__metadata__[0] for one in fields(Settings)}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag per setting; `read_settings` takes what was parsed."""
    for name, setting in list_settings().items():
        default = f" Default: {setting.default}." if setting.default else ""
        parser.add_argument(
            _flag(name), metavar="VALUE", help=f"{setting.meaning}{default} [{_variable(name)}]"
        )


def read_settings(
    environment: Mapping[str, str],
    flags: Mapping[str, str | None] | None = None,
    *,
    namespace_file: Path = NAMESPACE_FILE,
) -> Settings:
    """Read flags, else the environment, else the defaults. Raises InvalidSetting.

    An unknown variable with our prefix is an error too: most likely a misspelt one.
    """
    settings = list_settings()
    ours = {name for name in environment if name.startswith(PREFIX) and not _SERVICE_LINK.fullmatch(name)}
    if unknown := ours - set(map(_variable, settings)):
        raise InvalidSetting(f"{min(unknown)}: there is no such setting")
    values: dict[str, Any] = {}
    for name, setting in settings.items():
        flag = (flags or {}).get(name)
        text = environment.get(_variable(name), setting.default) if flag is None else flag
        if text is None:
            values |= dict.fromkeys({name} & _OPTIONAL)
        else:
            values[name] = _parse(setting, text, _variable(name) if flag is None else _flag(name))
    values.setdefault("namespace", _read_namespace(namespace_file))
    values.setdefault("identity", socket.gethostname())
    values["admin_namespaces"] |= {values["namespace"]}
    if values["watch_namespaces"]:
        values["watch_namespaces"] |= values["admin_namespaces"]
    if values["backoff_cap"] < values["backoff_base"]:
        raise InvalidSetting(f"{PREFIX}BACKOFF_CAP: must not be shorter than {PREFIX}BACKOFF_BASE")
    return Settings(**values)


def _parse(setting: Setting, text: str, source: str) -> object:
    try:
        return setting.parse(text)
    except ValueError as error:
        raise InvalidSetting(f"{source}: {error}") from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _read_namespace(path: Path) -> str:
    try:
        return path.read_text().strip() or DEFAULT_NAMESPACE
    except OSError:  # not in a Pod
        return DEFAULT_NAMESPACE
