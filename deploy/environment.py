"""Make the virtual environment of a checkout with nothing but Python: `python3 -m deploy.environment`.

The tools come by exact hash from requirements/dev.txt, through whatever package index this machine is set to.
Debian's Python without python3-venv cannot make an environment with pip in it; then pip comes from Debian's package of
it, unpacked.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.fetch.debs import unpack
from deploy.fetch.store import MissingToolError

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements/dev.txt"


def _make_venv() -> None:
    """Make `.venv`, with pip in it.

    Raises:
        MissingToolError: Python can make no environment here.
    """
    if importlib.util.find_spec("ensurepip"):
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        return
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", VENV], check=True)
    dist = Path(os.environ.get("PULSSI_LOCAL_DIST") or ROOT / ".pulssi/dist")
    try:
        tree = unpack("pip", ["python3-pip-whl"], dist)
    except MissingToolError as error:
        cure = "Install it: apt-get install python3-venv"
        raise MissingToolError(
            "python3-venv", f"this Python cannot make environments, and {error.why}", cure
        ) from error
    wheel = next((tree.path / "usr/share/python-wheels").glob("pip-*.whl"))
    command = [str(VENV / "bin/python"), f"{wheel}/pip", "install", "-q", "--no-index", str(wheel)]
    subprocess.run(command, check=True)


def main() -> int:
    """Make or renew the environment; says in plain words what is missing.

    Returns:
        The exit status.
    """
    try:
        _make_venv()
    except MissingToolError as error:
        sys.stderr.write(f"make env: {error}\n")
        return 2
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _say(f"installing {LOCK.relative_to(ROOT)} into .venv (about a minute)")
    tools = ["--require-hashes", "-r", str(LOCK)]
    project = ["--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    for arguments in (tools, project):
        status = subprocess.run([*pip, *arguments], check=False).returncode
        if status:
            sys.stderr.write("make env: pip could not install; its own words are above\n")
            return status
    _say(f"ready: {shutil.which('pulssi', path=str(VENV / 'bin'))}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"make env: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
