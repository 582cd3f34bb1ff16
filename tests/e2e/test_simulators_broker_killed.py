"""A killed broker forgets what it had acknowledged; devices with an outbox lose nothing all the same."""

import json
import random
import time

import pytest

from tests.system import System, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

SEED = 5
SECONDS = 20


@pytest.fixture(scope="module")
def system(services, tmp_path_factory):
    found = System(services, tmp_path_factory.mktemp("broker"), "broker")
    found.prepare()
    found.start("gateway", "sink")
    yield found
    found.close()


@pytest.fixture(scope="module")
def verdict(system, services):
    """A city and many small devices while the broker dies twice and one simulator is killed in the middle."""
    ledger, chance = system.installation.root / "ledger", random.Random(SEED)
    words = ("simulate", "--faults", "none", "--ledger", str(ledger), "--json", "--for", f"{SECONDS}s", "--rate", "300")
    system.supervisor.start(system.child("city", *words), system.child("doomed", *words, "--seed", "8"))
    wait_for(lambda: system.count("readings") > 500, 60, "readings are stored")
    for victim in ("broker", "doomed", "broker"):
        time.sleep(chance.uniform(2, 4))  # a moment, not a wait: the kill may fall anywhere
        if victim == "broker":
            services.kill("mosquitto")
            services.wait_ready("mosquitto")
        else:
            system.supervisor.kill("doomed")
    wait_for(lambda: system.supervisor.status("city") is not None, SECONDS + 90, f"the city ends: {system.log('city')}")
    return system.json(
        "ledger", "check", "--ledger", str(ledger), "--wait", "60s", "--broker-killed", "--json", check=False
    )


def test_every_reading_of_a_living_device_got_its_receipt(system, verdict):
    summary = json.loads((system.installation.root / "logs" / "city.log").read_text().splitlines()[-1])
    assert summary["settled"], summary
    assert summary["reconnects"] >= 2
    assert summary["sent_again"] > 0


def test_nothing_accepted_is_lost_and_nothing_is_stored_twice(verdict):
    assert verdict["ok"], json.dumps(verdict, indent=1)
    assert verdict["readings"]["accepted"] > 5000
    assert verdict["readings"]["stored"] >= verdict["readings"]["accepted"]
