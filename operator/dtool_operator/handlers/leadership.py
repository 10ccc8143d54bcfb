"""This process's claim on the Lease, put together from the settings; what it means is in `adapters.lease`."""

from typing import Final

from dtool_operator.adapters.connection import Connection
from dtool_operator.adapters.fence import ProcessFence
from dtool_operator.adapters.lease import FENCE_MARGIN_SECONDS, Leadership, build_identity
from dtool_operator.settings import Settings

_TIMEOUT_SECONDS: Final = 3.0
"""Several tries fit in the time after which a Lease that was not renewed is lost."""


def build_leadership(settings: Settings) -> Leadership | None:
    """Build the claim, None without leader election; no I/O happens yet.

    Its connection is its own: a queue of writes or a long list must not cost the Lease.
    """
    if not settings.leader_election:
        return None
    return Leadership(
        Connection(timeout_seconds=_TIMEOUT_SECONDS, attempts=1),
        namespace=settings.namespace,
        name=settings.lease_name,
        identity=build_identity(settings.identity),
        build_fence=lambda: ProcessFence(margin_seconds=FENCE_MARGIN_SECONDS),
    )
