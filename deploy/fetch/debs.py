"""Debian packages unpacked under a folder of ours: no root, no Docker, nothing installed.

`unpack` asks apt, with the package sources of this machine but lists and caches of its own, for some packages and the
shared libraries that they need, checks them as apt always does, and unpacks them. Maintainer scripts never run.
Packages of another Debian release than the host's run on their own C library: a small script in front of each program
starts it with the loader beside it.
"""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.fetch.store import MissingToolError, once

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
HOST_LIBRARIES = frozenset({"libc6", "libcrypt1", "libgcc-s1"})
"""What a program of the host's own release takes from the host."""
LIBRARY = re.compile(r"lib|zlib")
NOT_NEEDED = ("apt", "usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/lib/postgresql/*/lib/bitcode")


@dataclass(frozen=True)
class Tree:
    """Unpacked packages.

    Attributes:
        path: the folder that stands for `/`.
        own_libc: whether its programs need the loader of the tree (they come from another release than the host's).
    """

    path: Path
    own_libc: bool

    @property
    def library_folders(self) -> tuple[Path, ...]:
        """Where the tree's shared libraries lie."""
        folders = (self.path / "lib", self.path / "usr/lib")
        triplets = [folder for top in folders if top.is_dir() for folder in sorted(top.glob("*-linux-gnu*"))]
        private = [
            one for top in triplets for one in sorted(top.iterdir()) if one.is_dir() and any(one.glob("lib*.so*"))
        ]
        return (*triplets, *private)

    @property
    def loader(self) -> Path:
        """The tree's own dynamic loader."""
        return next(found for folder in self.library_folders for found in sorted(folder.glob("ld-linux*.so.*")))


@functools.cache
def host_release() -> str:
    """The code name of this machine's Debian release, such as `bookworm`.

    Raises:
        MissingToolError: this is not Debian, or apt is missing.
    """
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    facts = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
    if facts.get("ID") != "debian" or not facts.get("VERSION_CODENAME"):
        raise MissingToolError("Debian packages", f"this machine runs {facts.get('PRETTY_NAME', 'an unknown system')}")
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingToolError("Debian packages", f"{tool} is not on PATH")
    return facts["VERSION_CODENAME"]


def _sources(release: str) -> list[str]:
    """This machine's Debian package sources, moved to `release`."""
    host = host_release()
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    own = re.compile(rf"({re.escape(host)}|stable|oldstable|testing)(-security|-updates)?")
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    lines = []
    for address, suite, component in (line.split() for line in listing.splitlines()):
        match = own.fullmatch(suite)
        if match and component == "main":
            lines.append(f"deb {signed}{address} {release}{match[2] or ''} main")
    if not lines:
        raise MissingToolError("Debian packages", f"no Debian package source for {host} is set up in /etc/apt")
    return sorted(set(lines))


class _Apt:
    """apt with the machine's sources and settings, but with lists, cache and status of its own."""

    def __init__(self, folder: Path, release: str) -> None:
        self.folder = folder
        for sub in ("lists/partial", "cache/archives/partial", "debs"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text("\n".join(_sources(release)) + "\n", encoding="utf-8")
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": folder,
            "Dir::State::status": folder / "status",
            "Dir::State::Lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "",
            "APT::Get::List-Cleanup": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        lines = "".join(f'{key} "{value}";\n' for key, value in settings.items())
        (folder / "apt.conf").write_text(lines, encoding="utf-8")

    def run(self, *argv: str) -> str:
        """One apt command; its answer.

        Raises:
            MissingToolError: apt could not do it, with its own words.
        """
        environment = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"}
        done = subprocess.run(
            argv, cwd=self.folder / "debs", env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
            raise MissingToolError("Debian packages", f"{' '.join(argv[:2])}: {said[-1]}")
        return done.stdout

    def closure(self, wanted: Sequence[str], without: Iterable[str]) -> list[str]:
        """The wanted packages and every package of libraries that they need, but for those in `without`."""
        known, front = set(wanted), list(wanted)
        left_out = set(without)
        while front:
            needed = _needed(self.run("apt-cache", "depends", *front))
            front = sorted(name for name in needed if LIBRARY.match(name) and name not in known | left_out)
            known.update(front)
        return sorted(known - left_out)


def _needed(listing: str) -> set[str]:
    """What `apt-cache depends` names after Depends and PreDepends: of alternatives and providers the first."""
    needed: set[str] = set()
    alternative = virtual = False
    for line in listing.splitlines():
        match = re.fullmatch(r" ([ |])(?:Pre)?Depends: (\S+)", line)
        if match:
            name = match[2].partition(":")[0]
            virtual = name.startswith("<") and not alternative
            if not virtual and not alternative:
                needed.add(name)
            alternative = match[1] == "|"
        elif virtual and line.startswith("    "):
            needed.add(line.strip().partition(":")[0])
            virtual = False
    return needed


def _absolute_links_stay_inside(tree: Path) -> None:
    """Turn each absolute symbolic link into a relative one that stays in the tree."""
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            link = Path(folder) / name
            if link.is_symlink() and link.readlink().is_absolute():
                inside = tree / link.readlink().relative_to("/")
                link.unlink()
                link.symlink_to(os.path.relpath(inside, link.parent))


def _wrap(tree: Tree, programs: Path) -> None:
    """Put a starter in front of every program of a folder, so that each finds its libraries wherever the tree lies."""
    up = os.path.relpath(tree.path, programs)
    libraries = ":".join(f"$here/{up}/{one.relative_to(tree.path)}" for one in tree.library_folders)
    if tree.own_libc:
        loader = f'"$here/{up}/{tree.loader.relative_to(tree.path)}"'
        start = f'exec {loader} --argv0 "$0" --library-path "{libraries}" "$0.real" "$@"'
    else:
        start = f'LD_LIBRARY_PATH="{libraries}" exec "$0.real" "$@"'
    for program in sorted(programs.iterdir()):
        if program.is_symlink() or not (program.is_file() and os.access(program, os.X_OK)):
            continue
        with program.open("rb") as opened:
            if opened.read(4) != b"\x7fELF":
                continue
        program.rename(program.with_name(program.name + ".real"))
        program.write_text(f'#!/bin/sh\nhere="${{0%/*}}"\n{start}\n', encoding="utf-8")
        program.chmod(0o755)


def unpack(
    name: str,
    packages: Sequence[str],
    dist: Path,
    *,
    programs: Sequence[str] = (),
    release: str | None = None,
    without: Iterable[str] = (),
    finish: Callable[[Tree], None] = lambda _tree: None,
) -> Tree:
    """Unpack Debian packages with the libraries that they need, once.

    Args:
        name: the name of the tree, a folder in `dist`.
        packages: the packages wanted; of what they depend on only libraries follow.
        dist: the folder of unpacked things, possibly shared by several checkouts.
        programs: folders of the tree whose programs are to run.
        release: the Debian release to take them from; the host's own by default.
        without: libraries that are not needed for our purpose.
        finish: what else to do to the tree before it counts as unpacked; it is moved afterwards.

    Returns:
        The tree.

    Raises:
        MissingToolError: the packages cannot be had here, and why.
    """
    host = host_release()
    own_libc = (release or host) != host
    skipped = {*without, *(() if own_libc else HOST_LIBRARIES)}

    def fill(folder: Path) -> None:
        apt = _Apt(folder / "apt", release or host)
        apt.run("apt-get", "-qq", "update")
        apt.run("apt-get", "-qq", "download", *apt.closure(packages, skipped))
        for package in sorted((folder / "apt/debs").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        for unneeded in [found for pattern in NOT_NEEDED for found in folder.glob(pattern)]:
            shutil.rmtree(unneeded)
        _absolute_links_stay_inside(folder)
        for one in programs:
            _wrap(Tree(folder, own_libc), folder / one)
        finish(Tree(folder, own_libc))

    choices = (packages, programs, release or host, sorted(skipped))
    recipe = Path(__file__).read_bytes() + repr(choices).encode()
    return Tree(once(dist, name, recipe, fill), own_libc)
