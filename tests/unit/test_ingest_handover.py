"""records are kept until Kafka has confirmed them, whatever the client does with them"""

import pytest

from ingest.framing import Record
from ingest.handover import AWAY_S, GIVE_UP_S, PRODUCERS, RETRY_S, HandOver
from pulssi.errors import TransientError
from pulssi.metrics import Metrics
from pulssi.settings import GatewaySettings


class Client:
    """Stands for a Kafka client that does as it is told; the real ones are in tests/service."""

    def __init__(self):
        self.sent = []
        self.full = False

    def send(self, record, done):
        if self.full:
            raise TransientError("full")
        self.sent.append((record, done))

    def finish(self, error=None):
        sent, self.sent = self.sent, []
        for _, done in sent:
            done(error)


class Run:
    def __init__(self):
        self.client = Client()
        self.now = 100.0
        self.woken = 0
        self.said = []
        self.metrics = Metrics("gateway")
        self.handover = HandOver(self.client, self.metrics, self, self._wake, clock=lambda: self.now)

    def _wake(self):
        self.woken += 1

    def warning(self, event, **_fields):
        """Stands for the log."""
        self.said.append(event)

    info = warning

    def metric(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, {"component": "gateway", **labels})


@pytest.fixture
def run():
    return Run()


def record(number=0):
    return Record("t", 0, None, b"%d" % number, [], "readings", 1, 0, [])


def test_a_record_is_confirmed_once_when_the_client_says_so(run):
    one = record()
    run.handover.offer([one])
    assert run.handover.collect() == []
    run.client.finish()
    assert run.woken == 1
    assert run.handover.collect() == [one]
    assert run.handover.collect() == []
    assert len(run.handover) == 0


def test_a_record_that_failed_for_good_is_sent_again_until_it_succeeds(run):
    one = record()
    run.handover.offer([one])
    for _ in range(3):
        run.client.finish(TransientError("gone"))
        assert run.handover.collect() == []
        assert run.handover.retry_in() == RETRY_S
        assert len(run.handover) == 1
        run.now += RETRY_S
        run.handover.collect()
        assert [sent for sent, _ in run.client.sent] == [one]
    run.client.finish()
    assert run.handover.collect() == [one]
    assert run.handover.retry_in() is None
    assert run.metric("pulssi_errors_total", kind="kafka_send") == 3


def fail_for(run, seconds):
    until = run.now + seconds
    while run.now < until:
        run.client.finish(TransientError("fatal"))
        run.handover.collect()
        run.now += RETRY_S


def test_a_client_that_does_nothing_but_fail_is_given_up(run):
    run.handover.offer([record(1), record(2)])
    with pytest.raises(TransientError, match="nothing but fail"):
        fail_for(run, GIVE_UP_S + 5)


def test_a_client_that_succeeds_now_and_then_is_kept(run):
    for number in range(5):
        run.handover.offer([record(number)])
        fail_for(run, GIVE_UP_S - 5)
        while len(run.handover):
            run.client.finish()
            run.handover.collect()
            run.now += RETRY_S


def test_a_full_client_is_asked_again_later(run):
    run.client.full = True
    run.handover.offer([record(1), record(2)])
    assert (len(run.client.sent), len(run.handover)) == (0, 2)
    run.client.full = False
    run.now += RETRY_S
    run.handover.collect()
    assert [sent.value for sent, _ in run.client.sent] == [b"1", b"2"]


def test_one_line_when_kafka_is_away_and_one_when_it_is_back(run):
    run.handover.offer([record(1)])
    for _ in range(5):
        run.now += AWAY_S
        run.handover.collect()
    assert run.metric("pulssi_connected", target="kafka") == 0
    run.client.finish()
    run.handover.collect()
    run.handover.collect()
    assert run.metric("pulssi_connected", target="kafka") == 1
    assert run.said == ["away", "back"]


def test_every_word_of_the_setting_has_its_client():
    words = GatewaySettings.model_fields["producer"].annotation.__args__
    assert set(words) == set(PRODUCERS)
