"""Write docs/protocol.schema.json, the messages of ``musetalk serve``: python -m tools.assets.protocol_schema."""

from __future__ import annotations

import json
from pathlib import Path

from musetalk_cli.serve.protocol import describe_protocol

if __name__ == "__main__":
    Path("docs/protocol.schema.json").write_text(json.dumps(describe_protocol(), indent=1) + "\n", encoding="utf-8")
