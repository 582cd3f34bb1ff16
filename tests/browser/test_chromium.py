"""The browser that the other browser tests use is there and draws."""

import subprocess

import pytest
from playwright.sync_api import sync_playwright

from deploy.fetch import chromium
from tests.fixtures import browser

pytestmark = pytest.mark.browser


def test_it_renders_text_in_a_real_font(browser_executable):
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser_executable)
        page = running.new_page()
        page.set_content("<h1 style='display:inline'>Hyvää huomenta</h1>")
        width = page.evaluate("document.querySelector('h1').getBoundingClientRect().width")
        picture = page.screenshot()
        running.close()
    assert width > 100
    assert picture.startswith(b"\x89PNG")


def test_the_drivers_starter_finds_its_library_and_passes_arguments_on(tmp_path, local_dist):
    starter = tmp_path / "a folder" / "node"
    starter.parent.mkdir()
    browser._write_starter(starter, local_dist)
    done = subprocess.run([starter, "-p", "process.argv.length + 1", "x y"], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_chromium_comes_from_debian_where_there_is_none(local_dist, monkeypatch):
    monkeypatch.setattr(chromium, "NAMES", ())
    program = chromium.find_chromium(local_dist)
    assert program.is_relative_to(local_dist)
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("Chromium")
