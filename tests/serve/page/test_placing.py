"""How the page opens a session that is on another machine: what it says where that fails, and that it can be ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.serve_process import ServeProcess
from fixtures.webdriver import Tab, free_port, open_browser

pytestmark = pytest.mark.needs("chromium", "chromedriver")
# A Connection whose server answers what ``args[0]`` says for a place; what it tells is kept in ``told``.
OPEN = """
    const { Connection } = await import("/connection.js");
    const ownFetch = window.ownFetch ??= window.fetch;
    const told = (window.told = []);
    window.fetch = async (address, options) => {
      if (window.explaining && String(address).endsWith("/v1/status")) {
        told.push("asked why");
        await window.explaining;
      }
      if (!String(address).endsWith("/v1/place")) return ownFetch(address, options);
      told.push(`asked ${options.method}`);
      if (window.answering) await window.answering;
      return new Response(JSON.stringify(window.place ?? args[0]), { status: args[1] ?? 200 });
    };
    const on = {
      connecting() {}, message({ type }) { told.push(type); }, media() {},
      lost: ({ text, hint }) => told.push(`lost: ${text} ${hint}`),
      ended: ({ text, hint }) => told.push(`ended: ${text} ${hint}`),
    };
    window.connection = new Connection({ token: "", place: "/v1/place", start: () => ({ type: "start" }), on });
    window.connection.open();
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ServeProcess]:
    with ServeProcess("--size", "128", "--max-sessions", "2", "--workers", "1") as running:
        yield running


@pytest.fixture
def tab(server: ServeProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_browser("chromium", tmp_path_factory.mktemp("browser") / "profile") as opened:
        opened.open(server.url)
        yield opened
        opened.run("window.connection.close()")


def test_it_opens_the_session_at_the_place(tab: Tab, server: ServeProcess) -> None:
    tab.run(OPEN, {"session": server.url.replace("http", "ws") + "/v1/session"})
    tab.wait("told.includes('ready')")
    assert tab.run("return told[0]") == "asked POST"


def test_a_machine_that_is_not_reached_is_said_and_asked_for_again(tab: Tab) -> None:
    tab.run(OPEN, {"session": f"ws://127.0.0.1:{free_port()}/v1/session"})
    said = tab.wait("told.find((each) => each.startsWith('lost'))")
    assert said == "lost: The machine that opens the session did not take it. The page tries again by itself."
    tab.wait("told.filter((each) => each === 'asked POST').length === 2")


def test_a_session_that_the_browser_does_not_open_is_the_end(tab: Tab) -> None:
    tab.run("window.WebSocket = function () { throw new DOMException('no', 'SecurityError'); }")  # as over https
    tab.run(OPEN, {"session": "ws://10.0.0.3:8900/v1/session"})
    assert "open the page over http" in tab.wait("told.find((each) => each.startsWith('ended'))")


def test_it_can_be_ended_while_it_asks(tab: Tab, server: ServeProcess) -> None:
    tab.run("window.answering = new Promise((resolve) => { window.answer = resolve; })")
    tab.run(OPEN, {"session": server.url.replace("http", "ws") + "/v1/session"})
    tab.wait("told.length === 1")
    tab.run("connection.close(); answer(); await answering; await new Promise((resolve) => setTimeout(resolve))")
    assert tab.run("return [told.length, connection.isOpen]") == [1, False]


def test_a_click_while_it_asks_why_the_last_try_failed_opens_one_session(tab: Tab, server: ServeProcess) -> None:
    """With two, the first would be let go without an end, and hold its place on the server."""
    tab.run("window.explaining = new Promise((resolve) => { window.explain = resolve; })")
    tab.run(OPEN, {"session": f"ws://127.0.0.1:{free_port()}/v1/session"})
    tab.wait("told.includes('asked why')")
    tab.run("window.answering = new Promise((resolve) => { window.answer = resolve; })")
    tab.run("window.place = args[0]", {"session": server.url.replace("http", "ws") + "/v1/session"})
    tab.run("connection.retry()")
    tab.run("explain(); await explaining; await ownFetch('/v1/status'); await ownFetch('/v1/status'); answer()")
    tab.wait("told.includes('ready')")
    assert tab.run("return told.filter((each) => each.startsWith('lost'))") == []


@pytest.mark.parametrize(("status", "said"), [(401, "ended: This server asks for a token."), (503, "lost: ")])
def test_a_refusal_is_said(tab: Tab, status: int, said: str) -> None:
    tab.run(OPEN, {}, status)
    assert tab.wait("told[1]").startswith(said)
