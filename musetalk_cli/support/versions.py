"""Which musetalk this is: version, commit, the versions of its libraries, and where its bugs are reported."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path

import musetalk_cli

PACKAGE = Path(musetalk_cli.__file__).parent
GIT_S = 5.0
# Labels of [project.urls], in the order in which they are preferred.
REPORT_LABELS = ("issues", "bug tracker", "tracker", "bugs", "issue tracker", "repository", "source", "homepage")


def describe_version() -> str:
    """``0.1.0, commit 1a2b3c4``, with ``modified`` where the clone has changes; the version alone without a commit."""
    commit = find_commit()
    return f"{musetalk_cli.__version__}, commit {commit}" if commit else musetalk_cli.__version__


def find_commit() -> str:
    """The commit that was installed or that the clone is at, shortened; empty where nobody knows it."""
    installed = own_distribution()
    with suppress(OSError, ValueError, AttributeError):
        recorded = json.loads((installed and installed.read_text("direct_url.json")) or "{}")
        if commit := recorded.get("vcs_info", {}).get("commit_id"):
            return str(commit)[:7]
    return _commit_of_clone()


def own_distribution() -> Distribution | None:
    """What the installer has recorded of this package; None where it was not installed.

    Another project has the name on PyPI, so the record must be ours.
    """
    with suppress(PackageNotFoundError, OSError, ValueError):
        found = distribution("musetalk")
        if any(point.value.startswith(f"{PACKAGE.name}.") for point in found.entry_points):
            return found
    return None


def library_version(name: str) -> str:
    """The version of a distribution; empty where it is not installed."""
    with suppress(PackageNotFoundError, OSError, ValueError, TypeError):
        return version(name) or ""
    return ""


def report_address() -> str:
    """Where bugs are reported, as the package's metadata say; empty where they do not."""
    installed = own_distribution()
    lines = (installed.metadata.get_all("Project-URL") or []) if installed else []
    urls = {label.strip().lower(): url.strip() for label, _, url in (line.partition(",") for line in lines)}
    return next((urls[label] for label in REPORT_LABELS if label in urls), "")


def _commit_of_clone() -> str:
    if not (PACKAGE.parent / ".git").exists():
        return ""
    commit = _git("rev-parse", "--short=7", "HEAD")
    is_modified = bool(commit) and bool(_git("status", "--porcelain", "--untracked-files=no", "--", str(PACKAGE)))
    return f"{commit}, modified" if is_modified else commit


def _git(*arguments: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_S,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""
