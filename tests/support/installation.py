"""Installs on a control plane what an operator needs: namespace, CRDs, RBAC; as administrators do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
OPERATOR_NAMESPACE = "dtool-system"
SERVICE_ACCOUNT = "dtool-operator"


def install_operator(control_plane: ControlPlane) -> Path:
    """Apply everything, again if need be; return the kubeconfig of the operator's ServiceAccount."""
    manifest = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {OPERATOR_NAMESPACE}}}\n"
    control_plane.kubectl("apply", "--filename=-", stdin=manifest)
    crds = [f"--filename={path}" for path in sorted((ROOT / "crds").glob("*.yaml"))]
    rbac = f"--filename={ROOT / 'charts' / 'dtool-operator' / 'rbac'}"
    control_plane.kubectl("apply", *crds, rbac)
    control_plane.kubectl("wait", "--for=condition=Established", *crds)
    return control_plane.service_account_kubeconfig(OPERATOR_NAMESPACE, SERVICE_ACCOUNT)
