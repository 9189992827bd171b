"""Where a server listens and what opens its door, as one value."""

from typing import NamedTuple, Optional

from device.errors import UsageError
from device.link.address import address_of, without_secrets
from device.link.credentials import NO_CREDENTIALS, Credentials
from device.link.tls import Tls

PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """Address and credentials of a server. ``tls`` is None for plain http."""

    host: str
    port: int
    credentials: Credentials = NO_CREDENTIALS
    tls: Optional[Tls] = None

    @property
    def authority(self) -> str:
        """HOST:PORT as HTTP writes it, without the zone of an IPv6 address, which means something on this machine alone."""
        host = self.host.partition("%")[0]
        return "{}:{}".format("[" + host + "]" if ":" in host else host, self.port)

    @property
    def url(self) -> str:
        return "{}://{}".format("https" if self.tls else "http", self.authority)


def endpoint_of(url: str, credentials: Credentials = NO_CREDENTIALS) -> Endpoint:
    """Read the value of --host: http://HOST:PORT or https://HOST:PORT.

    Raises:
        UsageError: it is no such URL, TLS options stand beside http://, or a file of ``credentials`` cannot be used.
    """
    address = address_of(url, PORTS)
    if address is None or "?" in url:
        raise UsageError("found --host {}; expected http://HOST:PORT or https://HOST:PORT, with a port above 0 and nothing behind "
                         "it; a token goes into the file of --token-file".format(without_secrets(url)))  # fmt: skip
    if address.scheme == "https":
        return Endpoint(
            address.host,
            address.port,
            credentials,
            Tls(credentials.ca_file, credentials.cert_file, credentials.key_file),
        )
    if credentials.tls_options:
        raise UsageError("found {} and --host {}; expected https:// with it".format(credentials.tls_options[0], url))
    return Endpoint(address.host, address.port, credentials)
