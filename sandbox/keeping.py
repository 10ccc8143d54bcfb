"""The second half of the demo: what is there already, what is still being filled, and what goes bad.

Listing and import, a proto dataset that `dtool` fills and an edit freezes, and a verification that finds an
item which somebody changed.
"""

from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.storyteller import Storyteller

BUCKET = "lab-data"
PREFIX = "u/alice/"
OLD = "old-measurements"
PROTO = "plate-reader"


def keep_datasets(tell: Storyteller) -> None:
    """Play the second half; raises where it does not go as told."""
    old = alice_has_old_data(tell)
    administrator_imports(tell, old)
    alice_fills_a_proto(tell)
    somebody_spoils_an_item(tell)


def alice_has_old_data(tell: Storyteller) -> str:
    """Alice writes a dataset below her prefix with the dtool command line alone; return its uuid."""
    tell.say("Before all this alice kept datasets with the dtool command line alone. Here is one:")
    uri = _dtool(tell, "create", "--quiet", OLD, f"s3://{BUCKET}").strip()
    _add_item(tell, uri, "old.csv", "well,value\nA1,0.1\n")
    _dtool(tell, "freeze", uri)
    return uri.rpartition("/")[2]


def administrator_imports(tell: Storyteller, uuid: str) -> None:
    """The administrator has frozen datasets imported, and asks for a listing now."""
    tell.say("The administrator lets the operator import what it finds, and asks for a listing now.")
    namespace = "--namespace=dtool-system"
    spec = '{"spec": {"listing": {"import": "Frozen"}}}'
    tell.kubectl("patch", "dtoolbucket", "lab", namespace, "--type=merge", "--patch", spec)
    request = "dtool.dev/reconcileRequestedAt=now"
    tell.kubectl("annotate", "dtoolbucket", "lab", namespace, request)
    name = f"{OLD}-{uuid[:8]}"
    tell.wait_until_there(f"dtooldataset/{name}", "alice")
    tell.wait_for(f"dtooldataset/{name}", "alice", "condition=Frozen")
    tell.kubectl(
        "get", "dtooldatasets", "--namespace=alice", "--label-columns=dtool.dev/imported", user="alice"
    )
    tell.say("The listing: how many datasets there are, and whose.")
    path = "jsonpath={.status.datasets}{'\\n'}{.status.namespaces}{'\\n'}"
    tell.kubectl("get", "dtoolbucket", "lab", namespace, f"--output={path}")


def alice_fills_a_proto(tell: Storyteller) -> None:
    """Alice applies an empty proto dataset, fills it with dtool, and freezes it by an edit."""
    tell.say("alice begins a new dataset. It has no source: it is an empty proto dataset, and Ready.")
    tell.apply_story("proto.yaml", "alice")
    tell.wait_for(f"dtooldataset/{PROTO}", "alice", "condition=Ready")
    tell.kubectl("get", "dtooldataset", PROTO, "--namespace=alice", user="alice")
    tell.say("She fills it with the dtool command line, and freezes it by an edit.")
    uri = _uri(tell, PROTO)
    for plate in (1, 2):
        _add_item(tell, uri, f"plate-{plate}.csv", f"well,value\nA{plate},0.{plate}\n")
    freeze = ("patch", "dtooldataset", PROTO, "--type=merge", "--patch", '{"spec": {"freeze": true}}')
    tell.kubectl(*freeze, "--namespace=alice", user="alice")
    tell.watch("alice", PROTO, until="Frozen")
    _dtool(tell, "verify", "--full", uri)


def somebody_spoils_an_item(tell: Storyteller) -> None:
    """Somebody with S3 keys changes an item behind everybody's back; a verification that reads finds it."""
    tell.say("Somebody with S3 keys changes one byte of a frozen dataset, behind everybody's back.")
    client = tell.sandbox.object_store.client()
    below = f"{PREFIX}{_uri(tell, PROTO).rpartition('/')[2]}/data/"
    key = client.list_objects_v2(Bucket=BUCKET, Prefix=below)["Contents"][0]["Key"]
    found = client.get_object(Bucket=BUCKET, Key=key)
    body = found["Body"].read().replace(b"0.", b"9.", 1)
    client.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata=found["Metadata"])
    print(f"(one byte of {key} is another one now)")
    tell.say("alice asks for a verification that reads every byte.")
    reading = '{"spec": {"verify": {"method": "Content"}}}'
    here = "--namespace=alice"
    tell.kubectl("patch", "dtooldataset", PROTO, here, "--type=merge", "--patch", reading, user="alice")
    tell.kubectl("annotate", "dtooldataset", PROTO, here, "dtool.dev/verifyRequestedAt=now", user="alice")
    tell.wait_for(f"dtooldataset/{PROTO}", "alice", "condition=Verified=False")
    tell.kubectl("get", "dtooldatasets", here, user="alice")
    path = "jsonpath={.status.verified.mismatches}{'\\n'}"
    shown = tell.kubectl("get", "dtooldataset", PROTO, here, f"--output={path}", user="alice")
    if "plate-" not in shown:
        raise SandboxError("the verification does not name the item that was changed")


def _dtool(tell: Storyteller, *arguments: str) -> str:
    return tell.dtool(*arguments, identity="alice", bucket=BUCKET, prefix=PREFIX)


def _add_item(tell: Storyteller, uri: str, name: str, text: str) -> None:
    """Write a file and add it to a proto dataset."""
    file: Path = tell.scratch / name
    file.write_text(text)
    _dtool(tell, "add", "item", str(file), uri)


def _uri(tell: Storyteller, name: str) -> str:
    return tell.ask("get", "dtooldataset", name, "--namespace=alice", "--output=jsonpath={.status.uri}")
