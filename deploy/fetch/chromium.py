"""A Chromium for the browser tests: from PATH, else Debian's package, unpacked."""

import shutil
from pathlib import Path

from deploy.fetch.debs import Tree, unpack
from deploy.fetch.store import MissingToolError

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "chromium-common", "fonts-dejavu-core")
LAUNCHER = "run-chromium"
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">usr/share/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


def find_chromium(dist: Path) -> Path:
    """The program; from the package it is started without Debian's launcher, which reads the host's /etc.

    Args:
        dist: the folder of unpacked programs.

    Raises:
        MissingToolError: there is none, and its package cannot be had.
    """
    installed = next((found for found in map(shutil.which, NAMES) if found), None)
    if installed:
        return Path(installed)
    try:
        return unpack("chromium", PACKAGES, dist, finish=_add_launcher).path / LAUNCHER
    except MissingToolError as error:
        raise MissingToolError("Chromium", error.why, "Install it, for example: apt-get install chromium") from error


def _add_launcher(tree: Tree) -> None:
    libraries = ":".join(f"$here/{one.relative_to(tree.path)}" for one in tree.library_folders)
    (tree.path / "fonts.conf").write_text(FONTS, encoding="utf-8")
    launcher = tree.path / LAUNCHER
    launcher.write_text(
        '#!/bin/sh\nhere="${0%/*}"\n'
        f'export LD_LIBRARY_PATH="{libraries}" FONTCONFIG_FILE="$here/fonts.conf"\n'
        'exec "$here/usr/lib/chromium/chromium" "$@"\n',
        encoding="utf-8",
    )
    launcher.chmod(0o755)
