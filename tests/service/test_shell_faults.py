"""The Faust shell on a real Kafka: whatever happens to workers, results are those of a run without faults."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service.shell_harness import Bench, wait_until

pytestmark = pytest.mark.service


@pytest.fixture
def bench(kafka: str, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(seed: int, sources: int = 1) -> Bench:
        made.append(Bench(kafka, tmp_path, seed, sources))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_worker_computes_every_record_of_two_sources_in_order_and_stops_with_exit_0(bench):
    run = bench(seed=1, sources=2)
    run.produce(500)
    worker = run.worker()
    worker.wait_for("assigned")
    run.produce(500)
    run.wait_done()
    assert worker.stop() == 0
    run.assert_exact()


def test_sigkill_at_random_moments_changes_nothing(bench):
    run = bench(seed=2, sources=2)
    moments = random.Random(2)
    producing = run.produce_in_background(bursts=250, pause_s=0.05)
    for _ in range(5):
        worker = run.worker("steady")
        worker.wait_for("assigned")
        time.sleep(moments.uniform(0.1, 1.5))
        worker.kill()
    worker = run.worker("steady")
    worker.wait_for("assigned")
    producing.join()
    run.wait_done()
    assert worker.stop() == 0
    run.assert_exact()


def test_a_killed_worker_goes_on_within_seconds_under_its_old_name(bench):
    run = bench(seed=3)
    worker = run.worker("steady")
    worker.wait_for("assigned")
    run.produce(100)
    run.wait_done()
    worker.kill()
    run.produce(100)
    again = run.worker("steady")
    run.wait_done(timeout_s=5.0)  # the session would time out after 6 s
    assert again.stop() == 0
    run.assert_exact()


def test_workers_that_join_and_leave_share_the_partitions_without_loss(bench):
    run = bench(seed=4, sources=2)
    producing = run.produce_in_background(bursts=250, pause_s=0.05)
    first = run.worker()
    first.wait_for("assigned")
    second = run.worker()
    second.wait_for("assigned")
    assert _assigned(first) + _assigned(second) == 2 * 4
    assert first.stop() == 0
    wait_until(lambda: _assigned(second) == 2 * 4, "the second has all partitions", timeout_s=5.0)
    third = run.worker()
    third.wait_for("assigned")
    second.kill()
    producing.join()
    run.wait_done()
    assert third.stop() == 0
    run.assert_exact()


def test_a_stopped_worker_that_wakes_up_after_its_partitions_moved_does_no_harm(bench):
    run = bench(seed=5)
    producing = run.produce_in_background(bursts=300, pause_s=0.05)
    sleeper = run.worker("sleeper", INTERVAL_S="0.3")
    sleeper.wait_for("assigned")
    time.sleep(1.0)
    sleeper.signal(signal.SIGSTOP)
    other = run.worker("other", INTERVAL_S="0.3")
    other.wait_for("assigned", timeout_s=20.0)
    wait_until(lambda: _assigned(other) == 4, "the other has all partitions", timeout_s=20.0)
    time.sleep(1.0)
    sleeper.signal(signal.SIGCONT)
    producing.join()
    run.wait_done()
    assert {sleeper.stop(), other.stop()} == {0}
    run.assert_exact()


def _assigned(worker) -> int:
    return len(worker.events("assigned")[-1]["offsets"])
