"""The page's files: vendored libraries as published, all words in all languages, nothing from elsewhere."""

import hashlib
import json
import re

import pytest

from dashboards.app import STATIC

VENDOR = STATIC / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))
OURS = sorted(path for path in STATIC.rglob("*") if path.is_file() and VENDOR not in path.parents)
LANGUAGES = ("fi", "sv", "en")


@pytest.mark.parametrize("library", MANIFEST, ids=lambda library: library["name"])
def test_a_vendored_library_is_what_the_manifest_says(library):
    folder = VENDOR / f"{library['name']}-{library['version']}"
    assert folder.name == library["folder"]
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found == library["files"]
    assert "LICENSE" in found
    assert set(library) == {"name", "version", "licence", "folder", "files"}


def test_nothing_else_is_vendored():
    assert {path.name for path in VENDOR.iterdir()} == {"manifest.json"} | {one["folder"] for one in MANIFEST}


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_files_name_no_address_but_our_own(path):
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text)


@pytest.mark.parametrize("path", [path for path in OURS if path.suffix == ".js"], ids=lambda path: path.name)
def test_no_script_makes_markup_from_text(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


def test_the_page_has_no_inline_script_or_style():
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=", text)


def words(language: str) -> dict[str, str]:
    text = (STATIC / "js" / "i18n.js").read_text(encoding="utf-8")
    start = text.index(f"  {language}: {{")
    block = text[start : text.index("\n  },", start)]
    return dict(re.findall(r'(\w+): "((?:[^"\\]|\\.)*)"', block))


def test_every_word_is_there_in_every_language_with_the_same_gaps():
    fi, sv, en = (words(language) for language in LANGUAGES)
    assert fi.keys() == sv.keys() == en.keys()
    assert len(fi) > 80

    def gaps(text: str) -> list[str]:
        return sorted(re.findall(r"\{\w+\}", text))

    assert all(gaps(fi[key]) == gaps(sv[key]) == gaps(en[key]) for key in fi)


def test_every_word_that_the_page_asks_for_exists():
    known = words("en")
    asked = set()
    for path in OURS:
        text = path.read_text(encoding="utf-8")
        asked |= set(re.findall(r'\bt\("(\w+)"', text)) | set(re.findall(r'data-t(?:-label)?="(\w+)"', text))
    assert asked
    assert asked <= known.keys()
