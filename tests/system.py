"""The whole system on real servers, for end-to-end tests and the bench of the path."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from deploy.local import Child, LocalServices, Supervisor
from deploy.local.ports import free_port
from deploy.local.supervisor import log_tail
from deploy.processes import HOST, PROCESSES, Installation, command, installation, process
from pulssi.settings import Settings, load_settings


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """The first true answer of a condition; fails with `what` when there is none in time."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


class System:
    """Our processes on given services, under one supervisor."""

    def __init__(self, services: LocalServices, root: Path, prefix: str, **settings: str) -> None:
        self.services = services
        self.installation: Installation = installation(services, root, prefix=prefix).with_settings(**settings)
        self.lines: list[str] = []
        self.supervisor = Supervisor(self.lines.append)

    def close(self) -> None:
        """Stop every process."""
        self.supervisor.close()

    @property
    def settings(self) -> Settings:
        """The settings that the processes see."""
        variables = {k: v for k, v in self.installation.environment.items() if k.startswith("PULSSI_")}
        sections: dict[str, dict[str, str]] = {}
        for name, value in variables.items():
            section, _, key = name.removeprefix("PULSSI_").lower().partition("__")
            if key:
                sections.setdefault(section, {})[key] = value
        return load_settings(**sections)

    def prepare(self) -> None:
        """Tables and topics."""
        self.run("db", "migrate")
        self.run("topics", "apply")

    def start(self, *names: str) -> None:
        """Start processes of ours and wait until they are ready."""
        self.supervisor.start(*(process(self.installation, name) for name in names or PROCESSES))

    def start_another(self, name: str, label: str) -> None:
        """A second worker of the same process, with an identity and a metrics port of its own."""
        other = self.installation.with_settings(**{f"METRICS__{name.upper()}": str(free_port(HOST))})
        port = int(other.environment[f"PULSSI_METRICS__{name.upper()}"])
        environment = {**other.environment, "PULSSI_INSTANCE": label}
        ours = Installation(
            other.root, environment, {**other.metrics_ports, name: port}, other.api_port, other.database
        )
        self.supervisor.start(process(ours, name, label=label))

    def kill(self, name: str) -> None:
        """SIGKILL; the supervisor starts it again."""
        self.supervisor.kill(name)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command of ours to its end."""
        done = subprocess.run(
            command(*words), env=self.installation.environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0 or not check, f"pulssi {words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, check: bool = True) -> dict[str, Any]:
        """The JSON object that a command prints last."""
        done = self.run(*words, check=check)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def child(self, name: str, *words: str) -> Child:
        """A command of ours as a child that is not restarted."""
        log = self.installation.root / "logs" / f"{name}.log"
        return Child(name, command(*words), log, env=self.installation.environment, restart=False)

    @contextmanager
    def database(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection as the owner."""
        with psycopg.connect(self.installation.database, autocommit=True) as connection:
            yield connection

    def count(self, table: str) -> int:
        """Rows of one of our tables."""
        with self.database() as connection:
            row = connection.execute(psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(table)))
            found = row.fetchone()
        assert found is not None
        return int(found[0])

    def log(self, name: str) -> str:
        """The end of a process's log, for messages of failed tests."""
        return log_tail(self.installation.root / "logs" / f"{name}.log")


def is_alive(pid: int) -> bool:
    """Whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
