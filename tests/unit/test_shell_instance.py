"""Each living worker of a machine has a name of its own, and gets it back after any end."""

import subprocess
import sys

import pytest

from pulssi.errors import ConfigurationError
from pulssi.shell.instance import Instance

HOLD = """
from pulssi.shell.instance import Instance
import sys
held = Instance("group", "kafka")
print(held.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("PULSSI_INSTANCE", raising=False)


def hold():
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def end(process):
    process.kill()
    process.communicate()


def test_two_workers_have_two_names_and_a_killed_one_frees_its_own():
    first, first_name = hold()
    second, second_name = hold()
    assert first_name.endswith("-0")
    assert second_name.endswith("-1")
    end(first)
    again, again_name = hold()
    assert again_name == first_name
    end(second)
    end(again)


def test_a_given_name_is_refused_while_another_worker_has_it(monkeypatch):
    monkeypatch.setenv("PULSSI_INSTANCE", "left/hand")
    held = Instance("group", "kafka")
    assert held.name == "left-hand"
    with pytest.raises(ConfigurationError, match="already runs"):
        Instance("group", "kafka")
    Instance("another-group", "kafka").release()
    held.release()
    Instance("group", "kafka").release()
