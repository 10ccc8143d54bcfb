"""Writes the owner marker of a prefix as a plan says (rule 4); decides nothing."""

from dtool_operator.planning.plan import EnsureOwner
from dtool_s3.ownership import Owner, ensure_owner, replace_owner
from dtool_s3.store.protocol import Store


async def write_owner(store: Store, action: EnsureOwner) -> Owner:
    """Create the marker, or replace exactly the named owner; return who owns the prefix now.

    Raises what the store raises, and InvalidOwnerMarker.
    """
    prefix, ours = action.owner.prefix, action.owner
    if action.replaces is None:
        return await ensure_owner(store, prefix, ours)
    return await replace_owner(store, prefix, expected=action.replaces, new=ours)
