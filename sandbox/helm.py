"""Helm, built from its published module and cached; owns finding and running it, not what is installed."""

import os
import subprocess
from pathlib import Path

from sandbox.cache import cache_directory
from sandbox.errors import HelmError
from sandbox.go_program import GoProgram, compose_stamps, find_go_program, read_required_version
from sandbox.say import Say, say_at_once

TIMEOUT_SECONDS = 300


def find_helm(say: Say = say_at_once) -> Path:
    """Find helm, building it when that was never done on this machine."""
    return find_go_program(HELM, say)


def run_helm(*arguments: str, kubeconfig: Path | None = None) -> str:
    """Run helm and return its standard output; raises HelmError with its standard error.

    Without `kubeconfig` it reaches no cluster. Nothing of the user's own helm is read or written.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HELM_", "KUBE"))}
    home = cache_directory() / "helm-home"
    own = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    done = subprocess.run(
        [str(find_helm()), *arguments],
        env={**inherited, **own, "KUBECONFIG": str(kubeconfig or os.devnull)},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        raise HelmError(arguments, done.stdout, done.stderr)
    return done.stdout


def _compose_flags(sources: Path) -> str:
    """Stamp what Helm's own builds stamp: without it, charts are rendered for Kubernetes 1.20."""
    _, minor, _ = read_required_version(sources, "k8s.io/client-go").split(".")  # 0.37.2 is of 1.37
    stamps = {"helm.sh/helm/v3/internal/version.version": f"v{read_required_version(sources, MODULE)}"}
    for package in ("pkg/lint/rules", "pkg/chartutil"):
        stamps[f"{MODULE}/{package}.k8sVersionMajor"] = "1"
        stamps[f"{MODULE}/{package}.k8sVersionMinor"] = minor
    return compose_stamps(stamps)


MODULE = "helm.sh/helm/v3"
HELM = GoProgram(
    name="helm",
    title="helm",
    cost="about 2 minutes on two cores after the control plane, about 4 without",
    sources=Path(__file__).parent / "go" / "helm",
    source_names=("go.mod", "go.sum"),
    compose_flags=_compose_flags,
    package=f"{MODULE}/cmd/helm",
)
