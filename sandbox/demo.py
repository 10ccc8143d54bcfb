"""`make demo`: the story of one dataset, played as its people would, on a sandbox of its own.

Owns the story's order and words. Everything it does goes through kubectl and the `dtool` command line; the
manifests are in sandbox/story/.
"""

import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.keeping import keep_datasets
from sandbox.session import bring_down, bring_up
from sandbox.story_data import write_measurements
from sandbox.storyteller import STORY, Storyteller

DATASET = "vega-measurements"
SHOWN_ITEMS = 5  # of hundreds


def play(tell: Storyteller) -> None:
    """Play the whole story; raises where it does not go as told."""
    administrator_prepares(tell)
    uri = instrument_writes(tell)
    alice_asks(tell, uri)
    mallory_tries(tell, uri)
    everybody_looks(tell)
    keep_datasets(tell)


def administrator_prepares(tell: Storyteller) -> None:
    """Namespaces with users, Secrets, and the two bucket objects."""
    tell.say("An administrator makes namespaces; alice's is labelled for the lab's bucket, mallory's is not.")
    tell.kubectl("apply", "--filename", str(STORY / "people.yaml"))
    tell.say("Secrets with S3 keys, and two DtoolBuckets: `lab` is shared, `instruments` can only be read.")
    for secret, identity in (("lab-s3", "lab"), ("instruments-s3", "instruments")):
        apply_secret(tell, secret, identity)
    template = (STORY / "buckets.yaml").read_text()
    for bucket in ("lab-data", "instrument-data"):
        tell.sandbox.object_store.create_bucket(bucket)
    endpoint = tell.sandbox.object_store.endpoint
    tell.kubectl("apply", "--filename=-", stdin=template.replace("https://s3.example.org", endpoint))
    for name in ("lab", "instruments"):
        tell.wait_for(f"dtoolbucket/{name}", "dtool-system", "condition=Ready")
    tell.kubectl("get", "dtoolbuckets", "--namespace", "dtool-system")


def apply_secret(tell: Storyteller, name: str, identity: str) -> None:
    """Put an identity's keys into a Secret; the keys are not shown."""
    print(f"(the keys of the S3 user {identity}, as a Secret)")
    keys = tell.sandbox.object_store.identity(identity)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "dtool-system"},
        "stringData": {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key},
    }
    tell.kubectl("apply", "--filename=-", stdin=json.dumps(secret))


def instrument_writes(tell: Storyteller) -> str:
    """The instrument makes a dataset with the dtool command line; return its URI."""
    tell.say("An instrument writes a dataset into `instrument-data` with the dtool command line.")
    bucket = "instrument-data"
    disk = tell.scratch / "disk"
    disk.mkdir()

    def dtool(*arguments: str) -> str:
        return tell.dtool(*arguments, identity="instrument-writer", bucket=bucket)

    local = dtool("create", "--quiet", DATASET, f"file://{disk}").strip()
    count = write_measurements(disk / DATASET / "data")
    print(f"(the instrument puts {count} files into it)")
    dtool("freeze", local)
    uri = dtool("cp", "--quiet", local, f"s3://{bucket}").strip()
    dtool("ls", f"s3://{bucket}")
    return uri


def alice_asks(tell: Storyteller, uri: str) -> None:
    """Alice applies a DtoolDataset and watches it arrive."""
    tell.say("alice asks for a copy of it. This is her whole dataset.yaml:")
    manifest = (STORY / "dataset.yaml").read_text().replace("SOURCE_URI", uri)
    print(manifest)
    tell.kubectl("apply", "--namespace=alice", "--filename=-", user="alice", stdin=manifest)
    tell.watch("alice", DATASET, until="Frozen")


def mallory_tries(tell: Storyteller, uri: str) -> None:
    """Mallory asks for the same and is refused."""
    tell.say("mallory, whose namespace the bucket does not admit, asks for the same.")
    manifest = (STORY / "dataset.yaml").read_text().replace("SOURCE_URI", uri)
    tell.kubectl("apply", "--namespace=mallory", "--filename=-", user="mallory", stdin=manifest)
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}"
    tell.wait_for(f"dtooldataset/{DATASET}", "mallory", f"{path}=NamespaceNotAllowed")
    tell.kubectl("get", "dtooldataset", DATASET, "--namespace=mallory", f"--output={path}", user="mallory")
    print()


def everybody_looks(tell: Storyteller) -> None:
    """Show what is there now: objects, keys, and the dataset through alice's own S3 keys."""
    tell.say(
        "What is there now. What others write into a bucket is counted at its next listing, every 10 min."
    )
    tell.kubectl("get", "dtoolbuckets,dtooldatasets", "--all-namespaces", "--output=wide")
    tell.say("The keys under alice's prefix, and the registration key that makes dtool find it:")
    show_keys(tell, "u/alice/")
    show_keys(tell, "dtool-")
    tell.say("alice's own S3 keys read the dataset with the dtool command line:")
    tell.dtool("ls", "s3://lab-data", identity="alice", bucket="lab-data")
    uri = tell.ask("get", "dtooldataset", DATASET, "--namespace=alice", "--output=jsonpath={.status.uri}")
    tell.dtool("verify", "--full", uri, identity="alice", bucket="lab-data")


def show_keys(tell: Storyteller, prefix: str) -> None:
    """Show size and key of what lies under a prefix of the lab's bucket; of the items the first few."""
    items = 0
    for listed in tell.sandbox.object_store.client().list_objects_v2(Bucket="lab-data", Prefix=prefix)[
        "Contents"
    ]:
        items += "/data/" in listed["Key"]
        if "/data/" not in listed["Key"] or items <= SHOWN_ITEMS:
            print(f"{listed['Size']:>9}  {listed['Key']}")
    if items > SHOWN_ITEMS:
        print(f"{'…':>9}  and {items - SHOWN_ITEMS} more items below data/")


def main() -> int:
    """Bring a sandbox up, play, bring it down; errors are one line and the log of the operator."""
    # ended by a supervisor it must leave as little behind as ended by Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="dtool-demo-") as scratch:
        directory = Path(scratch) / "sandbox"
        started = time.monotonic()
        try:
            sandbox = bring_up(directory)
            play(Storyteller(sandbox, Path(scratch)))
        except SandboxError as error:
            print(f"error: {error}", file=sys.stderr)
            show_operator_log(directory)
            return 1
        except KeyboardInterrupt:
            print("interrupted; ending the sandbox", file=sys.stderr, flush=True)
            return 130
        finally:
            # Interrupted again, it would leave processes without the directory that knows them.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            bring_down(directory, _say_nothing)
        print(f"\nThe demo took {time.monotonic() - started:.0f} s; nothing is left running.")
    return 0


def _say_nothing(_: str) -> None:
    """Keep quiet about the end: the story has its own last line."""


def show_operator_log(directory: Path) -> None:
    """Print the end of the operator's log, where there is one."""
    log = directory / "operator.log"
    if log.exists():
        print("the operator's log ends with:", *log.read_text().splitlines()[-15:], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
