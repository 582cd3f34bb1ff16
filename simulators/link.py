"""one MQTT 5 connection of many devices: writes trains of packets, hears acks and receipts, comes back by itself"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from typing import Protocol, cast

import msgspec

from pulssi.logs import Log, Presence
from pulssi.messages import Receipt
from pulssi.settings import MqttSettings
from pulssi.times import Clock, now_us
from simulators import wire
from simulators.messages import Message
from simulators.outbox import Outbox

TOO_LARGE_FOR_BROKER = "too_large_for_broker"
"""The reason in the ledger for a message that no packet of this broker can carry."""
_BACKOFF_S_MAX = 2.0
_ANSWER_S_MAX = 10.0
_FILTERS_PER_SUBSCRIBE = 500
_TRAIN_MESSAGES_MAX = 500
_WRITE_BUFFER_BYTES_MAX = 1 << 20

_decode_receipt = msgspec.json.Decoder(Receipt).decode


class Answers(Protocol):
    """Who wants to know what became of messages."""

    def accepted(self, messages: list[Message]) -> None:
        """Done: by a receipt, or by the broker for formats without receipts."""

    def refused(self, message: Message, reason: str) -> None:
        """Refused by a receipt."""

    def sent_again(self, messages: list[Message]) -> None:
        """These leave once more."""


class Link:
    """Carries an outbox over a connection that is made again whenever it is lost.

    Args:
        mqtt: where the broker is.
        client_id: MQTT client id, stable over reconnects.
        filters: topics of the receipts of our devices.
        outbox: what is to be sent.
        answers: told what became of it.
        log: logger of the process.
        clock: now, in us UTC.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        client_id: str,
        filters: list[str],
        outbox: Outbox,
        answers: Answers,
        log: Log,
        clock: Clock = now_us,
    ) -> None:
        self._mqtt = mqtt
        self._client_id = client_id
        self._filters = filters
        self.outbox = outbox
        self._answers = answers
        self._log = log
        self._presence = Presence(log, f"broker {mqtt.host}:{mqtt.port}")
        self._clock = clock
        self._wire: _Wire | None = None
        self.connects = 0

    @property
    def up(self) -> bool:
        """Whether the broker has accepted us and our subscriptions."""
        return self._wire is not None and self._wire.ready.is_set()

    async def run(self) -> None:
        """Stay connected until cancelled; then say goodbye to the broker."""
        wait_s = 0.05
        try:
            while True:
                try:
                    await self._session()
                    wait_s = 0.05
                except (OSError, ssl.SSLError, TimeoutError) as error:
                    self._presence.away(error)
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))
                wait_s = min(wait_s * 2, _BACKOFF_S_MAX)
        finally:
            if self._wire is not None:
                self._wire.close()

    async def _session(self) -> None:
        """One connection, from CONNECT until it is lost."""
        loop = asyncio.get_running_loop()
        tls = ssl.create_default_context(cafile=self._mqtt.ca_file) if self._mqtt.tls else None
        _, wire_ = await asyncio.wait_for(
            loop.create_connection(lambda: _Wire(self), self._mqtt.host, self._mqtt.port, ssl=tls), _ANSWER_S_MAX
        )
        self._wire = wire_
        try:
            wire_.write(
                wire.connect(
                    self._client_id,
                    keepalive_s=self._mqtt.keepalive_s,
                    username=self._mqtt.username,
                    password=self._mqtt.secret(),
                )
            )
            await wire_.reach(wire_.connected)
            self._subscribe(wire_)
            await wire_.reach(wire_.ready)
            self.connects += 1
            self._presence.back()
            self.pump()
            await self._keep_alive(wire_)
        finally:
            wire_.close()
            self._wire = None
            self._answers.sent_again(self.outbox.lost())
        raise ConnectionError(wire_.why)

    def _subscribe(self, connection: _Wire) -> None:
        chunks = [
            self._filters[i : i + _FILTERS_PER_SUBSCRIBE] for i in range(0, len(self._filters), _FILTERS_PER_SUBSCRIBE)
        ]
        connection.subscriptions_due = len(chunks)
        for number, chunk in enumerate(chunks, start=1):
            connection.write(wire.subscribe(number, chunk))
        if not chunks:
            connection.ready.set()

    async def _keep_alive(self, connection: _Wire) -> None:
        """Ping when idle; end when the connection is lost or has been dumb for too long."""
        every_s = self._mqtt.keepalive_s / 2
        while not connection.gone.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.gone.wait(), every_s)
                return
            if connection.silent:
                connection.why = "no answer to a ping"
                return
            connection.silent = True
            connection.write(wire.PINGREQ)

    def pump(self) -> None:
        """Send what the window and the socket allow."""
        connection = self._wire
        if connection is None or not connection.ready.is_set():
            return
        while not connection.paused:
            batch = self.outbox.take(self._clock(), _TRAIN_MESSAGES_MAX)
            if not batch:
                return
            packets = [wire.publish(message.topic, message.payload, packet_id) for packet_id, message in batch]
            connection.write(b"".join(packet for packet in packets if len(packet) <= connection.packet_bytes_max))
            for packet, (packet_id, message) in zip(packets, batch, strict=True):
                if len(packet) > connection.packet_bytes_max:  # the broker would throw us out, each time again
                    self.outbox.give_up(packet_id)
                    self._answers.refused(message, TOO_LARGE_FOR_BROKER)

    def acked(self, packet_ids: list[tuple[int, int]]) -> None:
        """PUBACKs came in."""
        now = self._clock()
        found = (self.outbox.puback(packet_id, reason, now) for packet_id, reason in packet_ids)
        done = [message for message in found if message is not None]
        if done:
            self._answers.accepted(done)
        self.pump()

    def received(self, topic: str, payload: bytes) -> None:
        """A receipt came in."""
        try:
            receipt = _decode_receipt(payload)
        except msgspec.DecodeError as error:
            self._log.warning("not a receipt", topic=topic, error=str(error))
            return
        accepted, refused = self.outbox.receipt(topic.split("/")[3], receipt)
        if accepted:
            self._answers.accepted(accepted)
        for message, reason in refused:
            self._answers.refused(message, reason)


class _Wire(asyncio.Protocol):
    """One TCP connection; packets in, bytes out."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._reader = wire.Reader()
        self._transport: asyncio.Transport | None = None
        self.connected = asyncio.Event()
        self.ready = asyncio.Event()
        self.gone = asyncio.Event()
        self.subscriptions_due = 0
        self.packet_bytes_max = wire.PACKET_BYTES_MAX
        self.paused = False
        self.silent = False
        self.why = "the broker closed the connection"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES_MAX)

    async def reach(self, state: asyncio.Event) -> None:
        """Wait until the broker has brought us there.

        Raises:
            TimeoutError: it did not answer.
            ConnectionError: the connection was lost.
        """
        waits = [asyncio.ensure_future(event.wait()) for event in (state, self.gone)]
        _, pending = await asyncio.wait(waits, timeout=_ANSWER_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()
        if self.gone.is_set():
            raise ConnectionError(self.why)
        if not state.is_set():
            raise TimeoutError(f"no answer within {_ANSWER_S_MAX:g} s")

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.GOODBYE)
            self._transport.close()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._link.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.why = str(exc)
        self.ready.clear()
        self.gone.set()

    def data_received(self, data: bytes) -> None:
        self.silent = False
        acks: list[tuple[int, int]] = []
        try:
            for packet in self._reader.feed(data):
                if packet.kind == wire.PUBACK:
                    acks.append(wire.parse_puback(packet.body))
                else:
                    self._other(packet)
        except (ValueError, IndexError) as error:
            self.why = f"the broker sent no MQTT: {error}"
            self.close()
        if acks:
            self._link.acked(acks)

    def _other(self, packet: wire.Packet) -> None:
        if packet.kind == wire.PUBLISH:
            topic, payload, packet_id = wire.parse_publish(packet)
            if packet_id is not None:
                self.write(wire.puback(packet_id))
            self._link.received(topic, payload)
        elif packet.kind == wire.SUBACK:
            if max(packet.body[3:]) >= wire.FAILURE:
                self.why = "the broker lets us hear no receipts"
                self.close()
                return
            self.subscriptions_due -= 1
            if not self.subscriptions_due:
                self.ready.set()
        elif packet.kind == wire.CONNACK:
            found = wire.parse_connack(packet.body)
            if found.reason:
                self.why = f"the broker refused the connection with reason code {found.reason}"
                self.close()
                return
            self._link.outbox.window = min(found.window, self._link.outbox.window)
            self.packet_bytes_max = found.packet_bytes_max
            self.connected.set()
        elif packet.kind == wire.DISCONNECT:
            self.why = f"the broker sent us away with reason code {packet.body[0] if packet.body else 0}"
            self.close()
