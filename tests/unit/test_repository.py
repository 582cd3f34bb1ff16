"""The repository keeps its own rules: sizes, no registry hosts, no machine paths, links that lead somewhere."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70


def _tracked(*patterns):
    """Files under version control; all files of the folders where there is no git (an unpacked archive)."""
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, check=False)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


PYTHON = _tracked("*.py")


def test_there_is_something_to_look_at():
    assert len(PYTHON) > 50


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_and_its_functions_are_short_and_handle_named_errors(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MODULE_LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, f"{node.name} is too long"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"


def test_locked_requirements_are_hashed_and_name_no_index():
    for path in _tracked("requirements/*.txt"):
        text = path.read_text(encoding="utf-8")
        pinned = re.findall(r"^[a-z0-9][a-z0-9._-]*==\S+ \\$", text, re.MULTILINE)
        assert pinned
        assert text.count("--hash=sha256:") >= len(pinned)
        assert "://" not in text
        assert "--index" not in text


def test_links_between_documents_lead_somewhere():
    for path in _tracked("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            if "://" in target or target.startswith(("#", "mailto:")):
                continue
            file = (path.parent / target.partition("#")[0]).resolve()
            assert file.exists(), f"{path.relative_to(ROOT)} links to {target}"


def test_nothing_is_left_open_in_the_code():
    mark = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b")
    for path in PYTHON + _tracked("*.sql"):
        assert not mark.search(path.read_text(encoding="utf-8")), path


def test_every_package_has_a_readme():
    for package in ("ingest", "streams", "storage", "alerts", "dashboards", "simulators", "deploy"):
        assert (ROOT / package / "README.md").is_file(), package
