"""A namespace that is deleted with a team's bucket, Secret and datasets never hangs, in whichever order."""

from itertools import permutations

from tests.support.datasets import UUID
from tests.support.eventually import eventually
from tests.support.fault_lab import ITEMS, FaultLab

ORDERS = tuple(permutations(("dtoolbucket/own", "secret/own", "dtooldataset/raw", "dtooldataset/new")))[::4]
READER = "dtool-operator-secret-reader"
OPERATOR = "dtool-system:dtool-operator"


def test_namespaces_go_whatever_goes_first(lab: FaultLab) -> None:
    teams = [f"team{number}-{lab.suffix}" for number in range(len(ORDERS))]
    lab.write(lab.instruments, items=ITEMS)
    lab.hold_copies(after=0)
    for team in teams:
        furnish(lab, team)
    eventually(lambda: _assert_at_work(lab, teams), within=60)

    for team, order in zip(teams, ORDERS, strict=True):
        for one in order:
            lab.control_plane.kubectl("delete", one, "--namespace", team, "--wait=false")
        lab.delete("namespace", team, wait=False)

    eventually(lambda: _assert_gone(lab, teams), within=40)


def test_namespaces_go_while_the_endpoint_does_not_answer(lab: FaultLab) -> None:
    team = f"team-{lab.suffix}"
    lab.write(lab.instruments, items=ITEMS)
    lab.hold_copies(after=0)
    furnish(lab, team)
    eventually(lambda: _assert_at_work(lab, [team]), within=60)

    lab.end_endpoint()
    for name in (team, lab.alice):
        lab.delete("namespace", name, wait=False)

    eventually(lambda: _assert_gone(lab, [team, lab.alice]), within=90)


def furnish(lab: FaultLab, team: str) -> None:
    """Make a namespace with a bucket of its own, a copy that is held in it, and a proto dataset."""
    lab.namespace(team)
    lab.object_store.create_bucket(team)
    lab.secret(namespace=team, name="own")
    binding = ("create", "rolebinding", "reader", f"--clusterrole={READER}", f"--serviceaccount={OPERATOR}")
    lab.control_plane.kubectl(*binding, "--namespace", team)
    lab.bucket_object(
        "own",
        namespace=team,
        bucket=team,
        credentials={"secretRef": {"name": "own"}},
        allowedNamespaces={"from": "Same"},
    )
    here = {"name": "own"}
    lab.dataset("raw", namespace=team, bucketRef=here, source={"uri": lab.uri(UUID)})
    lab.dataset("new", namespace=team, bucketRef=here, deletionPolicy="Delete")


def _assert_at_work(lab: FaultLab, teams: list[str]) -> None:
    for team in teams:
        assert lab.get("dtooldataset", "raw", team)["metadata"].get("finalizers"), team
        assert lab.get("dtooldataset", "new", team)["metadata"].get("finalizers"), team
        assert f"u/{team}/{UUID}/dtool" in lab.keys(team), team


def _assert_gone(lab: FaultLab, teams: list[str]) -> None:
    left = {}
    for team in teams:
        if lab.is_there("namespace", team):
            kinds = "dtooldatasets,dtoolbuckets,secrets"
            left[team] = lab.control_plane.kubectl("get", kinds, "--namespace", team, "--output=name")
    assert left == {}, [(team, ORDERS[teams.index(team)], what) for team, what in left.items()]
