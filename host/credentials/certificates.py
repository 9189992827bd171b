"""A private certificate authority, and the certificates that it signs (X.509, RFC 5280): P-256 keys, ECDSA with SHA-256.

The certificates have all fields that strict readers require (VERIFY_X509_STRICT, the default of Python 3.13) and none that
OpenSSL 1.0.2 does not know.
"""

import datetime
import ipaddress
import secrets
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from device.errors import InputError

AUTHORITY_DAYS = 3650
EARLIER = datetime.timedelta(
    days=1
)  # certificates begin earlier, because a board without a battery clock is behind after a start


class Authority(NamedTuple):
    """A certificate that signs others, and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Pair(NamedTuple):
    """A certificate and its private key without a password, both as PEM, and the end of the certificate in UTC."""

    certificate: bytes
    key: bytes
    end: datetime.datetime


def make_authority() -> tuple[Authority, Pair]:
    """A new authority, which may sign certificates of hosts and devices but of no other authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    # The name is unique, because two authorities with the same name would be mistaken for each other.
    name = _name(f"DefQ authority {secrets.token_hex(4)}")
    builder = _builder(name, name, key.public_key(), key.public_key(), now() + datetime.timedelta(days=AUTHORITY_DAYS))
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key), _pair(certificate, key)


def load_authority(certificate: bytes, key: bytes, source: str) -> Authority:
    """The authority in two PEM files.

    Args:
        certificate, key: the content of the files.
        source: name of the key's file, for errors.

    Raises:
        InputError: a file is damaged or encrypted, the key belongs to another certificate, or the certificate has ended or is
            not that of an authority.
    """
    loaded = load_certificate(certificate, "ca.pem")
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError as error:  # cryptography raises it if a password is needed
        raise InputError(f"found a password on {source}; expected the key as defq keys made it; remove the password or put that key back") from error  # fmt: skip
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"found no private key in {source}; expected the authority's key as defq keys made it; put it back from a copy, or make a new authority in another folder") from error  # fmt: skip
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != loaded.public_key():
        raise InputError(f"found a key in {source} that does not belong to ca.pem beside it; expected the key of that certificate; put it back from a copy, or make a new authority in another folder")  # fmt: skip
    try:
        is_authority = loaded.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        is_authority = False
    if not is_authority:
        raise InputError(f"found the certificate of no authority in ca.pem beside {source}; expected the one that defq keys made; put it back from a copy, or make a new authority in another folder")  # fmt: skip
    if loaded.not_valid_after_utc <= now():
        raise InputError(f"found that the authority in ca.pem ended on {loaded.not_valid_after_utc:%Y-%m-%d}; expected one that is valid; make a new one in another folder and give its files to the host and all devices")  # fmt: skip
    return Authority(loaded, private)


def sign_host(authority: Authority, names: list[str], days: int) -> Pair:
    """A new key and certificate for a host. ``names`` are those by which devices reach it: host names in ASCII, or IP addresses."""
    others = [_general_name(name) for name in names]
    return _sign(authority, names[0][:64], ExtendedKeyUsageOID.SERVER_AUTH, days, x509.SubjectAlternativeName(others))


def sign_device(authority: Authority, name: str, days: int) -> Pair:
    """A new key and certificate for a device. ``name`` becomes its common name and has at most 64 characters."""
    return _sign(authority, name, ExtendedKeyUsageOID.CLIENT_AUTH, days)


def load_certificate(content: bytes, source: str) -> x509.Certificate:
    """The certificate in the bytes of a PEM file.

    Raises:
        InputError: there is no certificate in them.
    """
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise InputError(f"found no certificate in {source}; expected PEM as defq keys made it; put it back from a copy") from error  # fmt: skip


def names_of(certificate: x509.Certificate) -> list[str]:
    """The host names and addresses for which a certificate is valid."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in found if isinstance(name, x509.DNSName | x509.IPAddress)]


def _sign(authority: Authority, name: str, purpose: x509.ObjectIdentifier, days: int, names: x509.SubjectAlternativeName | None = None) -> Pair:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    # A certificate that outlives its authority would look valid and yet be refused.
    end = min(now() + datetime.timedelta(days=days), authority.certificate.not_valid_after_utc)
    builder = _builder(authority.certificate.subject, _name(name), key.public_key(), authority.key.public_key(), end)
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        # Each certificate has one purpose only, so that no device can pass for the host.
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return _pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePublicKey, end: datetime.datetime) -> x509.CertificateBuilder:  # fmt: skip
    return (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now() - EARLIER, end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate.public_bytes(pem), secret, certificate.not_valid_after_utc)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
