"""The endpoint's key and certificate: made once, kept in a Secret of the operator's own namespace.

An authority is made with each certificate and its key thrown away: what workers trust can sign nothing else.
Replicas of one operator share the Secret; who comes second takes what the first wrote.
"""

import datetime as dt
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dtool_operator.errors import Conflict, OperatorError

VALID_FOR: Final = dt.timedelta(days=730)
#: A certificate that ends sooner is replaced at the operator's start.
RENEW_BEFORE: Final = dt.timedelta(days=180)
_CLOCK_SLACK: Final = dt.timedelta(hours=1)
_KEYS: Final = ("tls.crt", "tls.key", "ca.crt")


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM texts: the server's certificate and key, and the authority that its clients trust."""

    chain_pem: str
    key_pem: str = field(repr=False)
    ca_pem: str


class _Data(Protocol):
    @property
    def data(self) -> Mapping[str, str]:
        """The Secret's values."""


class SecretKeeper(Protocol):
    """Keeps Secrets in the operator's own namespace; as `adapters.own_secrets.OwnSecrets`."""

    async def create(self, name: str, data: Mapping[str, str]) -> None:
        """Create a Secret. Raises Conflict if the name is taken."""

    async def read(self, name: str) -> _Data | None:
        """Read a Secret; None if there is none."""

    async def replace(self, name: str, data: Mapping[str, str]) -> None:
        """Replace a Secret's data."""


async def ensure_certificate(secrets: SecretKeeper, name: str, *, host: str, now: dt.datetime) -> Certificate:
    """Return the certificate for `host` (a DNS name or address) in the Secret `name`, made if need be.

    One that is for another host, ends soon or cannot be read is replaced. Raises ApiFailure, OperatorError.
    """
    for _ in range(3):
        found = await secrets.read(name)
        kept = None if found is None else _parse(found.data)
        if kept is not None and _is_good(kept, host, now):
            return kept
        made = build_certificate(host, now=now)
        data = dict(zip(_KEYS, (made.chain_pem, made.key_pem, made.ca_pem), strict=True))
        try:
            if found is None:
                await secrets.create(name, data)
            else:
                await secrets.replace(name, data)
        except Conflict:
            continue
        return made
    raise OperatorError("InternalError", f"the Secret {name} of the signing endpoint keeps changing")


def build_certificate(host: str, *, now: dt.datetime) -> Certificate:
    """Make a key, an authority and a certificate for `host`."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dtool-operator signing authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dtool-operator signing endpoint")])
    key_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    authority = (
        _builder(ca_name, ca_name, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(key_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        _builder(subject, ca_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return Certificate(_pem(leaf), _key_pem(key), _pem(authority))


def build_server_context(certificate: Certificate) -> ssl.SSLContext:
    """Return what a server presents. The key touches the disk for a moment: Python reads it from files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    descriptor, path = tempfile.mkstemp(prefix="dtool-operator-tls-")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(certificate.key_pem + certificate.chain_pem)
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()
    return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + VALID_FOR)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def _parse(data: Mapping[str, str]) -> Certificate | None:
    texts = [data.get(key, "") for key in _KEYS]
    return Certificate(*texts) if all(texts) else None


def _is_good(certificate: Certificate, host: str, now: dt.datetime) -> bool:
    """Tell whether a kept certificate serves: key and certificate fit, for this host, for a while yet."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate.chain_pem.encode())
        authority = x509.load_pem_x509_certificate(certificate.ca_pem.encode())
        key = serialization.load_pem_private_key(certificate.key_pem.encode(), password=None)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        return False
    is_pair = key.public_key() == leaf.public_key()
    return is_pair and _general_name(host) in names and leaf.not_valid_after_utc - now > RENEW_BEFORE
