from __future__ import annotations

import json
import logging

import pytest

from musetalk_cli.serve.front.logs import Log, log_libraries, shown_path


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Log("json")("session\nopened", client="a\nb", text="x" * 1000, nothing=None, number=3)
    (line,) = capsys.readouterr().err.splitlines()
    content = json.loads(line)
    assert content["time"].endswith("Z")
    assert (content["level"], content["event"], content["client"]) == ("info", "session\nopened", "a\nb")
    assert len(content["text"]) == 300
    assert "nothing" not in content


def test_text_is_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    Log("text")("request", path="/\n\x1b[31m", status=200)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith('info: request path="/\\n\\u001b[31m" status=200')


def test_a_librarys_traceback_is_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    root, handlers = logging.getLogger(), list(logging.getLogger().handlers)
    try:
        log_libraries(Log("json"))
        logging.getLogger("uvicorn.error").warning("what clients do")
        try:
            raise ValueError("bad\nthing")
        except ValueError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
        (line,) = capsys.readouterr().err.splitlines()
    finally:
        root.handlers[:] = handlers
    content = json.loads(line)
    assert (content["level"], content["library"]) == ("error", "uvicorn.error")
    assert content["error"] == "ValueError: bad\nthing"
    assert "test_logs.py:" in content["where"]


def test_a_sessions_id_is_not_shown() -> None:
    assert shown_path("/v1/sessions/abc-123/live.mp4") == "/v1/sessions/.../live.mp4"
    assert shown_path("/v1/avatars") == "/v1/avatars"
