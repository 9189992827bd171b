"""A client of a host that runs, and the certificates of both."""

import http.client
import ssl
import urllib.error
import urllib.request

from device.bundle.reader import load_bundle
from device.protocol.messages import HEADER_LENGTH
from tests.host.conftest import BUNDLE, ROOT

CERTIFICATES = ROOT / "tests" / "device" / "data" / "tls"

HOST, DEVICE, AUTHORITY = (str(CERTIFICATES / f"{name}.pem") for name in ("host", "device", "authority"))

MODEL = load_bundle(str(BUNDLE)).id

INFER = f"/v2/models/{MODEL}/infer"

TOKEN = "gate-2-token-0123456789"


def trusting(certificate=None):
    context = ssl.create_default_context(cafile=AUTHORITY)
    if certificate:
        context.load_cert_chain(certificate)
    return context


def ask(port, message, context=None, token=None, times=1):
    """The status of the last answer on one connection."""
    if context:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {HEADER_LENGTH: str(message.header_length)}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        for _ in range(times):
            connection.request("POST", INFER, message.body, headers)
            answer = connection.getresponse()
            answer.read()
        return answer.status
    finally:
        connection.close()


def get(url):
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
