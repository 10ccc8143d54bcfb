"""What the chart's tests need: helm, built before the first of them; a build takes longer than a test may."""

import pytest

from sandbox.errors import SandboxError
from sandbox.helm import find_helm


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find or build helm; without it, end with one clear line."""
    if session.config.option.collectonly or not any("tests/chart/" in item.nodeid for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        try:
            find_helm()
        except SandboxError as error:
            pytest.exit(f"{type(error).__name__}: {error}", returncode=1)
