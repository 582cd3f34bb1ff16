"""The demo runs everything, accounts for everything, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from deploy.local.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
COUNTS = ("readings_accepted", "vehicle_events_accepted", "indicators_stored", "alerts", "notifications_delivered")


def _environment(tmp_path, local_dist):
    port = free_port()
    settings = {"PULSSI_LOCAL__ROOT": str(tmp_path / "a folder"), "PULSSI_API__PORT": str(port)}
    return {**os.environ, "PULSSI_LOCAL_DIST": str(local_dist), **settings}, f"http://127.0.0.1:{port}"


def _processes_of(folder):
    """Command lines of living processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_the_demo_stores_everything_that_was_accepted_and_says_so(tmp_path, local_dist):
    environment, _page = _environment(tmp_path, local_dist)
    done = subprocess.run(
        [sys.executable, "-m", "pulssi", "demo", "--for", "50s", "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=380,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    print(report)
    assert report["lost"] == report["duplicates"] == 0
    assert report["readings_stored"] == report["readings_accepted"]
    assert report["vehicle_events_stored"] == report["vehicle_events_accepted"]
    assert all(report[name] > 0 for name in COUNTS)
    assert report["dead_letters"] > 0
    assert report["latency_ms"].keys() == {
        *("accept_to_store_p50", "accept_to_store_p99", "sensor_to_alert_p50", "sensor_to_alert_p99"),
    }
    assert not _processes_of(tmp_path)


def test_ctrl_c_stops_the_demo_cleanly(tmp_path, local_dist):
    environment, page = _environment(tmp_path, local_dist)
    demo = subprocess.Popen(
        [sys.executable, "-m", "pulssi", "demo"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline_s = time.monotonic() + 120
        while _stations(page) == []:
            assert demo.poll() is None, demo.stdout.read()
            assert time.monotonic() < deadline_s
            time.sleep(0.2)
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=150)
    finally:
        demo.kill()
    assert demo.returncode == 0, output
    assert "lost: 0" in output
    assert not _processes_of(tmp_path)


def _stations(page):
    """What the page shows, nothing while it is not there."""
    try:
        with urllib.request.urlopen(f"{page}/api/stations", timeout=1) as answer:  # noqa: S310  our own page
            return json.load(answer)
    except OSError:
        return []
