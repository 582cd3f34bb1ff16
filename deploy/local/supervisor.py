"""A small supervisor of child processes: readiness, restart with backoff, orderly stop, and nothing left behind.

Every child is started by one thread that lives as long as the supervisor, through `setpriv --pdeathsig`: the kernel
ends the child when the supervisor dies, however it dies. A child that ends unasked is started again after a backoff,
with one line when it goes away and one when it is back.
"""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

TICK_S = 0.03
BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 10.0
STEADY_S = 30.0
"""A child that ran this long starts again at the smallest backoff."""
LOG_TAIL_LINES = 15


class ChildError(RuntimeError):
    """A child ended, or was not ready in time, at its first start. The message carries the end of its log."""


@dataclass(frozen=True)
class Child:
    """A program to run.

    Attributes:
        name: its name in reports.
        argv: the command.
        log_path: where its output goes, appended.
        env: its whole environment; that of the supervisor by default.
        cwd: its working folder.
        ready: tells within some ms whether it does its work (an OSError is a no); None = as soon as it runs.
        ready_s_max: how long the first start may take.
        stop_signal: asks it to stop.
        stop_s_max: how long the stop may take before SIGKILL.
        death_signal: what the kernel sends it when the supervisor dies.
        restart: whether it is started again when it ends unasked.
        run_as: a command in front of it that changes its user (`unprivileged`).
    """

    name: str
    argv: Sequence[str | Path]
    log_path: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    ready: Callable[[], bool] | None = None
    ready_s_max: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_s_max: float = 15.0
    death_signal: signal.Signals = signal.SIGKILL
    restart: bool = True
    run_as: Sequence[str] = ()


@dataclass
class _Run:
    """A child and what is known about its process."""

    child: Child
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    again_at_s: float | None = None
    backoff_s: float = BACKOFF_S_MIN
    restarts: int = 0
    wanted: bool = True
    ended_by: int = 0
    is_ready: threading.Event = field(default_factory=threading.Event)


def _how(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended, leaving it to be reaped."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _probe(child: Child) -> bool:
    if child.ready is None:
        return True
    try:
        return child.ready()
    except OSError:
        return False


def log_tail(path: Path) -> str:
    """The last lines of a log."""
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", errors="replace") as log:
        return "".join(deque(log, LOG_TAIL_LINES)).rstrip()


class Supervisor:
    """Runs children, in the order of their start; stops them in reverse order.

    Args:
        report: takes one line for a person whenever a child goes away or is back.
    """

    def __init__(self, report: Callable[[str], None] = lambda _line: None) -> None:
        self._report = report
        self._runs: dict[str, _Run] = {}
        self._orders: queue.SimpleQueue[tuple[Callable[[], object], Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="supervisor", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The children, in the order of their start."""
        return tuple(self._runs)

    @property
    def restart_count(self) -> int:
        """How often any child was started again."""
        return sum(run.restarts for run in self._runs.values())

    def restarts(self, name: str) -> int:
        """How often one child was started again."""
        return self._runs[name].restarts

    def pid(self, name: str) -> int | None:
        """The process of a child, None while it is away."""
        process = self._runs[name].process
        return process.pid if process is not None and process.returncode is None else None

    def is_ready(self, name: str) -> bool:
        """Whether a child was ready since it last started."""
        return self._runs[name].is_ready.is_set()

    def status(self, name: str) -> int | None:
        """The exit status of a child that is not to be restarted (negative: the signal), None while it runs."""
        process = self._runs[name].process
        return None if process is None else process.returncode

    def start(self, *children: Child) -> None:
        """Start children and wait until all of them are ready.

        Raises:
            ChildError: one of them ended or was not ready in time; it is stopped again.
        """
        for child in children:
            if child.name in self._runs:
                raise ValueError(f"there is already a child named {child.name}")
            run = _Run(child)
            self._runs[child.name] = run
            self._order(lambda run=run: self._spawn(run))  # type: ignore[misc]
        for child in children:
            self._await_first_ready(self._runs[child.name])

    def wait_ready(self, name: str, timeout_s: float = 60.0) -> None:
        """Wait until a child is ready (again).

        Raises:
            ChildError: it was not in time.
        """
        run = self._runs[name]
        if not run.is_ready.wait(timeout_s):
            raise ChildError(f"{name} was not ready within {timeout_s:.0f} s\n{log_tail(run.child.log_path)}")

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a child as a fault; when it ends it is started again.

        With SIGKILL this returns when the process has ended, so that `wait_ready` then waits for the next one.
        """
        run = self._runs[name]

        def strike() -> None:
            if run.process is None or run.process.returncode is not None:
                return
            run.process.send_signal(sig)
            if sig == signal.SIGKILL:
                os.waitid(os.P_PID, run.process.pid, os.WEXITED | os.WNOWAIT)
                self._ended(run)

        self._order(strike)

    def stop(self, name: str) -> None:
        """Stop a child for good, orderly, and forget it."""
        run = self._runs[name]
        self._order(lambda: self._ask_to_stop(run))
        deadline_s = time.monotonic() + run.child.stop_s_max
        while self.pid(name) is not None and time.monotonic() < deadline_s:
            time.sleep(TICK_S)
        self._order(lambda: self._end(run))
        del self._runs[name]

    def close(self) -> None:
        """Stop all children in reverse order, and the supervisor."""
        if not self._thread.is_alive():
            return
        for name in reversed(self.names):
            self.stop(name)
        self._orders.put(None)
        self._thread.join()

    # From here on: the caller's side of an order, then what runs in the supervisor's thread.

    def _order(self, action: Callable[[], object]) -> None:
        done: Future[None] = Future()
        self._orders.put((action, done))
        done.result()

    def _await_first_ready(self, run: _Run) -> None:
        deadline_s = time.monotonic() + run.child.ready_s_max
        while not run.is_ready.wait(TICK_S):
            ended = run.restarts > 0 or run.again_at_s is not None or self.status(run.child.name) is not None
            if ended or time.monotonic() > deadline_s:
                child = run.child
                why = f"ended ({_how(run.ended_by)})" if ended else f"was not ready within {child.ready_s_max:.0f} s"
                self.stop(child.name)
                raise ChildError(f"{child.name} {why}; the end of {child.log_path}:\n{log_tail(child.log_path)}")

    def _work(self) -> None:
        while True:
            try:
                order = self._orders.get(timeout=TICK_S)
            except queue.Empty:
                self._look()
                continue
            if order is None:
                return
            action, done = order
            try:
                action()
            except BaseException as error:  # noqa: BLE001 (handed to the caller, who waits for it)
                done.set_exception(error)
            else:
                done.set_result(None)

    def _look(self) -> None:
        """Note what ended, start again what is due, probe what is not ready."""
        for run in list(self._runs.values()):
            if run.again_at_s is not None:
                if run.wanted and time.monotonic() >= run.again_at_s:
                    self._spawn_again(run)
            elif run.process is not None and run.process.returncode is None:
                if _is_over(run.process):
                    self._ended(run)
                elif not run.is_ready.is_set() and _probe(run.child):
                    run.is_ready.set()
                    if run.restarts:
                        away_s = time.monotonic() - run.started_s
                        self._report(f"{run.child.name}: back, ready {away_s:.1f} s after restart {run.restarts}")

    def _spawn(self, run: _Run) -> None:
        child = run.child
        run.again_at_s = None
        run.started_s = time.monotonic()
        child.log_path.parent.mkdir(parents=True, exist_ok=True)
        bound = ("setpriv", "--pdeathsig", child.death_signal.name.removeprefix("SIG"), "--")
        with child.log_path.open("ab") as log:
            run.process = subprocess.Popen(
                [*child.run_as, *bound, *child.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child.env,
                cwd=child.cwd,
                start_new_session=True,
            )

    def _spawn_again(self, run: _Run) -> None:
        run.restarts += 1
        try:
            self._spawn(run)
        except OSError as error:  # no memory, no file handle: as passing as the end of the child was
            self._report(f"{run.child.name}: cannot start ({error}), trying again in {run.backoff_s:.1f} s")
            run.again_at_s = time.monotonic() + run.backoff_s
            run.backoff_s = min(2 * run.backoff_s, BACKOFF_S_MAX)

    def _ended(self, run: _Run) -> None:
        run.ended_by = self._end(run)
        was_ready = run.is_ready.is_set()
        run.is_ready.clear()
        if not (run.wanted and run.child.restart):
            return
        if time.monotonic() - run.started_s > STEADY_S:
            run.backoff_s = BACKOFF_S_MIN
        run.again_at_s = time.monotonic() + run.backoff_s
        if was_ready:
            self._report(f"{run.child.name}: ended ({_how(run.ended_by)}), starting again in {run.backoff_s:.1f} s")
        run.backoff_s = min(2 * run.backoff_s, BACKOFF_S_MAX)

    def _ask_to_stop(self, run: _Run) -> None:
        run.wanted = False
        run.again_at_s = None
        if run.process is not None and run.process.returncode is None and not _is_over(run.process):
            run.process.send_signal(run.child.stop_signal)

    @staticmethod
    def _end(run: _Run) -> int:
        """End what is left of a child and its process group; its exit status.

        The group is struck before the child is reaped: so long its number cannot belong to anybody else.
        """
        if run.process is None:
            return 0
        if run.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGKILL)
        return run.process.wait()
