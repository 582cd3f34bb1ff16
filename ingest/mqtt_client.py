"""a batched MQTT 5 client on paho-mqtt 2.2: one read brings a train of messages, one write takes their PUBACKs

Connect, TLS, websockets, keepalive and every packet but PUBLISH are paho's. Relies on private names of paho 2.2, which
is pinned; `tests/service/test_ingest_mqtt.py` fails when they change. Everything runs in the thread that calls `run`,
except `wake` and `stop`.
"""

from __future__ import annotations

import os
import random
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ingest.mqtt_packets import MalformedPacketError, Publish, missing, pubacks, publish, scan
from ingest.receipts import Answer
from pulssi.errors import ConfigurationError
from pulssi.logs import Log, Presence
from pulssi.metrics import Metrics
from pulssi.settings import MqttSettings

READ_BYTES = 65_536
"""Of one read; larger ones are slower."""
GATHER_S_MIN, GATHER_S_MAX = 0.002, 0.008
"""How long a read waits for company: a nap that saves half of the CPU under load, and grows with it."""
GATHER_BYTES = 8_192
"""A read of so much makes the next nap longer, a smaller one shorter."""
GOODBYE_S = 1.0
"""How long the broker may take to read our last words."""
RECEIVE_MAXIMUM = 65_535
"""Messages that the broker may have outstanding; the gateway's own bounds are lower."""
PACKET_BYTES_MAX = 7 << 20
"""Larger packets are not for us: a dead letter of one would not fit into a Kafka record."""
OUT_PACKETS_MAX = 64
"""Writes queued in the client; over it receipts wait."""
RETRY_S_MIN, RETRY_S_MAX = 0.2, 10.0
"""Pause between attempts to connect: doubles, with jitter."""
CONNECT_TIMEOUT_S = 5.0
MISC_S = 1.0
"""How often keepalive is looked after."""


class BatchedClient(paho.Client):  # type: ignore[misc]  # mypy skips paho: see pyproject
    """The gateway's connection to the broker.

    Args:
        settings: where the broker is.
        broker_socket: its Unix socket, taken instead of host and port.
        client_id: stable, since the broker keeps our session under it.
        filters: topic filters to subscribe to, at QoS 1.
        session_expiry_s: how long the broker keeps our queue while we are away.
        on_publishes: called with the messages of one read and their bytes.
        tick: called after every turn of the loop; returns how many seconds it may wait at most.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        broker_socket: Path | None = None,
        client_id: str,
        filters: Sequence[str],
        session_expiry_s: int,
        on_publishes: Callable[[list[Publish], int], None],
        tick: Callable[[], float],
        metrics: Metrics,
        log: Log,
    ) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            transport=settings.transport if broker_socket is None else "unix",
        )
        self.epoch = 0
        """Number of the connection; packet ids of another one mean nothing."""
        self.epoch_subscribed = 0
        """The last connection on which the broker has confirmed our subscriptions."""
        self.paused = False
        """While set nothing is read; the broker keeps what comes."""
        self.heartbeat = time.monotonic()
        """When the loop last turned."""
        self._take = on_publishes
        self._tick = tick
        self._filters = filters
        self._metrics = metrics
        self._log = log
        self._presence = Presence(log, "mqtt")
        self._parts: list[bytes] = []
        self._words: list[bytes] = []
        self._held = 0
        self._need = 0
        self._full_read = False
        self._gather_s = GATHER_S_MIN
        self._nap_s = GATHER_S_MIN if broker_socket else None
        self._stopping = False
        self._attempt_at = 0.0
        self._retry_s = RETRY_S_MIN
        self._connected_at = 0.0
        self._misc_at = 0.0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._awake = False
        self._watched = (-2, 0)
        self._poller = select.poll()
        self._prepare(settings, str(broker_socket or settings.host), session_expiry_s)

    def _prepare(self, settings: MqttSettings, host: str, session_expiry_s: int) -> None:
        """Everything that CONNECT says; nothing is sent yet."""
        self.connect_timeout = CONNECT_TIMEOUT_S
        self.suppress_exceptions = False
        self.on_connect = self._connected
        self.on_disconnect = self._disconnected
        self.on_subscribe = self._subscribed
        if settings.username is not None:
            self.username_pw_set(settings.username, settings.secret())
        if settings.tls:
            self.tls_set(ca_certs=str(settings.ca_file) if settings.ca_file else None)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = session_expiry_s
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = PACKET_BYTES_MAX
        self.connect_async(host, settings.port, settings.keepalive_s, clean_start=False, properties=properties)

    # The loop

    def run(self) -> None:
        """Connect, read, write, tick, until `stop`; returns only then, and never gives up before."""
        while not self._stopping:
            self.heartbeat = time.monotonic()
            self._connect_if_due()
            seconds = self._tick()
            self._flush()
            self._wait(seconds)
            self._look_after_keepalive()

    def wake(self) -> None:
        """End the loop's wait; from any thread."""
        if not self._awake:
            self._awake = True
            with suppress(BlockingIOError):  # it is full of wake-ups
                os.write(self._wake_write, b"\0")

    def stop(self) -> None:
        """Let `run` return after this turn; from any thread."""
        self._stopping = True
        self.wake()

    def close(self) -> None:
        """Say goodbye; the broker keeps the session and what we have not acknowledged. After `run` only."""
        if self.is_connected():
            self.disconnect()
            deadline = time.monotonic() + 1.0
            while self._sock is not None and self.want_write() and time.monotonic() < deadline:
                self._wait(0.05)
        self._sock_close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _sock_close(self) -> None:
        """Close; after our goodbye only once the broker has read it.

        Closing with unread data resets the connection, and a reset makes the broker forget the PUBACKs before it.
        """
        sock = self._sock
        if self._stopping and isinstance(sock, socket.socket) and not hasattr(sock, "pending"):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(GOODBYE_S)
                deadline = time.monotonic() + GOODBYE_S
                while sock.recv(READ_BYTES) and time.monotonic() < deadline:
                    pass
        super()._sock_close()

    def _connect_if_due(self) -> None:
        now = time.monotonic()
        if self._sock is not None or now < self._attempt_at:
            return
        if self.epoch:
            self._metrics.reconnected("mqtt")
        self._attempt_at = now + self._retry_s * random.uniform(0.5, 1.5)  # noqa: S311  jitter, no secret
        self._retry_s = min(self._retry_s * 2, RETRY_S_MAX)
        try:
            self.reconnect()
        except (OSError, ValueError) as error:  # ValueError: ssl's for a certificate of another name
            self._sock_close()
            self._presence.away(error)

    def _wait(self, seconds: float) -> None:
        """Wait for the broker, for a wake-up or for the time, and do what can be done."""
        sock = self._sock
        decrypted = not self.paused and hasattr(sock, "pending") and sock.pending() > 0
        events = self._poll(sock, 0.0 if decrypted else seconds)
        if sock is None:
            return
        if self.paused:
            if events & (select.POLLHUP | select.POLLERR):
                self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        elif decrypted or events & ~select.POLLOUT:
            self.loop_read()
        if self._sock is sock and self.want_write():
            self.loop_write()

    def _poll(self, sock: Any, seconds: float) -> int:
        """Wait, and return what the socket is ready for."""
        mask = 0 if self.paused else select.POLLIN
        if sock is None:
            watched = (-1, 0)
            seconds = min(seconds, max(0.0, self._attempt_at - time.monotonic()))
        else:
            watched = (sock.fileno(), mask | select.POLLOUT if self.want_write() else mask)
        if watched != self._watched:
            self._watched = watched
            self._poller = select.poll()
            self._poller.register(self._wake_read, select.POLLIN)
            if sock is not None:
                self._poller.register(*watched)
        ready = dict(self._poller.poll(seconds * 1000))
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
            self._awake = False  # only now: a wake-up in between is seen by the tick that follows
        return ready.get(watched[0], 0)

    def _look_after_keepalive(self) -> None:
        now = time.monotonic()
        if now < self._misc_at:
            return
        self._misc_at = now + MISC_S
        if self.is_connected() and now - self._connected_at > RETRY_S_MAX:
            self._retry_s = RETRY_S_MIN  # not sooner: a connection that breaks at once must not be made at once
        if self.paused and self._sock is not None:
            # The answer to a ping waits behind messages that we do not read: ask on, and do not miss it.
            self._ping_t = 0.0
            with self._msgtime_mutex:
                self._last_bytes_received = now
        self.loop_misc()

    # What the loop calls

    def _create_socket(self) -> Any:
        self.epoch += 1
        self._watched = (-2, 0)  # a new socket may have the number of the old one
        self._parts, self._held, self._need, self._full_read = [], 0, 0, False
        return super()._create_socket()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002  paho's signature; we read what there is
        """Read once and deal with every whole packet."""
        sock = self._sock
        if sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        try:
            data, closed = self._receive(sock)
        except OSError:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        if not data and not closed:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        self._full_read = len(data) >= READ_BYTES
        longer = self._gather_s * (2.0 if len(data) >= GATHER_BYTES else 0.5)
        self._gather_s = min(GATHER_S_MAX, max(GATHER_S_MIN, longer))
        self._parts.append(data)
        self._held += len(data)
        if self._held >= self._need:
            rc = self._cut(sock, b"".join(self._parts) if len(self._parts) > 1 else data)
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or self._sock is not sock:
                return rc
        return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST) if closed else MQTTErrorCode.MQTT_ERR_SUCCESS

    def _receive(self, sock: Any) -> tuple[bytes, bool]:
        """Bytes that have come while we napped, and whether the other side has closed.

        TLS and websockets give one record or frame at a time: they are drained. A Unix socket holds some 150 messages:
        it is emptied several times in a long nap.
        """
        nap_s, drained = self._nap_s or self._gather_s, hasattr(sock, "pending")
        naps = 0 if self._full_read else round(self._gather_s / nap_s)
        parts: list[bytes] = []
        size, closed = 0, False
        while size < READ_BYTES and not closed and (naps or drained or not parts):
            if naps:
                time.sleep(nap_s)
                naps -= 1
            try:
                data = self._sock_recv(READ_BYTES - size)
            except BlockingIOError:
                if not naps:
                    break
            else:
                parts.append(data)
                size, closed = size + len(data), not data
        return b"".join(parts), closed

    def _cut(self, sock: Any, data: bytes) -> MQTTErrorCode:
        """Deal with the whole packets of `data`, keep the rest for the next read."""
        at = 0
        while True:
            start = at
            try:
                publishes, at, other = scan(data, at)
            except MalformedPacketError as error:
                if error.before:
                    self._take(error.before, len(data) - start)
                return self._broken(error)
            if publishes:
                self._take(publishes, at - start)
            if other is None:
                break
            rc = self._handle(*other)
            if rc > 0:
                return self._loop_rc_handle(rc)
            if self._sock is not sock:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        rest = data[at:] if at else data
        self._parts, self._held = [rest] if rest else [], len(rest)
        try:
            self._need = self._held + missing(rest) if rest else 0
        except MalformedPacketError as error:
            return self._broken(error)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _broken(self, why: Exception) -> MQTTErrorCode:
        self._metrics.error("mqtt_protocol")
        self._log.warning("the broker broke the protocol; connecting again", why=str(why))
        return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)

    def _handle(self, first: int, body: bytes) -> MQTTErrorCode:
        """One packet that is no PUBLISH, through paho's own handlers."""
        packet = self._in_packet
        packet["command"], packet["remaining_length"] = first, len(body)
        packet["packet"], packet["pos"] = bytearray(body), 0
        try:
            return self._packet_handle()
        except Exception as error:  # noqa: BLE001  whatever bytes a broker sends, only the connection ends
            self._log.warning("a packet could not be read", first=first, why=repr(error))
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        finally:
            packet["command"], packet["packet"] = 0, bytearray()

    # What the gateway calls, from `tick`

    @property
    def roomy(self) -> bool:
        """Whether receipts can be sent now."""
        return self.is_connected() and len(self._out_packet) < OUT_PACKETS_MAX

    def acknowledge(self, epoch: int, mids: Sequence[int]) -> None:
        """PUBACK in this order, if the connection is still that of `epoch`; else the broker delivers them again."""
        if mids and epoch == self.epoch and self.is_connected():
            self._write(pubacks(mids))

    def answer(self, answers: Sequence[Answer]) -> None:
        """Publish receipts at QoS 0, as one piece: a device that hears nothing sends again."""
        self._write(b"".join(publish(one.topic.encode(), one.payload, one.correlation) for one in answers))

    def _write(self, raw: bytes) -> None:
        """Say whole packets at the end of this tick."""
        self._words.append(raw)

    def _flush(self) -> None:
        """Hand what one tick had to say to paho, as one packet: it writes each by itself.

        Named PUBACK so that paho does no bookkeeping for it.
        """
        if self._words:
            raw = b"".join(self._words)
            self._words.clear()
            self._packet_queue(paho.PUBACK, raw, 0, 0)

    # paho's callbacks

    def _connected(self, _client: Any, _userdata: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            self._presence.away(reason)
            return
        self._connected_at = time.monotonic()
        self._presence.back()
        self._metrics.connected("mqtt", True)
        self._log.info("connected", what="mqtt", session_present=flags.session_present, epoch=self.epoch)
        if not flags.session_present or self.epoch_subscribed == 0:
            # Also once at the start: the filters in the settings may be others than those of the session.
            options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            self.subscribe([(one, options) for one in self._filters])
        else:
            self._metrics.ready(True)  # the broker kept our subscriptions

    def _subscribed(self, _client: Any, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        self.epoch_subscribed = self.epoch
        self._metrics.ready(not any(reason.is_failure for reason in reasons))
        for topic_filter, reason in zip(self._filters, reasons, strict=False):
            if reason.is_failure:
                self._metrics.error("mqtt_subscribe")
                self._log.error("the broker refuses a subscription", filter=topic_filter, why=str(reason))

    def _disconnected(self, _client: Any, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._metrics.connected("mqtt", False)
        self._metrics.ready(False)
        if not self._stopping:
            self._presence.away(reason)


def check_filters(filters: Sequence[str]) -> None:
    """Refuse what is no topic filter (MQTT 5, section 4.7.1): `+` is a whole level, `#` the whole last one.

    Raises:
        ConfigurationError: every filter that is none.
    """
    problems = []
    for one in filters:
        *levels, last = one.split("/")
        wild = [level for level in levels if level != "+"] + ([] if last in ("+", "#") else [last])
        if not one or "\x00" in one or any(set(level) & {"+", "#"} for level in wild):
            problems.append(f"gateway.filters: {one!r} is no topic filter of MQTT")
    if problems:
        raise ConfigurationError(problems)
