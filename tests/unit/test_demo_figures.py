"""What the demo's table reads from the metrics of a process."""

from pulssi.commands.demo.figures import Process, scrape
from pulssi.metrics import Metrics


def test_units_are_counted_and_bytes_are_not():
    metrics = Metrics("streams")
    metrics.received("readings", "records", 5)
    metrics.sent("indicators", "records", 7)
    metrics.sent("state", "bytes", 900_000)
    metrics.dropped("bad_json", 2)
    metrics.lag("readings", 3)
    metrics.age("records", 0.5)
    metrics.age("windows", 0.25)
    found = scrape(metrics.serve("127.0.0.1", 0))
    metrics.close()
    assert found == Process(answers=True, received=5, sent=7, dropped=2, errors=0, lag=3, age_s=0.25)


def test_a_process_that_is_away_is_told():
    metrics = Metrics("streams")
    port = metrics.serve("127.0.0.1", 0)
    metrics.close()
    assert not scrape(port).answers
