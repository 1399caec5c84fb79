"""What a client is told of a message that cannot be taken: its field, and why."""

from __future__ import annotations

import pytest

from musetalk_cli.serve.protocol import BadMessageError, read_client_message


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('{"type": "start", "colour": 1}', "colour: there is no such field"),
        ('{"type": "start", "fps": NaN}', "fps: Input should be a finite number"),
        ('{"type": "start", "fps": "25"}', "fps: Input should be a valid number"),
        ('{"type": "ping", "id": -1}', "id: Input should be greater than or equal to 0"),
        ('{"type": "begin"}', "type: must be start, end_utterance, clear, finish or ping"),
        ("[]", "message: Input should be an object"),
    ],
)
def test_a_field_is_named_as_clients_know_it(message: str, said: str) -> None:
    with pytest.raises(BadMessageError) as refused:
        read_client_message(message)
    assert str(refused.value) == said
