"""A network camera in little, on a free port of this machine."""

import base64
import re
import socket
import struct
import threading

import cv2
import numpy as np

from tests.device.fake_server import FakeServer, read_head

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 26\r\na=control:track0\r\na=framerate:25\r\n"
)
PACKET = 1400
"""Bytes of a picture in one packet, as on Ethernet."""
JPEG, LAST = 26, 0x80
"""The payload type of RTP, and the bit of a picture's last packet."""


class RtspServer(FakeServer):
    """RTSP 1.0 with Basic authentication; MJPEG (RFC 2435) interleaved on the same TCP connection.

    mode: plays | silent (after 3 frames) | hangs_up (after 3 frames) | mute (never answers)

    Args:
        pictures: JPEG files with the usual Huffman tables and halved colours, as OpenCV writes them. They are sent in turn, round
            and round.
        period_s: from one to the next.
    """

    def __init__(self, pictures, user="eve", password="s3cret", period_s=0.02):
        self.mode = "plays"
        self.transports = []
        self.targets = []
        self.plays = 0
        self._key = base64.b64encode("{}:{}".format(user, password).encode()).decode()
        self._pictures = [_parts(each) for each in pictures]
        self._period_s = period_s
        super().__init__()

    def answer(self, connection, stream):
        if self.mode == "mute":
            return not self.stopped.wait(10)
        first, headers = read_head(stream)
        method, _, target = first.partition(" ")
        if not target:
            return False
        lines = ["CSeq: " + headers["cseq"], "Session: 1"]
        body = ""
        if method == "DESCRIBE":
            self.targets.append(target.split(" ")[0])
        if method != "OPTIONS" and headers.get("authorization") != "Basic " + self._key:
            self._refuse(connection, "401 Unauthorized", [lines[0], 'WWW-Authenticate: Basic realm="test"'])
            return True
        if method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = SDP
            lines += ["Content-Type: application/sdp", "Content-Length: {}".format(len(body))]
        elif method == "SETUP":
            self.transports.append(headers["transport"])
            if "TCP" not in headers["transport"]:
                self._refuse(connection, "461 Unsupported Transport", lines)
                return True
            lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        connection.sendall(("\r\n".join(["RTSP/1.0 200 OK", *lines]) + "\r\n\r\n" + body).encode())
        if method == "PLAY":
            self.plays += 1
            threading.Thread(target=self._play, args=(connection,), daemon=True).start()
        return method != "TEARDOWN"

    @staticmethod
    def _refuse(connection, status, lines):
        connection.sendall(("\r\n".join(["RTSP/1.0 " + status, *lines]) + "\r\n\r\n").encode())

    def _play(self, connection):
        sent = 0
        for number in range(100000):
            if number >= 3 and self.mode == "silent":
                return
            try:
                if number >= 3 and self.mode == "hangs_up":
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                for packet in _packets(self._pictures[number % len(self._pictures)], number, sent):
                    connection.sendall(packet)
                    sent += 1
            except OSError:
                return
            if self.stopped.wait(self._period_s):
                return


def _parts(jpeg):
    """Height, width, quantisation tables and compressed data of a JPEG file."""
    height, width = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    tables = b"".join(re.findall(b"\xff\xdb\x00\x43.(.{64})", jpeg, re.DOTALL))
    assert len(tables) == 128
    assert height % 16 == width % 16 == 0
    scan = jpeg.index(b"\xff\xda")
    return height, width, tables, jpeg[scan + 2 + struct.unpack(">H", jpeg[scan + 2 : scan + 4])[0] : -2]


def _packets(parts, number, sent):
    """The packets of one picture, each with RTSP's frame around it, RTP's header and that of RFC 2435.

    Args:
        number: of the picture.
        sent: packets before these.
    """
    height, width, tables, data = parts
    for place, start in enumerate(range(0, len(data), PACKET)):
        marker = LAST if start + PACKET >= len(data) else 0
        rtp = struct.pack(">2BHII", 0x80, marker | JPEG, (sent + place) & 0xFFFF, number * 3600, 7)
        header = struct.pack(">I4B", start, 1, 255, width // 8, height // 8)
        if not start:
            header += struct.pack(">2BH", 0, 0, len(tables)) + tables
        packet = rtp + header + data[start : start + PACKET]
        yield struct.pack(">2BH", 0x24, 0, len(packet)) + packet
