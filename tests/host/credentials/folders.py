"""Folders as ``defq keys`` makes them, and both sides of TLS with what lies in them."""

import socket
import ssl
import threading
from pathlib import Path

from device.system.options import Parser
from host.credentials import keys

ROOT = Path(__file__).resolve().parents[3]

DATA = ROOT / "tests" / "device" / "data"


def make(folder, *options):
    parser = Parser()
    keys.add_arguments(parser)
    return keys.run(parser.parse_args(["--out", str(folder), *options]))


def content(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def strict(context):
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def server_context(folder, certificate="host", key="host-key"):
    context = strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{key}.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(folder, ca=None, certificate="devices/cam-1", key="devices/cam-1-key"):
    context = strict(ssl.create_default_context(cafile=str(ca or folder / "ca.pem")))
    if certificate:
        context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{key}.pem")
    return context


def handshake(server, client, name="localhost"):
    """Make a TLS handshake and return the client's common name as the host sees it. Raises the error of the client, or else that of the host."""
    seen = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            connection.settimeout(5)
            try:
                with server.wrap_socket(connection, server_side=True) as tls:
                    seen["name"] = dict(pair[0] for pair in tls.getpeercert()["subject"])["commonName"]
                    tls.sendall(b"hello")
            except (OSError, ValueError) as error:
                seen["error"] = error

        thread = threading.Thread(target=serve)
        thread.start()
        client_error = None
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=5) as plain,
                client.wrap_socket(plain, server_hostname=name) as tls,
            ):
                assert tls.recv(16) == b"hello"
        except OSError as error:
            client_error = error
        thread.join(5)
        assert not thread.is_alive()
    if isinstance(client_error, ssl.SSLCertVerificationError):
        raise client_error
    if "error" in seen:
        raise seen["error"]
    if client_error:
        raise client_error
    return seen["name"]
