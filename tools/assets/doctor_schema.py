"""Write docs/doctor.schema.json, what ``musetalk doctor --json`` prints: python -m tools.assets.doctor_schema."""

from __future__ import annotations

import json
from pathlib import Path

from musetalk_cli.doctor.page import describe_json

DOCUMENT = Path("docs/doctor.schema.json")


def main() -> None:
    DOCUMENT.write_text(json.dumps(describe_json(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
