"""Which addresses count as one client."""

from host.serving.clients import network_of


def test_what_counts_as_one_address():
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::1") == "2001:db8:1:3::/64"
    assert network_of("::ffff:10.1.2.3") == network_of("10.1.2.3") == "10.1.2.3"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert (network_of("::1"), network_of(""), network_of("unix:")) == ("::1", "", "unix:")
