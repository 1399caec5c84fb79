"""docs/server.md and docs/protocol.schema.json are true: they have every message, field, bound and close code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import VERSION

from musetalk_cli.serve.protocol import (
    CLIENT_MESSAGES,
    SERVER_MESSAGES,
    CloseCode,
    Start,
    describe_protocol,
    read_client_message,
)

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
CLIENT, SERVER = re.findall(r"### From the \w+\n(.*?)(?=\n###)", DOCUMENT, re.DOTALL)
EXAMPLE = re.compile(r"^\| `(\{.*\})` \|", re.MULTILINE)
TYPE = re.compile(r'"type": "(\w+)"')


def types_of(adapter: object) -> set[str]:
    schema = adapter.json_schema()  # type: ignore[attr-defined]
    return set(schema["discriminator"]["mapping"])


@pytest.mark.skipif(tuple(map(int, VERSION.split(".")[:2])) < (2, 10), reason="older ones describe less of a field")
def test_the_schema_is_up_to_date() -> None:
    """Write it with: python -m tools.assets.protocol_schema."""
    assert json.loads((ROOT / "docs" / "protocol.schema.json").read_text()) == describe_protocol()


def test_every_message_of_the_client_has_an_example_that_is_one() -> None:
    examples = EXAMPLE.findall(CLIENT)
    assert {read_client_message(example).type for example in examples} == types_of(CLIENT_MESSAGES)


def test_every_message_of_the_server_has_an_example_that_is_one() -> None:
    examples = EXAMPLE.findall(SERVER)
    assert {SERVER_MESSAGES.validate_json(example).type for example in examples} == types_of(SERVER_MESSAGES)


def test_every_field_of_start_stands_there_with_its_bounds() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", CLIENT, re.MULTILINE))
    properties = Start.model_json_schema()["properties"]
    assert set(rows) == set(properties) - {"type"}
    for name, row in rows.items():
        bounds = re.findall(r'"(?:minimum|maximum)": ([\d.]+)', json.dumps(properties[name]))
        said = {float(number) for number in re.findall(r"[\d.]*\d", row)}
        assert {float(bound) for bound in bounds} <= said, name


@pytest.mark.parametrize("code", list(CloseCode))
def test_every_close_code_stands_there(code: CloseCode) -> None:
    name = "–" if code is CloseCode.FINISHED else f"`{code.name.lower()}`"
    assert re.search(rf"^\| {code.value} \| {name} \| .+ \|$", DOCUMENT, re.MULTILINE)
