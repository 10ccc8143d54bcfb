"""kopf as an informer: what it watches, as whom, and how; nothing else of it is used.

Only on.event handlers: kopf then writes nothing to any object, and stores nothing on it.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import kopf

from dtool_operator.adapters.cluster import NAMESPACES
from dtool_operator.adapters.connection import SERVICE_ACCOUNT_DIR
from dtool_operator.handlers.watch import Watch
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL, GROUP, VERSION

LOGIN_LIFETIME: Final = timedelta(minutes=30)
"""After this the token is read again: the kubelet replaces it after 80 % of its hour."""

_RESOURCES: Final = (
    (GROUP, VERSION, BUCKET_PLURAL),
    (GROUP, VERSION, DATASET_PLURAL),
    ("", "v1", NAMESPACES),
)


@dataclass(frozen=True, slots=True)
class Login:
    """Where a Pod's token is, and after how long it is read again."""

    lifetime: timedelta = LOGIN_LIFETIME
    service_account_dir: Path = SERVICE_ACCOUNT_DIR


def build_registry(watch: Watch, login: Login) -> kopf.OperatorRegistry:
    """Say what is watched, and how to log in."""
    registry = kopf.OperatorRegistry()

    async def pass_on(event: kopf.RawEvent, param: Any = None, **_: Any) -> None:
        watch.tell(param, event["type"], cast("Mapping[str, Any]", event["object"]))

    for group, version, plural in _RESOURCES:
        kopf.on.event(group, version, plural, id=plural, param=plural, registry=registry)(pass_on)

    @kopf.on.login(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def log_in(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo:
        info = read_login(settings, login.service_account_dir)
        return dataclasses.replace(info, expiration=datetime.now(UTC) + login.lifetime)

    return registry


def read_login(settings: kopf.OperatorSettings, service_account_dir: Path) -> kopf.ConnectionInfo:
    """Read where the API server is and who we are, as `adapters.connection` does: never a default file."""
    if os.environ.get("KUBECONFIG"):
        info = kopf.login_with_kubeconfig(settings=settings)
        if info is None:
            raise kopf.LoginError("KUBECONFIG names no file that can be read")
        return info
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise kopf.LoginError("neither KUBECONFIG nor the ServiceAccount of a Pod")
    try:
        token = (service_account_dir / "token").read_text().strip()
    except OSError as error:
        raise kopf.LoginError(f"the ServiceAccount's token cannot be read: {error.strerror}") from error
    return kopf.ConnectionInfo(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca_path=str(service_account_dir / "ca.crt"),
        token=token,
        trust_env=settings.networking.trust_env,
    )


def build_settings() -> kopf.OperatorSettings:
    """Set kopf up to watch and do nothing beside it."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # Events are written by adapters/cluster.py
    settings.peering.standalone = True
    settings.scanning.disabled = True  # whoever starts kopf has waited for the CRDs
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = 300  # an integer: it is put into the URL as it is
    settings.process.ultimate_exiting_timeout = 60
    # a worker of kopf keeps the last body it saw for so long: of ten thousand objects that is memory
    settings.queueing.idle_timeout = 0.01
    # read whole, the first list of ten thousand objects leaves a heap of which little is used again
    settings.watching.chunk_size = 500
    return settings
