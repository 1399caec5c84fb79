"""The page's files: nothing from elsewhere, nothing inline, everything named; and what only iPhones have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.serve_process import ServeProcess
from fixtures.webdriver import Tab, open_browser

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "musetalk_cli" / "serve" / "page"
FILES = sorted(PAGE.iterdir())
NAMESPACE = "http://www.w3.org/2000/svg"
chromium = pytest.mark.needs("chromium", "chromedriver")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text().replace(NAMESPACE, "")
    assert re.findall(r"(?:https?:)?//\w[\w.-]+\.\w+", text) == []
    assert not re.search(r"@import|@font-face", text)
    assert len(text.splitlines()) < 450


def test_nothing_is_inline() -> None:
    text = (PAGE / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text) == []


def test_every_file_is_used() -> None:
    texts = {path.name: path.read_text() for path in FILES}
    named = {name for text in texts.values() for name in re.findall(r"[\"./]([\w-]+\.(?:js|css|svg))\"", text)}
    assert named | {"index.html"} == set(texts)


def test_every_id_that_scripts_ask_for_is_there_once() -> None:
    ids = re.findall(r'\bid="([\w-]+)"', (PAGE / "index.html").read_text())
    assert len(ids) == len(set(ids))
    view = (PAGE / "view.js").read_text()
    listed = re.search(r"\[\s*(\"frame\".*?)\]", view, re.DOTALL)
    assert listed
    asked = {*re.findall(r'"([\w-]+)"', listed[1]), *re.findall(r'(?:byId|setText)\("([\w-]+)"', view)}
    assert asked <= set(ids)


@chromium
def test_every_control_has_a_name_and_can_be_reached(
    server: ServeProcess, start: Callable[[Tab, str], None], tmp_path: Path
) -> None:
    with open_browser("chromium", tmp_path / "profile") as tab:
        start(tab, server.url)
        nameless = tab.run(
            """
            const named = (each) => each.ariaLabel || each.textContent.trim() || each.labels?.[0]?.textContent.trim();
            return [...document.querySelectorAll("button, input, summary, video")]
              .filter((each) => !each.hidden && !named(each)).map((each) => each.outerHTML);
            """
        )
        assert nameless == []
        reached = set()
        for _ in range(12):
            tab.press("\ue004")  # Tab
            reached.add(
                tab.run(
                    "return document.activeElement.id || document.activeElement.name || document.activeElement.tagName"
                )
            )
        assert {"mic-button", "file-button", "mute", "full", "end", "avatar", "gate", "SUMMARY"} <= reached


@chromium
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(
    server: ServeProcess, start: Callable[[Tab, str], None], tmp_path: Path, width: int
) -> None:
    with open_browser("chromium", tmp_path / "profile") as tab:
        tab.resize(width, 800)
        start(tab, server.url)
        assert tab.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


@chromium
def test_a_browser_with_managed_media_source_only(
    server: ServeProcess, start: Callable[[Tab, str], None], tmp_path: Path
) -> None:
    """As on an iPhone: it says when it wants data, and opens only where remote playback is off."""
    with open_browser("chromium", tmp_path / "profile") as tab:
        tab.before_each_page(
            "window.ManagedMediaSource = class extends MediaSource {"
            "  get streaming() { return window.wantsData ?? true; } };"
            "delete window.MediaSource;"
        )
        start(tab, server.url)
        assert tab.run("return document.querySelector('video').disableRemotePlayback")
        tab.run("window.wantsData = false")  # a live stream goes on: there is never more than a second ahead
        tab.wait("document.querySelector('video').currentTime > 1")


@chromium
def test_a_browser_without_media_source_is_told(server: ServeProcess, tmp_path: Path) -> None:
    with open_browser("chromium", tmp_path / "profile") as tab:
        tab.before_each_page("delete window.MediaSource; delete window.ManagedMediaSource;")
        tab.open(server.url)
        tab.wait("document.querySelector('.avatar') !== null")
        tab.click("#start")
        tab.wait("document.querySelector('#cover-title').textContent.includes('cannot play live video')")
