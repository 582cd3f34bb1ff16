"""The wheel that images are made of holds every file of the packages, data and configuration too."""

import subprocess
import sys
import tomllib
import zipfile

import pytest

pytestmark = pytest.mark.service


def test_the_wheel_holds_every_file_of_the_packages(tmp_path, pytestconfig):
    root = pytestconfig.rootpath
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = {
        str(file.relative_to(root))
        for package in packages
        for file in (root / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert len(files) > 100
    assert files <= held
