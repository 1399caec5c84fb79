"""Make README.md's animated image, ``docs/nora.webp``: the packaged speech sample, rendered and scaled down.

python -m tools.assets.showcase
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from fixtures.programs import find_ffmpeg

IMAGE = Path("docs/nora.webp")
SHRINK = "fps=12.5,crop=iw*0.62:ih*0.72:iw*0.19:ih*0.08,scale=360:-2:flags=lanczos"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "hello.mp4"
        render = [sys.executable, "-m", "musetalk_cli", "render", "examples/hello.wav", "-q", "-o", str(video)]
        subprocess.run([*render, "--preset", "quality", "--no-user-config"], check=True)
        webp = ["-vf", SHRINK, "-c:v", "libwebp_anim", "-loop", "0", "-quality", "60", "-compression_level", "6"]
        subprocess.run([find_ffmpeg(), "-v", "error", "-y", "-i", str(video), "-an", *webp, str(IMAGE)], check=True)
    print(f"{IMAGE}: {IMAGE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
