"""The report: begun anew or gone on with, and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from musetalk_cli.app.batch.item import BatchItem, ItemResult
from musetalk_cli.app.batch.report_file import ReportFile, read_report
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import SinkError

OLD = '{"input": "old.wav", "output": "old.mp4"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.jsonl"


def test_an_older_report_is_replaced_only_if_that_is_asked_for(path: Path) -> None:
    path.write_text(OLD)
    with pytest.raises(SinkError, match="exists already"):
        ReportFile(path, resumes=False, overwrite=False)
    assert path.read_text() == OLD
    ReportFile(path, resumes=False, overwrite=True).close()
    assert path.read_text() == ""


@pytest.mark.parametrize(("before", "after"), [("", ""), (OLD, OLD), (f"{OLD}{{", f"{OLD}{{\n"), ("{", "{\n")])
def test_a_line_that_broke_off_is_ended(path: Path, before: str, after: str) -> None:
    path.write_text(before)
    ReportFile(path, resumes=True, overwrite=False).close()
    assert path.read_text() == after


@pytest.mark.parametrize("before", [b"RIFF\0\0", b'{"voice": "a.wav"}\n', b"voice,output\n", b"{}", b"\n"])
@pytest.mark.parametrize("resumes", [False, True])
def test_a_file_that_is_no_report_is_left_as_it_is(path: Path, before: bytes, resumes: bool) -> None:
    path.write_bytes(before)
    with pytest.raises(SinkError, match="is no report"):
        ReportFile(path, resumes=resumes, overwrite=not resumes)
    assert path.read_bytes() == before


def test_a_line_is_there_as_soon_as_an_item_is_done(path: Path) -> None:
    report = ReportFile(path, resumes=False, overwrite=False)
    report.add(ItemResult(BatchItem("a.wav", "a.mp4", Config()), num_frames=25))
    assert read_report(path)["a.mp4"]["frames"] == 25
    report.close()


def test_one_run_at_a_time_writes_a_report(path: Path) -> None:
    first = ReportFile(path, resumes=True, overwrite=False)
    with pytest.raises(SinkError, match="is in use by another run"):
        ReportFile(path, resumes=True, overwrite=False)
    first.close()
    ReportFile(path, resumes=True, overwrite=False).close()


def test_what_is_no_record_is_left_out(path: Path) -> None:
    path.write_text('{"output": "a.mp4", "frames": 1}\n[1]\n7\n{"frames": 2}\n{"output": 3}\n{"output": "a.mp4", "fr')
    assert read_report(path) == {"a.mp4": {"output": "a.mp4", "frames": 1}}
    assert read_report(path.with_name("none")) == {}
