"""The configuration files of containerd, its network plugin and kubelet; owns their content, runs nothing.

Every setting here was needed on a machine with cgroup v1, no systemd and no Docker, or keeps the node from
changing the machine.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox.cluster.debian import ContainerPrograms

ADDRESS = "127.0.0.1"
SOCKET = "/run/containerd/containerd.sock"  # in the node's own /run
PAUSE_IMAGE = "localhost/sandbox-pause:1"
PLUGIN = "sandbox-host"
CNI_VERSION = "0.3.1"


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What tells one node from another."""

    directory: Path
    pki: Path
    """Holds the cluster's CA and kubelet's server certificate."""
    kubelet_port: int
    health_port: int
    dns_address: str
    """Of the cluster's range of Services; nobody answers there."""


def write_node_files(shape: NodeShape, programs: ContainerPrograms) -> None:
    """Write all of them into the node's directory."""
    directory = shape.directory
    (directory / "containerd.toml").write_text(compose_containerd(directory, programs))
    (directory / "kubelet.yaml").write_text(yaml.safe_dump(build_kubelet(shape), sort_keys=False))
    networks, plugins = directory / "cni" / "net.d", directory / "cni" / "bin"
    networks.mkdir(parents=True)
    plugins.mkdir()
    network = {"cniVersion": CNI_VERSION, "name": "sandbox", "plugins": [{"type": PLUGIN}]}
    (networks / "10-sandbox.conflist").write_text(json.dumps(network))
    for name in (PLUGIN, "loopback"):  # containerd calls the second one for every pod
        (plugins / name).write_text(PLUGIN_SCRIPT)
        (plugins / name).chmod(0o755)


def compose_containerd(directory: Path, programs: ContainerPrograms) -> str:
    """Compose the configuration of containerd 1.6, version 2."""
    quoted = json.dumps  # a JSON string is a TOML string
    return f"""version = 2
root = {quoted(str(directory / "containerd"))}
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = {quoted(SOCKET)}

[plugins."io.containerd.grpc.v1.cri"]
# A machine may refuse to let a process be killed later than others (no CAP_SYS_RESOURCE).
restrict_oom_score_adj = true
disable_apparmor = true
disable_hugetlb_controller = true
sandbox_image = {quoted(PAUSE_IMAGE)}
stream_server_address = {quoted(ADDRESS)}

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {quoted(str(directory / "cni" / "bin"))}
conf_dir = {quoted(str(directory / "cni" / "net.d"))}

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = {quoted(str(programs.runc))}
SystemdCgroup = false
"""


def build_kubelet(shape: NodeShape) -> dict[str, Any]:
    """Build the KubeletConfiguration, see its reference in the Kubernetes documentation."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        # the node's own group is the root of its cgroup namespace
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        # nothing of the machine is changed
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        # what the registry-less node has is never thrown away, and a fairly full disk is no reason to evict
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "address": ADDRESS,
        "port": shape.kubelet_port,
        "readOnlyPort": 0,
        "healthzBindAddress": ADDRESS,
        "healthzPort": shape.health_port,
        "tlsCertFile": str(shape.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(shape.pki / "kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(shape.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        # Names of Services and of the outer world are refused at once: pods of this node know addresses only.
        "clusterDNS": [shape.dns_address],
        "clusterDomain": "cluster.local",
        "podLogsDir": str(shape.directory / "pod-logs"),
        "volumePluginDir": str(shape.directory / "volume-plugins"),
    }


# A pod's network is the node's, which is the machine's. It asks for no privilege: to Pod Security the pod has
# a network of its own. The node's process 1 stays in the machine's network namespace.
PLUGIN_SCRIPT = f"""#!/bin/sh
# Network plugin (CNI) of the sandbox's node: gives every pod the network of the node.
set -eu
case "$CNI_COMMAND" in
ADD)
  if [ "$CNI_IFNAME" != lo ]; then
    umount "$CNI_NETNS"
    mount --bind /proc/1/ns/net "$CNI_NETNS"
  fi
  echo '{{"cniVersion": "{CNI_VERSION}", "ips": [{{"version": "4", "address": "{ADDRESS}/32"}}]}}'
  ;;
VERSION)
  echo '{{"cniVersion": "{CNI_VERSION}", "supportedVersions": ["{CNI_VERSION}"]}}'
  ;;
esac
"""
