"""Whatever is killed: nothing accepted is lost or doubled, and the indicators are those of a run without a fault."""

import math
import random
import threading
import time

import msgspec
import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition

from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import SeriesInfo
from pulssi.partitions import Record
from streams.catalogue import Catalogue
from streams.readings_processor import ReadingsProcessor
from tests.system import System, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SEED = 20261124
LOAD_S = 45
FINAL_COLUMNS = ("n", "n_excluded", "min", "max", "last", "p50", "p95", "p99", "mean", "std")


@pytest.fixture(scope="module")
def system(services, tmp_path_factory):
    system = System(services, tmp_path_factory.mktemp("faults"), "faults")
    system.prepare()
    system.start("gateway", "streams", "alerts", "sink")
    yield system
    system.close()


@pytest.fixture(scope="module")
def after_faults(system):
    """A simulated city under kills at seeded moments; what its ledger says when everything is through."""
    ledger = system.installation.root / "ledger"
    chance = random.Random(SEED)
    print("seed", SEED)
    words = ("simulate", "--seed", "11", "--for", f"{LOAD_S}s", "--interval", "1s", "--backfill", "20m")
    system.supervisor.start(system.child("city", *words, "--faults", "default", "--ledger", str(ledger), "--json"))
    faults = threading.Thread(target=_strike, args=(system, chance))
    faults.start()
    faults.join()
    wait_for(lambda: system.supervisor.status("city") is not None, LOAD_S + 120, f"the city ends: {system.log('city')}")
    return system.json("ledger", "check", "--ledger", str(ledger), "--wait", "120", "--json", check=False)


def _strike(system, chance):
    """Each process of the data path is killed twice, and a second stream worker joins and leaves."""
    victims = ["gateway", "streams", "sink", "alerts"] * 2
    chance.shuffle(victims)
    for number, victim in enumerate(victims):
        time.sleep(chance.uniform(1.0, 4.0))  # a moment, not a wait: the kill must fall anywhere
        if number == 2:
            system.start_another("streams", "streams-2")
        if number == 6:
            system.supervisor.stop("streams-2")
        system.kill(victim)
        system.supervisor.wait_ready(victim, 60)


def test_the_ledgers_and_the_database_agree(system, after_faults):
    assert system.supervisor.restart_count >= 8
    assert after_faults["lost"] == 0, after_faults["examples"]
    assert after_faults["duplicate"] == 0, after_faults["examples"]
    assert after_faults["phantom"] == 0, after_faults["examples"]
    assert after_faults["corrupt"] == 0, after_faults["examples"]
    assert after_faults["readings"]["accepted"] > 10_000
    assert after_faults["vehicle_events"]["accepted"] > 1_000


def _records(system, topic, partition):
    """Every record of one partition."""
    consumer = KafkaConsumer(bootstrap_servers=system.services.kafka, group_id=None)
    place = TopicPartition(topic, partition)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    end = consumer.end_offsets([place])[place]
    while consumer.position(place) < end:
        for record in consumer.poll(1000).get(place, ()):
            yield Record(record.offset, record.key, record.value, dict(record.headers))
    consumer.close()


def _catalogue(system):
    catalogue = Catalogue()
    for record in _records(system, system.settings.kafka.topics.series, 0):
        catalogue.add(msgspec.json.decode(record.value, type=SeriesInfo))
    return catalogue


def _without_a_fault(system):
    """The newest windows of one uninterrupted pass of the same core over the same readings, by key."""
    settings, catalogue = system.settings, _catalogue(system)
    windows = {}
    for partition in range(settings.kafka.partitions):
        core = ReadingsProcessor(partition, settings.streams, settings.kafka.topics, catalogue.limits)
        outputs = core.process(list(_records(system, settings.kafka.topics.readings, partition)))
        for output in outputs:
            if dict(output.headers).get("kinds") != b"window":
                continue
            rows = Indicators.decode(output.value)
            for i in np.flatnonzero(rows.kind == IndicatorKind.WINDOW):
                key = (int(rows.series_id[i]), int(rows.window_s[i]), int(rows.window_start[i]))
                if key not in windows or windows[key]["revision"] <= rows.revision[i]:
                    windows[key] = {name: getattr(rows, name)[i] for name in (*FINAL_COLUMNS, "revision")}
    return windows


def _stored(system):
    columns = ", ".join((*FINAL_COLUMNS, "revision"))
    query = f"""SELECT series_id, window_s, (extract(epoch FROM window_start) * 1000000)::bigint, {columns}
                FROM indicators WHERE kind = {int(IndicatorKind.WINDOW)}"""
    with system.database() as connection:
        rows = connection.execute(query.encode()).fetchall()
    return {row[:3]: dict(zip((*FINAL_COLUMNS, "revision"), row[3:], strict=True)) for row in rows}


def _same(one, other):
    if one is None or other is None or (isinstance(other, float) and math.isnan(other)):
        return one is None and (other is None or math.isnan(other))
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)


def test_the_indicators_are_those_of_a_run_without_a_fault(system, after_faults):
    assert after_faults["lost"] == 0
    expected = _without_a_fault(system)
    assert len(expected) > 5_000
    wait_for(lambda: len(_stored(system)) >= len(expected), 60, "every window in the database")
    stored = _stored(system)
    missing = expected.keys() - stored.keys()
    assert not missing, f"{len(missing)} windows are missing, such as {next(iter(missing))}"
    wrong = [
        (key, name, stored[key][name], window[name])
        for key, window in expected.items()
        for name in FINAL_COLUMNS
        if not _same(stored[key][name], window[name])
    ]
    assert not wrong, f"{len(wrong)} values differ, such as {wrong[0]}"
