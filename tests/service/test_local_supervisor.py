"""The supervisor with small children: it keeps them up, stops them orderly, and leaves nothing behind."""

import re
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from deploy.local import Child, ChildError, Supervisor
from tests.fixtures.processes import identity, lives, wait_for

pytestmark = pytest.mark.service


@pytest.fixture
def make(tmp_path):
    """Children that run a shell script and write to a log of their own."""

    def child(name, script="exec sleep 600", **options):
        return Child(name, ["sh", "-c", script], tmp_path / "logs" / f"{name}.log", **options)

    return child


def test_a_child_is_started_only_when_it_is_ready(make, tmp_path):
    flag = tmp_path / "flag"
    with Supervisor() as supervisor:
        supervisor.start(make("slow", f"sleep 0.3; touch '{flag}'; exec sleep 600", ready=flag.exists))
        assert flag.exists()
        assert supervisor.is_ready("slow")


def test_a_probe_that_cannot_connect_is_a_no(make, tmp_path):
    flag = tmp_path / "flag"

    def probe():
        if not flag.exists():
            raise ConnectionRefusedError
        return True

    with Supervisor() as supervisor:
        supervisor.start(make("slow", f"sleep 0.2; touch '{flag}'; exec sleep 600", ready=probe))
        assert supervisor.restart_count == 0


def test_a_child_that_ends_at_its_start_is_an_error_with_the_end_of_its_log(make):
    with Supervisor() as supervisor, pytest.raises(ChildError, match=r"(?s)bad ended \(exit 3\).*no such port"):
        supervisor.start(make("bad", "echo no such port >&2; exit 3", ready=lambda: False))
    assert supervisor.names == ()


def test_a_child_that_is_never_ready_is_an_error_and_is_stopped(make):
    with Supervisor() as supervisor:
        seen = []
        mute = make("mute", ready=lambda: seen.append(identity(supervisor.pid("mute"))), ready_s_max=0.2)
        with pytest.raises(ChildError, match="mute was not ready within"):
            supervisor.start(mute)
        assert not lives(seen[0])
        assert supervisor.names == ()


def test_a_killed_child_is_started_again_with_one_line_each_way(make):
    lines = []
    with Supervisor(lines.append) as supervisor:
        supervisor.start(make("steady"))
        before = supervisor.pid("steady")
        supervisor.kill("steady")
        supervisor.wait_ready("steady")
        wait_for(lambda: len(lines) == 2, "the line that it is back")
        assert supervisor.pid("steady") != before
        assert supervisor.restarts("steady") == 1
    assert re.fullmatch(r"steady: ended \(SIGKILL\), starting again in 0.1 s", lines[0])
    assert re.fullmatch(r"steady: back, ready \d+\.\d s after restart 1", lines[1])


def test_a_child_that_ends_by_itself_is_started_again_too(make, tmp_path):
    once = tmp_path / "once"
    with Supervisor() as supervisor:
        supervisor.start(make("brief", f"[ -e '{once}' ] && exec sleep 600; sleep 0.3; touch '{once}'"))
        wait_for(lambda: supervisor.restarts("brief") == 1 and supervisor.is_ready("brief"), "the second start")


def test_a_child_that_keeps_crashing_is_tried_ever_less_often_and_reported_once(make, tmp_path):
    lines, log, good = [], tmp_path / "starts", tmp_path / "good"
    good.touch()
    with Supervisor(lines.append) as supervisor:
        supervisor.start(
            make("crash", f"date +%s.%N >> '{log}'; [ -e '{good}' ] && exec sleep 600; exit 1", ready=good.exists)
        )
        good.unlink()
        supervisor.kill("crash")
        wait_for(lambda: supervisor.restarts("crash") == 5, "five restarts")
        starts = [float(line) for line in log.read_text().split()]
        pauses = [later - earlier for earlier, later in pairwise(starts[1:])]
        assert pauses[-1] > 1.5 * pauses[0]
        assert len(lines) == 1
        good.touch()
        supervisor.wait_ready("crash")


def test_a_child_that_is_not_to_be_restarted_leaves_its_status(make):
    lines = []
    with Supervisor(lines.append) as supervisor:
        supervisor.start(make("task", "sleep 0.2; exit 7", restart=False))
        wait_for(lambda: supervisor.status("task") is not None, "its end")
        assert supervisor.status("task") == 7
        assert supervisor.pid("task") is None
        assert supervisor.restart_count == 0


def test_children_stop_in_reverse_order_and_may_finish_their_work(make, tmp_path):
    order = tmp_path / "order"

    def script(name):
        trap = f"trap 'sleep 0.1; echo {name} >> \"{order}\"; exit 0' TERM"
        return f"{trap}; touch '{tmp_path}/{name}'; while :; do sleep 0.02; done"

    names = ["first", "second", "third"]
    with Supervisor() as supervisor:
        supervisor.start(*(make(name, script(name), ready=(tmp_path / name).exists) for name in names))
    assert order.read_text().split() == names[::-1]


def test_a_child_that_does_not_stop_is_killed_after_its_time(make, tmp_path):
    flag = tmp_path / "flag"
    with Supervisor() as supervisor:
        script = f"trap '' TERM; touch '{flag}'; while :; do sleep 0.05; done"
        supervisor.start(make("stubborn", script, ready=flag.exists, stop_s_max=0.3))
        process = identity(supervisor.pid("stubborn"))
    assert not lives(process)


def test_what_a_child_started_ends_with_it_and_nobody_else(make, tmp_path):
    bystander = subprocess.Popen(["sleep", "600"])
    flag = tmp_path / "flag"
    try:
        with Supervisor() as supervisor:
            supervisor.start(
                make(
                    "parent",
                    f"sleep 600 & echo $! > '{flag}'; wait",
                    ready=lambda: flag.exists() and flag.read_text() != "",
                )
            )
            grandchild = identity(int(flag.read_text()))
            supervisor.kill("parent")
            wait_for(lambda: not lives(grandchild), "the grandchild's end with its killed parent")
            supervisor.wait_ready("parent")
            wait_for(lambda: flag.read_text() not in ("", f"{grandchild[0]}\n"), "the second grandchild")
            second = identity(int(flag.read_text()))
        wait_for(lambda: not lives(second), "the grandchild's end with the supervisor")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


KILLED = """
import sys, time
from pathlib import Path
from deploy.local import Child, Supervisor
supervisor = Supervisor()
supervisor.start(*(Child(name, ["sleep", "600"], Path(sys.argv[1]) / name) for name in "abc"))
print(*map(supervisor.pid, "abc"), flush=True)
time.sleep(600)
"""


def test_kill_9_of_the_supervisor_leaves_no_orphan(tmp_path, pytestconfig):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=pytestconfig.rootpath) as owner:
        children = [identity(int(pid)) for pid in owner.stdout.readline().split()]
        assert len(children) == 3
        assert all(map(lives, children))
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(lives, children)), "the end of the children")


def test_children_outlive_the_thread_that_asked_for_them(make):
    import threading

    with Supervisor() as supervisor:
        asker = threading.Thread(target=lambda: supervisor.start(make("child")))
        asker.start()
        asker.join()
        time.sleep(0.1)  # a death signal tied to the asking thread would arrive now
        assert supervisor.restarts("child") == 0
        assert supervisor.pid("child") is not None


def test_two_children_of_one_name_are_refused(make):
    with Supervisor() as supervisor:
        supervisor.start(make("one"))
        with pytest.raises(ValueError, match="already a child named one"):
            supervisor.start(make("one"))


def test_a_program_that_does_not_exist_is_an_error(tmp_path):
    with Supervisor() as supervisor, pytest.raises(ChildError, match=r"(?s)ghost ended.*no-such-program"):
        supervisor.start(Child("ghost", ["no-such-program"], tmp_path / "log", ready=lambda: False))
