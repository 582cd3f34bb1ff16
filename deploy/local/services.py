"""Real Mosquitto, Apache Kafka and TimescaleDB as children of this process, under one folder."""

import fcntl
import os
import sys
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from deploy.local import database, kafka, mosquitto
from deploy.local.database import Database, Tier
from deploy.local.ports import free_port, is_free
from deploy.local.supervisor import Child, Supervisor
from pulssi.settings import Settings

SERVICES = ("mosquitto", "kafka", "database")
HOST = "127.0.0.1"


class RootInUseError(RuntimeError):
    """Other local services run on this folder."""


class PortInUseError(RuntimeError):
    """Somebody listens on a port that was asked for."""


def default_dist() -> Path:
    """Where unpacked things lie: PULSSI_LOCAL_DIST, else `.pulssi/dist` of the working folder."""
    return Path(os.environ.get("PULSSI_LOCAL_DIST") or ".pulssi/dist").absolute()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


class LocalServices:
    """Real servers on loopback that live as long as this context.

    Args:
        root: the folder of their data, logs and secrets; started again on it they have their data again.
        services: which of `mosquitto`, `kafka`, `database` to start on entering; `start` adds others later.
        ports: wanted ports by service, also `kafka_controller`; 0 or absent = a free one.
        tier: `timescaledb`, `postgres` (without the extension), or `auto`: the best that can be had.
        dist: the folder of unpacked programs.
        durable: whether the database waits for the disk.
        report: takes a line for a person: notices, a server that went away or is back.

    Raises:
        RootInUseError: other services run on `root`.
        PortInUseError: a wanted port is taken.
        MissingToolError: a server cannot be had here; the message says what to do.
        ChildError: a server did not start; the message carries the end of its log.
    """

    def __init__(
        self,
        root: Path,
        services: Collection[str] = SERVICES,
        ports: Mapping[str, int] | None = None,
        tier: Tier = "auto",
        dist: Path | None = None,
        *,
        durable: bool = True,
        report: Callable[[str], None] = _say,
    ) -> None:
        unknown = set(services) - set(SERVICES)
        if unknown:
            raise ValueError(f"unknown services {sorted(unknown)}; there are {SERVICES}")
        self.root = root.absolute()
        self.dist = (dist or default_dist()).absolute()
        self._services = [name for name in SERVICES if name in services]
        self._ports = dict(ports or {})
        self._tier: Tier = tier
        self._durable = durable
        self._report = report
        self._database: Database | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(self._lock())
            self.supervisor = stack.enter_context(Supervisor(self._report))
            self.start(*self._services)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, *names: str) -> None:
        """Start services that are not running yet, side by side, and wait until they are ready."""
        fresh = [name for name in names if name not in self.supervisor.names]
        with ThreadPoolExecutor(max_workers=len(SERVICES)) as pool:
            children = list(pool.map(self._child, fresh))
        self.supervisor.start(*children)

    def kill(self, name: str) -> None:
        """SIGKILL a service, as a fault; the supervisor starts it again."""
        self.supervisor.kill(name)

    def wait_ready(self, name: str, timeout_s: float = 60.0) -> None:
        """Wait until a service is ready (again)."""
        self.supervisor.wait_ready(name, timeout_s)

    @property
    def restart_count(self) -> int:
        """How often any service was started again."""
        return self.supervisor.restart_count

    @property
    def mqtt(self) -> tuple[str, int]:
        """Host and port of the broker."""
        return HOST, self._ports["mosquitto"]

    @property
    def broker_socket(self) -> Path | None:
        """The broker's Unix socket, for the gateway."""
        return mosquitto.socket_path(self._data("mosquitto"))

    @property
    def kafka(self) -> str:
        """Kafka's bootstrap address."""
        return f"{HOST}:{self._ports['kafka']}"

    @property
    def database(self) -> Database:
        """Where the database server is, and as whom to connect."""
        if self._database is None:
            raise RuntimeError("the database was not started")
        return self._database

    def sections(self) -> dict[str, dict[str, Any]]:
        """Settings that lead to what runs, by section, for `load_settings`; the password stays in its file."""
        sections: dict[str, dict[str, Any]] = {}
        if "mosquitto" in self.supervisor.names:
            sections["mqtt"] = {"host": HOST, "port": self._ports["mosquitto"]}
            if self.broker_socket is not None:
                sections["gateway"] = {"broker_socket": str(self.broker_socket)}
        if "kafka" in self.supervisor.names:
            sections["kafka"] = {"bootstrap": self.kafka}
        if self._database is not None:
            server = self._database
            sections["database"] = {
                "host": server.host,
                "port": server.port,
                "user": server.user,
                "name": server.dbname,
                "password_file": str(self._password_file),
            }
        return sections

    def environment(self) -> dict[str, str]:
        """The same settings as `PULSSI_` variables, for processes that are started."""
        return {
            f"PULSSI_{section}__{key}".upper(): str(value)
            for section, keys in self.sections().items()
            for key, value in keys.items()
        }

    @classmethod
    def from_settings(cls, settings: Settings, report: Callable[[str], None] = _say) -> Self:
        """The services that the section `local` describes."""
        local = settings.local
        ports = {"mosquitto": local.mqtt_port, "kafka": local.kafka_port, "database": local.database_port}
        given = os.environ.get("PULSSI_LOCAL_DIST")
        dist = Path(given) if given else local.root / "dist"
        return cls(local.root, ports=ports, tier=local.tier, dist=dist, report=report)

    def _data(self, name: str) -> Path:
        return self.root / "data" / name

    @property
    def _password_file(self) -> Path:
        return self.root / "secrets" / "database-password"

    def _lock(self) -> IO[str]:
        path = self.root / "lock"
        handle = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip()
            handle.close()
            raise RootInUseError(f"{self.root} is in use by process {owner}; set another folder") from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        return handle

    def _port(self, name: str) -> int:
        port = self._ports.get(name) or free_port(HOST)
        if not is_free(HOST, port):
            raise PortInUseError(f"{name}: port {port} on {HOST} is in use; free it or set another one")
        self._ports[name] = port
        return port

    def _child(self, name: str) -> Child:
        data, log_path = self._data(name), self.root / "logs" / f"{name}.log"
        if name == "mosquitto":
            return mosquitto.child(mosquitto.find(self.dist), data, log_path, HOST, self._port(name))
        if name == "kafka":
            java = kafka.find_java(self.dist)
            jars = kafka.find_jars(self.dist, java)
            return kafka.child(java, jars, data, log_path, HOST, self._port(name), self._port("kafka_controller"))
        binaries, notice = database.find(self.dist, self._tier)
        if notice:
            self._report(notice)
        tier = "timescaledb" if binaries.timescaledb else "postgres"
        server, self._database = database.child(
            binaries,
            data.with_name(f"database-{tier}"),
            self._password_file,
            log_path,
            HOST,
            self._port(name),
            durable=self._durable,
        )
        return server
