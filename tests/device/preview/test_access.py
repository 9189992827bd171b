"""Who gets an answer from the preview."""

import pytest

from device.errors import UsageError
from device.preview.server import PreviewServer
from tests.device.preview.fakes import TOKEN, ask, switch


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("localhost:9000", 200), ("[::1]:8080", 200), ("LOCALHOST", 200), ("evil.example", 403),
     ("127.0.0.1.evil.example:80", 403), ("", 403), ("localhost@evil.example", 403)],
)  # fmt: skip
def test_on_this_machine_no_other_name_is_answered_to(running, host, status):
    assert ask(running(), "/stats", host=host)[0] == status


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "127.255.0.9", "localhost", "::1"])
def test_the_address_that_is_printed_is_answered(running, address):
    try:
        server = running(address=address)
    except UsageError:
        pytest.skip("this machine has no {}".format(address))
    host = server.url[len("http://") :].rstrip("/")
    assert ask(server, "/stats", host=host)[0] == 200
    assert ask(server, "/stats", host="evil.example")[0] == 403


def test_token_goes_from_the_address_into_a_cookie(running):
    server = running(TOKEN)
    assert server.url.endswith("/?token=" + TOKEN)
    for path in ("/", "/stats", "/stream.mjpg", "/view.png", "/page.js"):
        assert ask(server, path)[0] == 401
        assert ask(server, path + "?token=" + TOKEN[:-1])[0] == 401
    assert ask(server, "/switch", "POST", '{"attack": true}', X_Preview="1")[0] == 401
    status, headers, _ = ask(server, "/?token=" + TOKEN)
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    cookie = cookie.split(";")[0]
    assert ask(server, "/", Cookie=cookie)[0] == 200
    assert ask(server, "/stats", Cookie="other=1; " + cookie)[0] == 200
    assert switch(server, {"attack": True}, Cookie=cookie)[0] == 200
    assert ask(server, "/stats?token=" + TOKEN)[0] == 200
    for wrong in (cookie[:-1], "preview=" + TOKEN, ";;;=", cookie.split("=")[0] + "=\xe9"):
        assert ask(server, "/stats", Cookie=wrong)[0] == 401
    assert ask(server, "/?token=%C3%A9")[0] == 401


def test_beyond_this_machine_a_token_is_made_up(running):
    server = running(address="0.0.0.0")
    token = server.url.split("?token=")[1]
    assert len(token) >= 20
    assert token != running(address="0.0.0.0").url.split("?token=")[1]
    assert ask(server, "/stats", host="board.example")[0] == 401
    assert ask(server, "/stats?token=" + token, host="board.example")[0] == 200


def test_token_that_is_too_short_or_odd(running):
    for token in ("short", "a token with blanks", "x" * 200, ""):
        with pytest.raises(UsageError, match="found a --token of {} characters".format(len(token))):
            running(token)


def test_addresses_that_cannot_be_used(running):
    server = running()
    for address, port, told in (("192.0.2.1", 0, "could not listen"), ("127.0.0.1", server.server_port, "in use by another"),
                                ("no.such.host.invalid", 0, "could not listen"), ("127.0.0.1", 70000, "port")):  # fmt: skip
        with pytest.raises(UsageError, match=told):
            PreviewServer(server.content, address, port)
