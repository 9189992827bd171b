"""Addresses of hosts as people write them."""

import pytest

from device.errors import UsageError
from device.link.credentials import Credentials
from device.link.endpoint import endpoint_of
from device.preview.attackers import RemoteAttack
from tests.device.link.test_connection import CA


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://a", "a:80"),
        ("https://a", "a:443"),
        ("https://[::1]:9", "[::1]:9"),
        ("http://[fe80::1%eth0]:9", "[fe80::1]:9"),
        ("HTTPS://B:1/", "b:1"),
        ("http://b\u00fccher.example:8000", "xn--bcher-kva.example:8000"),
        ("http://\u65e5\u672c.example", "xn--wgv71a.example:80"),
    ],
)
def test_urls_of_hosts_are_read(url, authority):
    endpoint = endpoint_of(url)
    assert endpoint.authority == authority
    assert endpoint.url == "{}://{}".format(url.split(":")[0].lower(), authority)
    endpoint.authority.encode("ascii")  # as HTTP wants it


@pytest.mark.parametrize("url", [
    "ftp://a:1", "https://", "https://a:99999", "https://a/b", "https://.a:1", "http://a..b:1", "http://a:0", "http://a:",
    "http://a:+80", "http://a:8_0", "http://a?", "http://a/?x=1", "http://a#", "http://a/#x", "http://me@a", "http://a b",
    "http://a\nb", "http://[::g]", "http://[v1.a]", "http://\u00df.example", "http://\u200ca", "http://%61", "",
    "http://" + "a" * 64,
])  # fmt: skip
def test_urls_that_cannot_work(url):
    with pytest.raises(UsageError, match="found --host .*; expected http://HOST:PORT or https://HOST:PORT"):
        endpoint_of(url)


@pytest.mark.parametrize("url", [
    "http://me:SECRET@a:1", "http://SECRET@a:1", "me:SECRET@a:1", "http://me:p/SECRET@a:1", "http://me:p?SECRET@a:1",
    "http://me:p#SECRET@a:1", "http://me:p@SECRET@a:1", "http://a:1/?token=SECRET", "http://a:1?SECRET", "http://a:1/#SECRET",
    "http://a:1/?a\nSECRET", "ftp://a//b?token=SECRET", "http://me:p//SECRET@a:1", "http://a?x=//SECRET", "http://a#//?SECRET",
    "//me:SECRET@a",
])  # fmt: skip
@pytest.mark.parametrize("open_", [endpoint_of, RemoteAttack])
def test_a_secret_in_an_address_is_never_shown(url, open_):
    with pytest.raises(UsageError, match="found --(host|attacker) ") as caught:
        open_(url + "#x")  # with a fragment it is one that no command takes
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_certificates_with_plain_http():
    with pytest.raises(UsageError, match="found --ca-file and --host http://a; expected https://"):
        endpoint_of("http://a", Credentials(ca_file=CA))
