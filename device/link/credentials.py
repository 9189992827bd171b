"""What the host must prove to the device, and what the device shows the host: certificates and a token.

With https:// the host's certificate is always verified, its name too; there is no switch against that. Keys, certificates
and tokens come from: python -m host keys.
"""

import argparse
import http.client
import os
import re
import socket
import ssl
import time
from typing import List, Optional, Tuple

from device.errors import HostError, UsageError

TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}", re.ASCII)  # what a Bearer token may hold (RFC 6750, section 2.1)


class AccessError(HostError):
    """The host is there, but one of the two sides does not trust the other; asking again alone does not help."""


class Credentials:
    """Files for getting in.

    Args:
        ca_file: of the authority that signed the host's certificate; None for those that this system trusts.
        cert_file, key_file: the device's own certificate, and its key if that is not in the same file.
        token_file: a line with the device's token.
    """

    def __init__(
        self,
        ca_file: Optional[str] = None,
        cert_file: Optional[str] = None,
        key_file: Optional[str] = None,
        token_file: Optional[str] = None,
    ) -> None:
        self.ca_file = ca_file
        self.cert_file = cert_file
        self.key_file = key_file
        self.token_file = token_file
        self._read: Tuple[int, str] = (
            0,
            "",
        )  # when the token's file was changed, and the header with what it held then

    @property
    def tls_options(self) -> List[str]:
        """The options given that make sense for https:// alone."""
        given = (("--ca-file", self.ca_file), ("--cert-file", self.cert_file), ("--key-file", self.key_file))
        return [option for option, value in given if value]

    def header(self) -> str:
        """The HTTP header that shows the token as it stands in the file now; empty where there is none.

        Raises:
            UsageError: the file cannot be read or holds no token.
        """
        if self.token_file is None:
            return ""
        try:
            changed_ns = os.stat(self.token_file).st_mtime_ns
        except OSError:
            changed_ns = -1  # read_token says what is wrong
        if self._read[0] != changed_ns:
            self._read = (changed_ns, "Authorization: Bearer {}\r\n".format(read_token(self.token_file)))
        return self._read[1]


NO_CREDENTIALS = Credentials()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every command that speaks to a host."""
    add = parser.add_argument
    add("--ca-file", metavar="FILE",
        help="certificate of the authority that signed that of a https:// host (default: those the system trusts)")  # fmt: skip
    add("--cert-file", metavar="FILE", help="this device's certificate, for a host that asks for one")
    add("--key-file", metavar="FILE", help="the key of --cert-file (default: in the same file)")
    add("--token-file", metavar="FILE", help="this device's token for the host; read again when the host refuses it")


def credentials_of(arguments: argparse.Namespace) -> Credentials:
    """The options as given.

    Raises:
        UsageError: options that do not go together, or no token in its file. Certificates are read by ``Tls``.
    """
    credentials = Credentials(arguments.ca_file, arguments.cert_file, arguments.key_file, arguments.token_file)
    if credentials.key_file and not credentials.cert_file:
        raise UsageError("found --key-file without --cert-file; expected the certificate that it belongs to")
    credentials.header()
    return credentials


def read_token(name: str) -> str:
    """The token in a file.

    Raises:
        UsageError: the file cannot be read or holds no token.
    """
    try:
        with open(name, encoding="ascii") as file:
            token = file.read(1024).strip()
    except (OSError, ValueError) as error:
        raise UsageError("could not read the token in {} ({}); expected a file with one line, as python -m host keys makes it".format(
            name, getattr(error, "strerror", None) or "it is not ASCII text")) from error  # fmt: skip
    if not TOKEN.fullmatch(token):
        raise UsageError("found no token in {}; expected one line of 16 to 512 letters, digits and . _ ~ + / = -, "
                         "as python -m host keys makes it".format(name))  # fmt: skip
    return token


class Tls:
    """The device's side of TLS with one host. Shared by its connections: with the session that the last of them got, the
    next one resumes and saves the signatures of a full handshake.

    Raises:
        UsageError: a file cannot be used.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and name
        if hasattr(self._context, "minimum_version"):
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        else:  # Python 3.6
            self._context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
        self._session: Optional[ssl.SSLSession] = None
        try:
            what, name = "--ca-file", credentials.ca_file
            if credentials.ca_file:
                self._context.load_verify_locations(credentials.ca_file)
            else:
                self._context.load_default_certs()
            what, name = "--cert-file", credentials.cert_file
            if credentials.cert_file:
                name = " with key ".join(filter(None, (credentials.cert_file, credentials.key_file)))
                # without this an encrypted key would ask for its password on the terminal
                self._context.load_cert_chain(credentials.cert_file, credentials.key_file, password=lambda: "")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise UsageError("could not use {} {} ({}); expected a PEM file as python -m host keys makes it, a key without a "
                             "password and one that fits its certificate".format(
                                 what, name, getattr(error, "reason", None) or getattr(error, "strerror", None) or error)) from error  # fmt: skip

    def wrap(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """The socket with TLS on it, before its handshake; the name of the host is checked in that."""
        return self._context.wrap_socket(
            connection, server_hostname=host, do_handshake_on_connect=False, session=self._session
        )

    def remember(self, connection: ssl.SSLSocket) -> None:
        """Keep the session of a connection that has brought an answer; before, TLS 1.3 has none."""
        self._session = connection.session


def explained(error: Exception, url: str, host: str, credentials: Credentials) -> Optional[Exception]:
    """What a failure on a new connection says of trust between the two sides: an AccessError where it is sure, a
    ConnectionError where it may be something else; None where it says nothing."""
    tls = url.startswith("https")
    # OpenSSL's own words: Python's names for them (error.reason) are those of the OpenSSL that it was made for
    said = re.sub(r"^\[[^]]*\] ?| ?\(_ssl.c:\d+\)$", "", str(error))
    if isinstance(error, ssl.CertificateError) or "certificate verify failed" in said:
        return AccessError(
            "could not verify the certificate of the host at {} ({}); expected one for {} signed by {} and valid on {}; check "
            "--ca-file, the name in --host, the host's certificate and this device's clock".format(
                url, getattr(error, "verify_message", "") or said, host,
                credentials.ca_file or "an authority that this system trusts", time.strftime("%Y-%m-%d")))  # fmt: skip
    if isinstance(error, ssl.SSLError) and "eof" not in said.lower():
        if re.search("alert .*(certificate|unknown ca|handshake failure)", said):
            found = (
                "the certificate in " + credentials.cert_file
                if credentials.cert_file
                else "a device without a certificate"
            )
            return AccessError("the host at {} refused {} ({}); {}".format(url, found, said, _wanted(credentials)))
        if said in ("wrong version number", "unknown protocol", "http request"):
            return AccessError("found no TLS at {}; expected a host started with --tls-cert and --tls-key; start it so, or use "
                               "http:// in --host".format(url))  # fmt: skip
        return AccessError(
            "could not agree on TLS with the host at {} ({}); expected TLS 1.2 or newer there".format(url, said)
        )
    if not tls and isinstance(error, http.client.BadStatusLine) and str(error.args[0]).startswith("\x15\x03"):
        return AccessError("found TLS at {}; expected plain HTTP; use https:// in --host".format(url))
    if isinstance(error, (ConnectionError, ssl.SSLError)) and not isinstance(error, ConnectionRefusedError):
        # in TLS 1.3 the host refuses a certificate when the request is on its way, and a reset may overtake the reason
        guess = "asks devices for a certificate, " + _wanted(credentials) if tls else "has TLS, use https:// in --host"
        return ConnectionError("it closed the connection without an answer; if it {}".format(guess))
    return None


def _wanted(credentials: Credentials) -> str:
    if credentials.cert_file:
        return "expected one that its --client-ca signed and that is valid today; make it, as in: python -m host keys --out keys --name edge.example --device cam-1"
    return "use --cert-file and --key-file"


def refused(status: int, message: str, url: str, credentials: Credentials) -> AccessError:
    """A sentence for the answers 401 and 403. message: the host's own, which knows more in the second case."""
    if status == 403:
        return AccessError("the host at {} refused this device (403): {}".format(url, message))
    expected = "expected one of those in the host's --token-file"
    if credentials.token_file:
        return AccessError("the host at {} refused the token of {} (401); {}; put it into {}, which is read again".format(
            url, credentials.token_file, expected, credentials.token_file))  # fmt: skip
    return AccessError(
        "the host at {} asks for a token (401); {}; give it with --token-file FILE".format(url, expected)
    )
