"""a generator of MQTT load that costs little: PUBLISH packets encoded beforehand, sent in trains over raw sockets"""

from __future__ import annotations

import json
import multiprocessing
import select
import socket
import struct
import time
from dataclasses import dataclass

from ingest.mqtt_packets import variable

WINDOW = 4_000
"""Messages of one connection that the broker has not yet acknowledged, at most."""
TRAIN = 100
"""Messages of one write."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send.

    Attributes:
        form: `senml` or `short`.
        messages: how many, of one reading each.
        devices: over how many devices, in turn.
        start_ms: event time of the first message; the others follow in milliseconds.
        connections: over how many connections.
        rate_per_s: pace, 0 = as fast as the broker takes them.
        numbered: whether messages carry a `seq`, for which the gateway sends receipts.
    """

    form: str
    messages: int
    devices: int
    start_ms: int
    connections: int = 2
    rate_per_s: int = 0
    numbered: bool = True


BYTES = 200
"""Of a PUBLISH packet, MQTT header and topic included; the payload ends in spaces where it would be shorter."""
_NAMES = {"short": "hel-air-kallio-sensor-tower-west-facade-{:06d}", "senml": "hel-air-kallio-tower-{:06d}"}


def packet(load: Load, number: int) -> bytes:
    """One PUBLISH at QoS 1 with one reading."""
    name = _NAMES[load.form].format(number % load.devices)
    topic = f"pulssi/v1/air/{name}/readings".encode()
    time_ms, value = load.start_ms + number, round(5 + number % 997 / 7, 5)
    seq = {"seq": number} if load.numbered else {}
    body: object = {"t": time_ms, "device": name, "pm2_5": value, **seq}
    if load.form == "senml":
        base = {"bn": f"urn:dev:mac:{name}:", "bt": time_ms / 1000}
        body = [{**base, "n": "pm2_5", "u": "ug/m3", "v": value, **seq}]
    payload = json.dumps(body).encode().ljust(BYTES - 8 - len(topic))
    mid = struct.pack("!H", number // load.connections % 65_535 + 1)
    rest = struct.pack("!H", len(topic)) + topic + mid + b"\x00" + payload
    return b"\x32" + variable(len(rest)) + rest


def send(port: int, load: Load) -> multiprocessing.Process:
    """Start sending in a process of its own, once everything is encoded; join it."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    go = context.Event()
    process = context.Process(target=_run, args=(port, load, ready, go))
    process.start()
    ready.wait()
    process.go = go
    return process


def _run(port: int, load: Load, ready, go) -> None:
    lines = [_Connection(port, load, number) for number in range(load.connections)]
    ready.set()
    go.wait()
    started = time.perf_counter()
    while any(not line.done for line in lines):
        allowed = (time.perf_counter() - started) * load.rate_per_s / load.connections if load.rate_per_s else 2**62
        for line in lines:
            line.turn(allowed)
        if load.rate_per_s:
            time.sleep(0.002)
        else:
            select.select([line.socket for line in lines], [], [], 0.05)


class _Connection:
    def __init__(self, port: int, load: Load, number: int) -> None:
        mine = [packet(load, at) for at in range(number, load.messages, load.connections)]
        self.trains = [mine[at : at + TRAIN] for at in range(0, len(mine), TRAIN)]
        self.trains = [(len(train), b"".join(train)) for train in self.trains]
        self.total = len(mine)
        self.sent = self.acked = self.at = 0
        self.rest = b""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = f"load-{load.start_ms}-{number}".encode()
        body = b"\x00\x04MQTT\x05\x02\x00\x3c\x00" + struct.pack("!H", len(client)) + client
        self.socket.sendall(b"\x10" + variable(len(body)) + body)
        if self.socket.recv(1024)[:1] != b"\x20":
            raise ConnectionError("no CONNACK")
        self.socket.setblocking(False)

    @property
    def done(self) -> bool:
        return self.acked >= self.total

    def turn(self, allowed: float) -> None:
        """Read PUBACKs, write what the window and the pace allow."""
        try:
            data = self.rest + self.socket.recv(65_536)
            while len(data) >= 4:
                size = 2 + data[1]
                if len(data) < size:
                    break
                self.acked += data[0] == 0x40
                data = data[size:] if size != 4 else data[4:]
            self.rest = data
        except BlockingIOError:
            pass
        while self.at < len(self.trains) and self.sent - self.acked < WINDOW and self.sent < allowed:
            size, raw = self.trains[self.at]
            try:
                done = self.socket.send(raw)
            except BlockingIOError:
                return
            if done < len(raw):
                self.trains[self.at] = (size, raw[done:])
                return
            self.at += 1
            self.sent += size
