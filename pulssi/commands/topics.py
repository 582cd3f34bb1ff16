"""`pulssi topics`: make the Kafka topics, and show whether they are as they must be"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import typer

from pulssi.commands.options import AsJson, Config
from pulssi.errors import ConfigurationError
from pulssi.settings import KafkaSettings, load_settings
from pulssi.topics import TopicSpec

app = typer.Typer(help="The Kafka topics: make them, show them.", no_args_is_help=True)

_TIMEOUT_MS = 30_000


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """A topic as it is.

    Attributes:
        name: of the topic.
        partitions: how many it has, 0 when it does not exist.
        wanted_partitions: how many it must have.
        wrong: settings that differ from the wanted ones, as key: (is, wanted).
    """

    name: str
    partitions: int
    wanted_partitions: int
    wrong: dict[str, tuple[str | None, str]]

    @property
    def sentence(self) -> str:
        """The state in words."""
        if not self.partitions:
            return "missing"
        if self.partitions != self.wanted_partitions:
            return f"has {self.partitions} partitions instead of {self.wanted_partitions}"
        return ", ".join(f"{key}={found} instead of {wanted}" for key, (found, wanted) in self.wrong.items()) or "ok"


@app.command()
def apply(*, config: Config = None, as_json: AsJson = False) -> None:
    """Make the topics that are missing and set what differs; never touches records."""
    done = apply_topics(load_settings(config).kafka)
    if as_json:
        typer.echo(json.dumps(done))
    else:
        for name, what in done.items():
            typer.echo(f"{name}: {what}")


@app.command()
def show(*, config: Config = None, as_json: AsJson = False) -> None:
    """Show each topic beside what it must be; exit 1 when one differs."""
    found = topic_statuses(load_settings(config).kafka)
    if as_json:
        typer.echo(json.dumps([asdict(one) | {"state": one.sentence} for one in found]))
    else:
        for one in found:
            typer.echo(f"{one.name}: {one.sentence}")
    if any(one.sentence != "ok" for one in found):
        raise typer.Exit(1)


def topic_statuses(kafka: KafkaSettings) -> list[TopicStatus]:
    """Every topic of this installation as it is.

    Raises:
        ConfigurationError: Kafka does not answer.
    """
    with _admin(kafka) as admin:
        return _statuses(admin, kafka.topics.specs())


def apply_topics(kafka: KafkaSettings) -> dict[str, str]:
    """Make and change topics; says what was done to each.

    Raises:
        ConfigurationError: Kafka does not answer, or a topic has another number of partitions than the settings say:
            records would no longer lie where their device or route sends them, so that is for a person to decide.
    """
    specs = kafka.topics.specs()
    with _admin(kafka) as admin:
        found = {one.name: one for one in _statuses(admin, specs)}
        problems = [
            f"{one.name} {one.sentence}; set kafka.partitions to what it has, or use another kafka.prefix"
            for one in found.values()
            if one.partitions not in {0, one.wanted_partitions}
        ]
        if problems:
            raise ConfigurationError(problems)
        _create(admin, [spec for spec in specs if not found[spec.name].partitions], kafka.replication)
        _alter(admin, [spec for spec in specs if found[spec.name].partitions and found[spec.name].wrong])
    return {
        spec.name: "made" if not found[spec.name].partitions else "changed" if found[spec.name].wrong else "as it was"
        for spec in specs
    }


@contextmanager
def _admin(kafka: KafkaSettings) -> Iterator[Any]:
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","), client_id="pulssi-topics")
    except KafkaError as error:
        raise ConfigurationError(f"Kafka does not answer at {kafka.bootstrap}: {error}") from error
    try:
        yield admin
    finally:
        admin.close()


def _statuses(admin: Any, specs: Sequence[TopicSpec]) -> list[TopicStatus]:
    from kafka.admin import ConfigResource, ConfigResourceType

    described = {one["name"]: len(one["partitions"]) for one in admin.describe_topics([spec.name for spec in specs])}
    existing = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in specs if described.get(spec.name)]
    configs = admin.describe_configs(existing).get("topic", {}) if existing else {}
    found = []
    for spec in specs:
        own = {key: entry["value"] for key, entry in configs.get(spec.name, {}).items()}
        wrong = {key: (own.get(key), value) for key, value in spec.config.items() if own.get(key) != value}
        partitions = described.get(spec.name, 0)
        found.append(TopicStatus(spec.name, partitions, spec.partitions, wrong if partitions else {}))
    return found


def _create(admin: Any, specs: Sequence[TopicSpec], replication: int) -> None:
    if not specs:
        return
    from kafka.errors import KafkaError, TopicAlreadyExistsError

    wanted = {
        spec.name: {"num_partitions": spec.partitions, "replication_factor": replication, "configs": spec.config}
        for spec in specs
    }
    try:
        admin.create_topics(wanted, timeout_ms=_TIMEOUT_MS, wait_for_metadata=True)
    except TopicAlreadyExistsError:  # somebody else was as quick
        admin.wait_for_topics(list(wanted), timeout_ms=_TIMEOUT_MS)
    except KafkaError as error:
        raise ConfigurationError(f"Kafka refuses the topics: {error}") from error


def _alter(admin: Any, specs: Sequence[TopicSpec]) -> None:
    if not specs:
        return
    from kafka.admin import ConfigResource, ConfigResourceType

    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name, dict(spec.config)) for spec in specs])
