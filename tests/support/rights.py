"""What users may do, asked of the API server, which hears of a RoleBinding a moment after it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.errors import KubectlError
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane


def is_allowed(control_plane: ControlPlane, user: str, question: str) -> bool:
    """Ask `kubectl auth can-i` a question, `VERB RESOURCE [OPTIONS]`."""
    try:
        return control_plane.kubectl("auth", "can-i", *question.split(), f"--as={user}").strip() == "yes"
    except KubectlError as refusal:  # kubectl says "no" on its standard output and exits with 1
        if "error" in refusal.stderr.lower() or "doesn't have a resource type" in refusal.stderr:
            raise
        return False


def wait_allowed(control_plane: ControlPlane, user: str, question: str) -> None:
    """Wait until it is allowed."""

    def check() -> None:
        assert is_allowed(control_plane, user, question), f"{user} may not {question}"

    eventually(check, within=20)
