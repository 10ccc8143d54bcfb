"""What the sandbox writes for others to read: identities, kubeconfigs, certificates."""

import ssl
from pathlib import Path

import yaml

from sandbox.certificates import create_authority, create_signing_key
from sandbox.identity import create_demo_identities, read_identities, read_names, write_identities
from sandbox.kubectl import write_token_kubeconfig


def test_identities_survive_writing_and_reading(tmp_path: Path) -> None:
    identities = create_demo_identities()

    write_identities(tmp_path / "identities.json", identities, revoked=["mallory"])

    assert read_identities(tmp_path / "identities.json") == identities
    assert read_names(tmp_path / "identities.json") == {each.name for each in identities} | {"mallory"}
    assert is_private(tmp_path / "identities.json")


def test_no_two_sandboxes_share_a_key() -> None:
    first, second = create_demo_identities(), create_demo_identities()

    keys = {each.secret_key for each in (*first, *second)} | {each.access_key for each in (*first, *second)}

    assert len(keys) == 2 * (len(first) + len(second))


def test_a_secret_key_is_not_shown() -> None:
    for identity in create_demo_identities():
        assert identity.secret_key not in repr(identity)


def test_a_kubeconfig_is_whole_and_private(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("certificate")

    path = write_token_kubeconfig(
        tmp_path / "kubeconfig", server="https://127.0.0.1:1", ca_file=tmp_path / "ca.crt", token="t"
    )

    document = yaml.safe_load(path.read_text())
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority-data": "Y2VydGlmaWNhdGU="}
    assert document["clusters"] == [{"name": "sandbox", "cluster": cluster}]
    assert document["users"] == [{"name": "user", "user": {"token": "t"}}]
    assert document["current-context"] == "sandbox"
    assert is_private(path)


def test_issued_certificates_are_trusted_through_their_authority(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "pki")
    server = authority.issue_server("server", "127.0.0.1")
    client = authority.issue_client("admin", group="system:masters")

    seen_by_client, seen_by_server = shake_hands(authority.certificate_file, server, client)

    assert ("DNS", "kubernetes.default.svc") in seen_by_client["subjectAltName"]
    assert ("IP Address", "127.0.0.1") in seen_by_client["subjectAltName"]
    assert seen_by_server["subject"] == (
        (("organizationName", "system:masters"),),
        (("commonName", "admin"),),
    )


def test_private_keys_are_private(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "pki")

    keys = [authority.issue_server("server", "127.0.0.1").key, create_signing_key(tmp_path / "pki")]

    assert all(is_private(each) for each in keys)
    assert (tmp_path / "pki").stat().st_mode & 0o777 == 0o700


def is_private(path: Path) -> bool:
    return path.stat().st_mode & 0o777 == 0o600


def shake_hands(ca_file: Path, server, client):  # type: ignore[no-untyped-def]
    """Do a mutual TLS handshake in memory; return the certificate each side saw."""
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca_file))
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_cert_chain(server.certificate, server.key)
    client_tls = ssl.create_default_context(cafile=str(ca_file))
    client_tls.load_cert_chain(client.certificate, client.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client_tls.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server_tls.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(sides)
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return sides[0].getpeercert(), sides[1].getpeercert()
