"""`pulssi deadletters`: list, show, correct and send again what was refused"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulssi.commands.options import AsJson, Config
from pulssi.errors import ConfigurationError, PulssiError
from pulssi.settings import KafkaSettings, MqttSettings, load_settings

if TYPE_CHECKING:
    from storage.deadletters import DeadLetter

app = typer.Typer(help="What was refused: list, show, correct, send again.", no_args_is_help=True)

Identity = Annotated[str, typer.Argument(help="Name of the dead letter, as `list` shows it.")]
Reason = Annotated[str | None, typer.Option(help="Only those refused for this reason.")]
Send = Callable[["DeadLetter"], None]

_SENT_S = 10.0
_SHOWN_BYTES = 4096


@app.command("list")
def list_(
    *,
    config: Config = None,
    reason: Reason = None,
    device: Annotated[str | None, typer.Option(help="Only those of this device.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that were sent again.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first."""
    from storage.database import connect
    from storage.deadletters import find

    with connect(load_settings(config).database, "writer") as connection:
        found = find(connection, reason=reason, device=device, redriven=every, limit=limit)
    if as_json:
        typer.echo(json.dumps([_as_dict(letter) for letter in found]))
        return
    for letter in found:
        state = "again " if letter.redriven_time else "mended" if letter.corrected is not None else "      "
        where = letter.mqtt_topic or letter.target
        line = f"{letter.dead_letter_id}  {letter.time:%Y-%m-%d %H:%M:%S}  {state}  {letter.reason}  {where}"
        typer.echo(escaped(line))


@app.command()
def show(
    identity: Identity,
    *,
    config: Config = None,
    as_hex: Annotated[bool, typer.Option("--hex", help="The bytes in hexadecimal.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the bytes that would be sent into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter with its bytes; what is not printable is escaped."""
    letter = _letters(config, [identity])[0]
    if out is not None:
        out.write_bytes(letter.again)
    if as_json:
        typer.echo(json.dumps(_as_dict(letter)))
        return
    for name, value in _as_dict(letter).items():
        if not name.startswith(("payload", "corrected_base64", "corrected_text")) and value is not None:
            typer.echo(escaped(f"{name}: {value}"))
    for name, data in (("payload", letter.payload), ("corrected", letter.corrected)):
        if data is not None:
            cut = data[:_SHOWN_BYTES]
            more = f" ... {len(data) - len(cut)} bytes more" if len(cut) < len(data) else ""
            typer.echo(f"{name}: {cut.hex(' ') if as_hex else escaped(_text(cut))}{more}")


@app.command()
def correct(
    identity: Identity,
    file: Annotated[str, typer.Argument(help="File of the mended bytes; - reads them from standard input.")],
    *,
    config: Config = None,
) -> None:
    """Keep mended bytes to be sent in place of the original, which stays."""
    from storage.database import connect
    from storage.deadletters import correct as store

    payload = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    with connect(load_settings(config).database, "writer") as connection:
        if not store(connection, identity, payload):
            raise ConfigurationError(f"there is no dead letter {identity}")
    typer.echo(f"{len(payload)} bytes; `pulssi deadletters redrive {identity}` sends them")


@app.command()
def redrive(
    identities: Annotated[list[str] | None, typer.Argument(help="Names of dead letters.")] = None,
    *,
    config: Config = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, help="With --reason: how many at most.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again to where they came from, mended ones mended; exit 1 when one could not be sent."""
    from storage.database import connect
    from storage.deadletters import find, mark_redriven

    settings = load_settings(config)
    if bool(identities) == bool(reason):
        raise ConfigurationError("name either dead letters or a --reason")
    with connect(settings.database, "writer", autocommit=True) as connection, ExitStack() as stack:
        letters = _letters(config, identities) if identities else find(connection, reason=reason, limit=limit)
        senders: dict[str, Send] = {}
        outcome: dict[str, str] = {}
        for letter in letters:
            try:
                _send(letter, senders, settings.mqtt, settings.kafka, stack)
            except PulssiError as error:
                outcome[letter.dead_letter_id] = str(error)
                continue
            mark_redriven(connection, letter.dead_letter_id)
            outcome[letter.dead_letter_id] = "sent"
    if as_json:
        typer.echo(json.dumps(outcome))
    else:
        for name, what in outcome.items():
            typer.echo(escaped(f"{name}: {what}"))
    if any(what != "sent" for what in outcome.values()):
        raise typer.Exit(1)


def escaped(text: str) -> str:
    """Text whose characters a terminal only shows: a payload may hold escape sequences."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _letters(config: Path | None, identities: list[str]) -> list[DeadLetter]:
    from storage.database import connect
    from storage.deadletters import get

    with connect(load_settings(config).database, "writer") as connection:
        found = {identity: get(connection, identity) for identity in identities}
    missing = [f"there is no dead letter {identity}" for identity, letter in found.items() if letter is None]
    if missing:
        raise ConfigurationError(missing)
    return [letter for letter in found.values() if letter is not None]


def _send(
    letter: DeadLetter, senders: dict[str, Send], mqtt: MqttSettings, kafka: KafkaSettings, stack: ExitStack
) -> None:
    """Send one letter; connections are made when the first letter needs them.

    Raises:
        PulssiError: it was not sent.
    """
    if not letter.target:
        raise ConfigurationError("nobody knows where it came from")
    if letter.source not in senders:
        sender = _mqtt(mqtt) if letter.source == "mqtt" else _kafka(kafka)
        senders[letter.source] = stack.enter_context(sender)
    senders[letter.source](letter)


@contextmanager
def _mqtt(settings: MqttSettings) -> Iterator[Send]:
    """Publishes at QoS 1 and waits for the broker."""
    from paho.mqtt import client as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.username_pw_set(settings.username, settings.secret())
    if settings.tls:
        client.tls_set(str(settings.ca_file) if settings.ca_file else None)
    reasons: dict[int, Any] = {}
    client.on_publish = lambda _client, _data, mid, reason, _properties: reasons.update({mid: reason})
    try:
        client.connect(settings.host, settings.port, settings.keepalive_s)
    except OSError as error:
        raise ConfigurationError(f"the MQTT broker does not answer: {error}") from error
    client.loop_start()

    def send(letter: DeadLetter) -> None:
        message = client.publish(letter.mqtt_topic or "", letter.again, qos=1)
        try:
            message.wait_for_publish(_SENT_S)
        except (RuntimeError, ValueError) as error:
            raise PulssiError(f"not published: {error}") from error
        if not message.is_published():
            raise PulssiError("the MQTT broker did not confirm it")
        reason = reasons.get(message.mid)
        if reason is not None and reason.is_failure:
            raise PulssiError(f"the MQTT broker refused it: {reason}")

    try:
        yield send
    finally:
        client.disconnect()
        client.loop_stop()


@contextmanager
def _kafka(settings: KafkaSettings) -> Iterator[Send]:
    """Sends to the partition that a record came from, and waits for Kafka."""
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    from pulssi.topics import headers
    from storage.sink import contents

    known = contents(settings.topics)
    try:
        producer = KafkaProducer(bootstrap_servers=settings.bootstrap.split(","), acks="all")
    except KafkaError as error:
        raise ConfigurationError(f"Kafka does not answer: {error}") from error

    def send(letter: DeadLetter) -> None:
        if letter.topic not in known:
            raise PulssiError(f"{letter.topic} is no topic of this installation")
        heads = headers(known[letter.topic])
        key = letter.dead_letter_id.encode()
        try:
            producer.send(letter.topic, letter.again, key=key, partition=letter.partition, headers=heads).get(_SENT_S)
        except KafkaError as error:
            raise PulssiError(f"Kafka did not take it: {error}") from error

    try:
        yield send
    finally:
        producer.close()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _as_dict(letter: DeadLetter) -> dict[str, Any]:
    plain = {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name in letter.__dataclass_fields__
        if not isinstance(value := getattr(letter, name), bytes)
    }
    data = {"payload": letter.payload, "corrected": letter.corrected}
    coded = {f"{name}_base64": base64.b64encode(one).decode() for name, one in data.items() if one is not None}
    texts = {f"{name}_text": _text(one) for name, one in data.items() if one is not None}
    return {**plain, "target": letter.target, **coded, **texts}
