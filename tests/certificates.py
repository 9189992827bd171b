"""Certificates for tests of TLS: python -m tests.certificates writes tests/device/data/tls.

Committed, because Python 3.6 has nothing to make them with. They open nothing: their keys are public.
"""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FOLDER = Path(__file__).parent / "device" / "data" / "tls"
START = datetime.datetime(2000, 1, 1)
END = datetime.datetime(2120, 1, 1)


class Authority:
    """A certificate authority. Its file holds its certificate, not its key."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            self._builder(self.name, self.key.public_key(), END)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        (FOLDER / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, end: datetime.datetime) -> x509.CertificateBuilder:  # fmt: skip
        identifier = x509.SubjectKeyIdentifier.from_public_key(key)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder(self.name, subject, key, x509.random_serial_number(), START, end)
            .add_extension(identifier, critical=False)
            .add_extension(own, critical=False)
        )

    def sign(self, name: str, names: list[x509.GeneralName], server: bool, end: datetime.datetime = END, password: bytes = b"") -> None:  # fmt: skip
        """A file with a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key(), end).add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)  # fmt: skip
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)  # fmt: skip
        certificate = builder.sign(self.key, hashes.SHA256())
        (FOLDER / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    authority, stranger = Authority("authority"), Authority("other-authority")
    authority.sign("host", here, server=True)
    authority.sign("host-expired", here, server=True, end=datetime.datetime(2020, 1, 1))
    authority.sign("host-elsewhere", [x509.DNSName("elsewhere.example")], server=True)
    authority.sign("device", [], server=False)
    authority.sign("device-encrypted", [], server=False, password=b"a password")
    stranger.sign("other-device", [], server=False)


if __name__ == "__main__":
    main()
