"""Who may do what on the sandbox's S3 server; owns the configuration file that SeaweedFS reads."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Not the bare action Admin: only the administrator of the server makes buckets.
FULL_ACCESS = ("Admin", "Read", "Write", "List", "Tagging")


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of the S3 server, with one access key.

    `actions` are SeaweedFS's: ACTION, ACTION:BUCKET or ACTION:BUCKET/PREFIX*, where ACTION is Admin, Read,
    Write, List or Tagging.
    """

    name: str
    access_key: str
    secret_key: str = field(repr=False)
    actions: tuple[str, ...]


def create_identity(name: str, *actions: str) -> Identity:
    """Make an identity with keys nobody else has."""
    return Identity(name, f"{name}-{secrets.token_hex(4)}", secrets.token_hex(20), actions)


def create_demo_identities() -> tuple[Identity, ...]:
    """Make the identities of the demo: an administrator, two buckets' owners, and people who share them."""
    return (
        create_identity("admin", *FULL_ACCESS),
        create_identity("lab", "Read:lab-data", "List:lab-data", "Write:lab-data"),
        create_identity("instruments", "Read:instrument-data", "List:instrument-data"),
        create_identity(
            "instrument-writer", "Read:instrument-data", "List:instrument-data", "Write:instrument-data"
        ),
        # The classic dtool policy: everybody reads all, writes below a prefix of his own, and registers.
        create_identity(
            "alice", "Read:lab-data", "List:lab-data", "Write:lab-data/u/alice/*", "Write:lab-data/dtool-*"
        ),
    )


def write_identities(path: Path, identities: Sequence[Identity], *, revoked: Sequence[str] = ()) -> None:
    """Write the configuration file, by rename.

    `revoked` names identities that exist no longer: SeaweedFS merges what it reads into what it knows, so one
    that is only left out would keep its access until the next start.
    """
    document = {
        "identities": [
            {
                "name": identity.name,
                "credentials": [{"accessKey": identity.access_key, "secretKey": identity.secret_key}],
                "actions": list(identity.actions),
            }
            for identity in identities
        ]
        + [{"name": name, "credentials": [], "actions": []} for name in revoked]
    }
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(document, indent=1))
    unfinished.rename(path)


def read_identities(path: Path) -> tuple[Identity, ...]:
    """Read the identities of a configuration file, without the revoked ones."""
    return tuple(
        Identity(
            each["name"],
            each["credentials"][0]["accessKey"],
            each["credentials"][0]["secretKey"],
            tuple(each["actions"]),
        )
        for each in json.loads(path.read_text())["identities"]
        if each["credentials"]
    )


def read_names(path: Path) -> set[str]:
    """Read the names of all identities of a configuration file, revoked ones included."""
    return {each["name"] for each in json.loads(path.read_text())["identities"]}
