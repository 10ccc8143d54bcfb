"""The control plane's own certificate authority; owns keys and certificates, not who uses them.

Everything is made anew for each sandbox and is worth nothing outside it.
"""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FOR = dt.timedelta(days=365)
CLOCK_SLACK = dt.timedelta(hours=1)
SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that writes what it issues into one folder."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_file(self) -> Path:
        """The file that clients trust."""
        return self.folder / "ca.crt"

    def issue_server(self, name: str, *addresses: str) -> KeyPair:
        """Issue a certificate for a server on some addresses, valid for the API server's usual names too."""
        names: list[x509.GeneralName] = [x509.DNSName(each) for each in SERVER_NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(each)) for each in sorted(set(addresses))]
        return self._issue(name, _subject(name), ExtendedKeyUsageOID.SERVER_AUTH, names)

    def issue_client(self, name: str, *, group: str) -> KeyPair:
        """Issue a certificate by which the API server knows a user and one group of his."""
        return self._issue(name, _subject(name, group), ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def _issue(
        self, name: str, subject: x509.Name, usage: x509.ObjectIdentifier, names: list[x509.GeneralName]
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject, self.certificate.subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pair = KeyPair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        pair.certificate.write_bytes(_pem(builder.sign(self.key, hashes.SHA256())))
        write_private_key(pair.key, key)
        return pair


def create_authority(folder: Path) -> Authority:
    """Make a certificate authority that lives in `folder`, which is made too."""
    folder.mkdir(parents=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject("dtool-operator sandbox")
    builder = _builder(subject, subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_signing_only(), critical=True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    authority = Authority(folder, builder.sign(key, hashes.SHA256()), key)
    authority.certificate_file.write_bytes(_pem(authority.certificate))
    return authority


def create_signing_key(folder: Path) -> Path:
    """Make the key that signs ServiceAccount tokens."""
    path = folder / "service-accounts.key"
    write_private_key(path, ec.generate_private_key(ec.SECP256R1()))
    return path


def write_private_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a key as PEM that only its owner can read."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + VALID_FOR)
    )


def _subject(name: str, group: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if group is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
