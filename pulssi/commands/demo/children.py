"""the children of the demo beside the system itself: a subscriber, a simulated city, recordings"""

from __future__ import annotations

import secrets
from pathlib import Path

from deploy.local import Child
from deploy.local.ports import is_free
from deploy.processes import HOST, Installation, command

SEED = 7
BACKFILL = "90m"


def subscriber(system: Installation, port: int, secret_file: Path) -> Child:
    """A receiver of webhooks that checks signatures."""
    return Child(
        "subscriber",
        command("webhook-echo", "--port", str(port), "--secret-file", str(secret_file)),
        system.root / "logs" / "subscriber.log",
        env=system.environment,
        ready=lambda: not is_free(HOST, port),
    )


def inputs(system: Installation, ledger: Path, duration_s: float | None) -> list[Child]:
    """The city and both recordings, each with its ledger; not restarted: a ledger is one process's.

    The city is told how long it lives, so that all its planted faults happen.
    """
    city = ["simulate", "--seed", str(SEED), "--backfill", BACKFILL, "--episode", "--faults", "default"]
    if duration_s is not None:
        city += ["--for", f"{duration_s}s"]
    replays = {
        "buses": ["replay", "hfp", "--speed", "60", "--loop"],
        "sensors": ["replay", "epa", "--speed", "60", "--loop"],
    }
    children = [_input(system, ledger, "city", city)]
    return children + [_input(system, ledger, name, words) for name, words in replays.items()]


def _input(system: Installation, ledger: Path, name: str, words: list[str]) -> Child:
    return Child(
        name,
        command(*words, "--ledger", str(ledger / name)),
        system.root / "logs" / f"{name}.log",
        env=system.environment,
        restart=False,
        stop_s_max=30.0,
    )


def new_secret(path: Path) -> Path:
    """A webhook secret in a file that only we can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text("whsec_" + secrets.token_hex(24), encoding="ascii")
    return path
