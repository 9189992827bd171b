"""The device's side of TLS. The host's certificate and its name are always verified; there is no switch against that."""

import http.client
import re
import socket
import ssl
import time
from typing import Optional

from device.errors import AccessError, UsageError


class Tls:
    """TLS settings for one host, shared by all connections to it.

    It keeps the TLS session of the connection that answered last. The next connection resumes this session, which saves both
    sides the signatures of a full handshake.

    Args:
        ca_file, cert_file, key_file: as of ``Credentials``.

    Raises:
        UsageError: a file cannot be used.
    """

    def __init__(
        self, ca_file: Optional[str] = None, cert_file: Optional[str] = None, key_file: Optional[str] = None
    ) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and name
        if hasattr(self._context, "minimum_version"):
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        else:  # Python 3.6
            self._context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
        self._session: Optional[ssl.SSLSession] = None
        try:
            what, name = "--ca-file", ca_file
            if ca_file:
                self._context.load_verify_locations(ca_file)
            else:
                self._context.load_default_certs()
            what, name = "--cert-file", cert_file
            if cert_file:
                name = " with key ".join(filter(None, (cert_file, key_file)))
                # without this an encrypted key would ask for its password on the terminal
                self._context.load_cert_chain(cert_file, key_file, password=lambda: "")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise UsageError("could not use {} {} ({}); expected a PEM file as defq keys makes it, a key without a "
                             "password and one that fits its certificate".format(
                                 what, name, getattr(error, "reason", None) or getattr(error, "strerror", None) or error)) from error  # fmt: skip

    def wrap(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """The socket with TLS on it, before its handshake, which also checks that the certificate is of ``host``."""
        return self._context.wrap_socket(
            connection, server_hostname=host, do_handshake_on_connect=False, session=self._session
        )

    def remember(self, connection: ssl.SSLSocket) -> None:
        """Keep the session of a connection. Call it after an answer: with TLS 1.3 there is no session before."""
        self._session = connection.session


def explain_failure(
    error: Exception, url: str, host: str, ca_file: Optional[str], cert_file: Optional[str]
) -> Optional[Exception]:
    """Find out whether a new connection failed because the two sides do not trust each other.

    Args:
        error: of ssl, socket or http.client.
        ca_file, cert_file: what the device trusts and what it shows.

    Returns:
        AccessError where this is certain, ConnectionError with a guess where it is possible, None otherwise.
    """
    tls = url.startswith("https")
    # OpenSSL's own words: Python's names for them (error.reason) are those of the OpenSSL that it was built for
    said = re.sub(r"^\[[^]]*\] ?| ?\(_ssl.c:\d+\)$", "", str(error))
    if isinstance(error, ssl.CertificateError) or "certificate verify failed" in said:
        return AccessError(
            "could not verify the certificate of the host at {} ({}); expected one for {} signed by {} and valid on {}; check "
            "--ca-file, the name in --host, the host's certificate and this device's clock".format(
                url, getattr(error, "verify_message", "") or said, host,
                ca_file or "an authority that this system trusts", time.strftime("%Y-%m-%d")))  # fmt: skip
    if isinstance(error, ssl.SSLError) and "eof" not in said.lower():
        if re.search("alert .*(certificate|unknown ca|handshake failure)", said):
            found = "the certificate in " + cert_file if cert_file else "a device without a certificate"
            return AccessError("the host at {} refused {} ({}); {}".format(url, found, said, _wanted(cert_file)))
        if said in ("wrong version number", "unknown protocol", "http request"):
            return AccessError("found no TLS at {}; expected a host started with --tls-cert and --tls-key; start it so, or use "
                               "http:// in --host".format(url))  # fmt: skip
        return AccessError(
            "could not agree on TLS with the host at {} ({}); expected TLS 1.2 or newer there".format(url, said)
        )
    if not tls and isinstance(error, http.client.BadStatusLine) and str(error.args[0]).startswith("\x15\x03"):
        return AccessError("found TLS at {}; expected plain HTTP; use https:// in --host".format(url))
    if isinstance(error, (ConnectionError, ssl.SSLError)) and not isinstance(error, ConnectionRefusedError):
        # with TLS 1.3 the host refuses a certificate when the request is on its way, and a reset may overtake the reason
        guess = "asks devices for a certificate, " + _wanted(cert_file) if tls else "has TLS, use https:// in --host"
        return ConnectionError("it closed the connection without an answer; if it {}".format(guess))
    return None


def _wanted(cert_file: Optional[str]) -> str:
    if cert_file:
        return (
            "expected one that its --client-ca signed and that is valid today; make it, as in: "
            "defq keys --out keys --name edge.example --device cam-1"
        )
    return "use --cert-file and --key-file"
