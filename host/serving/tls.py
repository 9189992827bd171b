"""The host's side of TLS: its certificate, and the certificates that it requires of devices."""

import os
import ssl
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from device.errors import DataError, UsageError
from host.serving.file_watcher import FileWatcher

KEYS = "defq keys --out keys --name edge.example --device cam-1"
SOON_S = 14 * 86400.0  # a certificate that ends within so many seconds is worth a warning


class Certificates:
    """TLS 1.2 and newer, with certificates from PEM files.

    Args:
        cert_file: certificate of the host, followed by those between it and its authority.
        key_file: key of the certificate, without a password; it may be the same file.
        client_ca_file: certificates of the authorities that sign the certificates of devices (mutual TLS); None = devices need
            no certificate.
        warn: called with a sentence for the operator.

    Attributes:
        context: context for connections. ``refresh`` changes it in place.
        ends_s: end of the host's certificate, in seconds since 1970.

    Raises:
        UsageError: a file cannot be read, or the package cryptography is missing.
        DataError: a file holds no certificate, a certificate has ended, or the key belongs to another certificate.
    """

    def __init__(self, cert_file: str, key_file: str, client_ca_file: str | None, warn: Callable[[str], None]) -> None:
        self._cert_file, self._key_file, self._warn = cert_file, key_file, warn
        self._watcher = _watcher(cert_file, key_file)
        self.context = _context()
        self.ends_s = self._load(self.context)
        if client_ca_file:
            self.context.verify_mode = ssl.CERT_REQUIRED
            _valid(_certificates("--client-ca", client_ca_file), "--client-ca", client_ca_file)
            self.context.load_verify_locations(client_ca_file)
        if os.name == "posix" and os.stat(key_file).st_mode & 0o006:
            warn(f"found that every user of this machine may read or change {key_file}; expected its owner alone; run: chmod o-rw {key_file}")  # fmt: skip
        if self.ends_s - time.time() < SOON_S:
            warn(f"found that the certificate in {cert_file} ends on {_day(self.ends_s)}; expected it to last longer than {SOON_S / 86400:.0f} days; renew it, as in: {KEYS} --renew")  # fmt: skip

    def refresh(self) -> None:
        """Read the certificate and its key again if their files have changed and are completely written. They hold for new
        connections. If they cannot be used, ``warn`` is called and the certificate from before stays. The authorities of
        devices are never read again."""
        try:
            if not (self._watcher and self._watcher.have_changed()):
                return
        except OSError:  # for example, the user that the host has become may not read them
            return
        try:
            self._load(_context())  # a trial, because a failure would leave the context in use half changed
            self.ends_s = self._load(self.context)
        except (UsageError, DataError) as error:
            self._warn(f"{error}; the certificate from before stays in use")

    def _load(self, context: ssl.SSLContext) -> float:
        """Load the files into ``context``. Returns the end of the certificate in seconds since 1970."""
        first = _certificates("--tls-cert", self._cert_file)[:1]
        ends_s = _valid(first, "--tls-cert", self._cert_file)
        _read("--tls-key", self._key_file)
        try:
            # Without a password function OpenSSL would ask for the password on the terminal.
            context.load_cert_chain(self._cert_file, self._key_file, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            if reason == "KEY_VALUES_MISMATCH":
                sentence = f"found that the key in {self._key_file} does not belong to the certificate in {self._cert_file}; expected --tls-key and --tls-cert of one pair"
            else:
                sentence = f"could not use the key in --tls-key {self._key_file} ({reason}); expected a PEM key without a password"
            raise DataError(f"{sentence}; make both, as in: {KEYS}") from error
        return ends_s


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # in TLS 1.2 it costs the host more than the client
    return context


def _read(option: str, file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(1 << 22)
    except OSError as error:
        raise UsageError(
            f"could not read {option} {file} ({error.strerror}); expected a PEM file that this user may read; make it, as in: {KEYS}"
        ) from error


def _certificates(option: str, file: str) -> list[Any]:
    try:
        from cryptography import x509
    except ImportError as error:
        raise UsageError(
            f"found no package cryptography in this environment; expected it for {option}; pip install cryptography"
        ) from error
    try:
        return x509.load_pem_x509_certificates(_read(option, file))
    except ValueError as error:
        raise DataError(f"found no certificate in {option} {file}; expected PEM text that begins with -----BEGIN CERTIFICATE-----; make it, as in: {KEYS}") from error  # fmt: skip


def _valid(certificates: list[Any], option: str, file: str) -> float:
    """Check that one of the certificates is valid now. Returns the end of the last one in seconds since 1970."""
    now = datetime.now(timezone.utc)
    if not any(each.not_valid_before_utc <= now <= each.not_valid_after_utc for each in certificates):
        start, end = certificates[0].not_valid_before_utc, certificates[0].not_valid_after_utc
        raise DataError(
            f"found a certificate in {option} {file} that is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}; expected one that is valid on {now:%Y-%m-%d}, the date of this machine; "
            f"set the clock, or renew it, as in: {KEYS} --renew"
        )
    return max(float(each.not_valid_after_utc.timestamp()) for each in certificates)


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _watcher(*files: str) -> FileWatcher | None:
    try:
        return FileWatcher(files)
    except OSError:  # the error is raised when the files are read
        return None
