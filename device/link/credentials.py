"""What a device shows a host, and what the host must prove to the device: certificates and a token.

Keys, certificates and tokens come from: defq keys.
"""

import argparse
import os
import re
from typing import List, Optional, Tuple

from device.errors import AccessError, HostError, UsageError
from device.link.tls import explain_failure

TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}", re.ASCII)  # what a Bearer token may hold (RFC 6750, section 2.1)
MAX_TOKEN_FILE = 1024  # characters: a token, and a few line breaks


class Credentials:
    """The files behind the options --ca-file, --cert-file, --key-file and --token-file.

    Args:
        ca_file: certificate of the authority that signed the host's; None for the authorities that this system trusts.
        cert_file: the device's own certificate.
        key_file: the key of ``cert_file``; None when it is in the same file.
        token_file: a file whose only line is the device's token.
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
        self._cached: Tuple[int, str] = (0, "")  # when the token file was changed, and the header line with that token

    @property
    def tls_options(self) -> List[str]:
        """The options given that only make sense with https://."""
        given = (("--ca-file", self.ca_file), ("--cert-file", self.cert_file), ("--key-file", self.key_file))
        return [option for option, value in given if value]

    def authorization(self) -> str:
        """The HTTP header line with the token that is in the file now; empty without a token file.

        Raises:
            UsageError: the file cannot be read or holds no token.
        """
        if self.token_file is None:
            return ""
        try:
            changed_ns = os.stat(self.token_file).st_mtime_ns
        except OSError:
            changed_ns = -1  # read_token says what is wrong
        if self._cached[0] != changed_ns:
            self._cached = (changed_ns, bearer(read_token(self.token_file)))
        return self._cached[1]

    def explained(self, error: Exception, url: str, host: str) -> Optional[Exception]:
        """The reason why a new connection failed, where it lies in these credentials; see ``explain_failure``."""
        return explain_failure(error, url, host, self.ca_file, self.cert_file)

    def refused(self, status: int, message: str, url: str) -> HostError:
        """The error for an answer 401 or 403. ``message`` is the host's own, which knows more in case of 403."""
        if status == 403:
            return AccessError("the host at {} refused this device (403): {}".format(url, message))
        expected = "expected one of those in the host's --token-file"
        if self.token_file:
            return AccessError("the host at {} refused the token of {} (401); {}; put it into {}, which is read again".format(
                url, self.token_file, expected, self.token_file))  # fmt: skip
        return AccessError(
            "the host at {} asks for a token (401); {}; give it with --token-file FILE".format(url, expected)
        )


NO_CREDENTIALS = Credentials()


def bearer(token: str) -> str:
    """The HTTP header line that shows a token."""
    return "Authorization: Bearer {}\r\n".format(token)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every command that speaks to a host."""
    add = parser.add_argument
    add("--ca-file", metavar="FILE",
        help="certificate of the authority that signed that of a https:// host (default: those the system trusts)")  # fmt: skip
    add("--cert-file", metavar="FILE", help="this device's certificate, for a host that asks for one")
    add("--key-file", metavar="FILE", help="the key of --cert-file (default: in the same file)")
    add("--token-file", metavar="FILE", help="this device's token for the host; read again when the host refuses it")


def credentials_of(arguments: argparse.Namespace) -> Credentials:
    """The credentials that the options name. Certificates are not read here but by ``Tls``.

    Raises:
        UsageError: options that do not go together, or a token file without a token.
    """
    credentials = Credentials(arguments.ca_file, arguments.cert_file, arguments.key_file, arguments.token_file)
    if credentials.key_file and not credentials.cert_file:
        raise UsageError("found --key-file without --cert-file; expected the certificate that it belongs to")
    credentials.authorization()
    return credentials


def read_token(name: str) -> str:
    """The token in a file.

    Raises:
        UsageError: the file cannot be read, is too large or holds no token.
    """
    try:
        with open(name, encoding="ascii") as file:
            token = file.read(MAX_TOKEN_FILE + 1)
    except (OSError, ValueError) as error:
        raise UsageError("could not read the token in {} ({}); expected a file with one line, as defq keys makes it".format(
            name, getattr(error, "strerror", None) or "it is not ASCII text")) from error  # fmt: skip
    if len(token) > MAX_TOKEN_FILE:
        raise UsageError("found more than {:,} characters in {}; expected the token of this device alone, on one line, as defq "
                         "keys makes it".format(MAX_TOKEN_FILE, name))  # fmt: skip
    token = token.strip()
    if not TOKEN.fullmatch(token):
        raise UsageError("found no token in {}; expected one line of 16 to 512 letters, digits and . _ ~ + / = -, "
                         "as defq keys makes it".format(name))  # fmt: skip
    return token
