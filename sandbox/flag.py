"""The command lines of the control plane's programs; owns their flags, and starts nothing."""

from dataclasses import dataclass
from pathlib import Path

ADDRESS = "127.0.0.1"
# Those that tests and the operator rely on; without nodes the rest would only be load.
CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "resourcequota-controller",
    "job-controller",
    "ttl-after-finished-controller",
)
# With a node all are wanted, but those that only kube-proxy would read: they refuse Pods on loopback.
NODE_CONTROLLERS = (
    "*",
    "-endpoints-controller",
    "-endpointslice-controller",
    "-endpointslice-mirroring-controller",
)


@dataclass(frozen=True, slots=True)
class Network:
    """Where the API server listens, what addresses Services get, and whether it speaks to a node."""

    address: str = ADDRESS
    port: int | None = None
    """None: a free one."""
    service_range: str = "10.0.0.0/24"
    node: str | None = None
    """Name of the one node, which is resolvable; None: there is none."""


NO_NODE = Network()


def compose_etcd_flags(directory: Path, port: int) -> list[str]:
    """Compose the flags of etcd, on loopback."""
    pki, url = directory / "pki", f"https://{ADDRESS}:{port}"
    return [
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls=http://{ADDRESS}:0",  # there are no peers
        f"--cert-file={pki / 'server.crt'}",
        f"--key-file={pki / 'server.key'}",
        f"--trusted-ca-file={pki / 'ca.crt'}",
        "--client-cert-auth",
        # The JSON gateway is a client of its own server, as which a server's certificate does not count.
        f"--client-cert-file={pki / 'etcd-client.crt'}",
        f"--client-key-file={pki / 'etcd-client.key'}",
        "--unsafe-no-fsync",  # the state is thrown away: speed matters, a power cut does not
        "--log-level=warn",
    ]


def compose_api_server_flags(directory: Path, etcd_port: int, network: Network) -> list[str]:
    """Compose the flags of kube-apiserver; the network names its port."""
    pki = directory / "pki"
    flags = [
        f"--bind-address={network.address}",
        f"--advertise-address={network.address}",
        f"--secure-port={network.port}",
        "--endpoint-reconciler-type=none",  # a loopback address may not be an Endpoint
        f"--etcd-servers=https://{ADDRESS}:{etcd_port}",
        f"--etcd-cafile={pki / 'ca.crt'}",
        f"--etcd-certfile={pki / 'etcd-client.crt'}",
        f"--etcd-keyfile={pki / 'etcd-client.key'}",
        f"--tls-cert-file={pki / 'server.crt'}",
        f"--tls-private-key-file={pki / 'server.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-accounts.key'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={network.service_range}",
        "--profiling=false",
    ]
    if network.node is not None:
        flags += [
            "--kubelet-preferred-address-types=Hostname",  # kubelet takes no loopback address as its node's
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        ]
    return flags


def compose_controller_manager_flags(directory: Path, port: int, network: Network) -> list[str]:
    """Compose the flags of kube-controller-manager."""
    pki = directory / "pki"
    return [
        f"--kubeconfig={directory / 'controller-manager.kubeconfig'}",
        f"--bind-address={ADDRESS}",
        f"--secure-port={port}",
        f"--tls-cert-file={pki / 'server.crt'}",
        f"--tls-private-key-file={pki / 'server.key'}",
        f"--controllers={','.join(NODE_CONTROLLERS if network.node else CONTROLLERS)}",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        "--leader-elect=false",
        "--profiling=false",
    ]
