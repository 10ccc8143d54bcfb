"""Pod Security Standards, level `restricted`, as kubernetes.io publishes it: what of a Pod breaks which rule.

Written from the page's tables; a test on a real API server holds it to the admission plugin.
"""

from collections.abc import Iterator, Mapping
from typing import Any

VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    }
)  # fmt: skip
SECCOMP = ("RuntimeDefault", "Localhost")


def find_violations(spec: Mapping[str, Any]) -> list[str]:
    """Return what of a Pod's spec `restricted` (and `baseline`, which it includes) forbids."""
    return [*_of_pod(spec), *(found for one in _containers(spec) for found in _of_container(one, spec))]


def _containers(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ("containers", "initContainers", "ephemeralContainers"):
        yield from spec.get(key, ())


def _of_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    context = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield key
    for volume in spec.get("volumes", ()):
        if kinds := volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {min(kinds)}"
    if context.get("runAsUser") == 0:
        yield "the Pod's runAsUser is 0"
    for sysctl in context.get("sysctls", ()):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield "the Pod's seccompProfile"


def _list_hosts(container: Mapping[str, Any]) -> Iterator[str]:
    hooks = container.get("lifecycle", {})
    asked = [container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup")]
    for one in (*asked, *hooks.values()):
        yield from (one[kind]["host"] for kind in ("httpGet", "tcpSocket") if one.get(kind, {}).get("host"))


def _of_container(container: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    name, context, of_pod = (
        container["name"],
        container.get("securityContext", {}),
        spec.get("securityContext", {}),
    )
    capabilities = context.get("capabilities", {})
    wrong = {
        "privileged": context.get("privileged", False),
        "allowPrivilegeEscalation is not false": context.get("allowPrivilegeEscalation") is not False,
        "runAsNonRoot is not true": context.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True,
        "runAsUser is 0": context.get("runAsUser") == 0,
        "capabilities are not dropped": "ALL" not in capabilities.get("drop", ()),
        "capabilities are added": set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"},
        "seccompProfile": context.get("seccompProfile", of_pod.get("seccompProfile", {})).get("type")
        not in SECCOMP,
        "procMount": context.get("procMount", "Default") != "Default",
        "a probe of another host": any(_list_hosts(container)),
        "hostPort": any(port.get("hostPort") for port in container.get("ports", ())),
    }
    yield from (f"{name}: {rule}" for rule, is_broken in wrong.items() if is_broken)
