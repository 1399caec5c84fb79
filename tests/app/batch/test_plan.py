"""What is left to do, and what is refused before work starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from musetalk_cli.app.batch.item import BatchItem, ItemResult
from musetalk_cli.app.batch.plan import Rules, plan_all, plan_queue, remove_unfinished
from musetalk_cli.app.batch.report_file import ReportFile, read_report
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import AvatarError, SinkError

NEW = Rules(overwrite=False, resumes=False, records={})


def item(voice: str, output: Path | str) -> BatchItem:
    return BatchItem(voice, str(output), Config())


def test_what_is_read_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "me.mp4"):
        Path(name).write_bytes(b"mine")
    anew = replace(NEW, overwrite=True)
    with pytest.raises(SinkError, match=r"me.mp4 is a voice and would be replaced"):
        plan_all([item("a.wav", "me.mp4"), item("me.mp4", "b.mp4")], anew)
    own = replace(item("a.wav", "me.mp4"), config=Config(avatar="./me.mp4"))
    with pytest.raises(SinkError, match=r"avatar and output are the same file: me.mp4"):
        plan_all([own], anew)
    (queued,) = plan_queue([own], anew)
    assert "avatar and output are the same file" in queued.problem


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([("x/a.wav", "a.mp4"), ("y/a.wav", "b/../a.mp4")], "x/a.wav and y/a.wav would both become"),
        ([("a.mp4", "a.mp4")], "would be its own output"),
        ([("-", "a.mp4"), ("-", "b.mp4")], "standard input is named twice"),
        ([("a.wav", "a.gif")], "does not make .gif files"),
        ([("tone-0.2-1.wav", "old.mp4")], "old.mp4 exists already"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path,
    tone_wav: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    items: list[tuple[str, str]],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    tone_wav(0.2)
    (tmp_path / "b").mkdir()
    (tmp_path / "old.mp4").touch()
    with pytest.raises(SinkError, match=words):
        plan_all([item(*each) for each in items], NEW)
    *_, last = plan_queue((item(*each) for each in items), NEW)
    assert words in last.problem


def test_every_wrong_line_of_a_manifest_is_named(tmp_path: Path) -> None:
    unknown = replace(Config(), avatar="nobody")
    items = [
        BatchItem("a.wav", str(tmp_path / "a.mp4"), Config(), "m.csv:2"),
        BatchItem("b.wav", str(tmp_path / "b.avi"), Config(), "m.csv:3"),
        BatchItem("c.wav", str(tmp_path / "c.mp4"), unknown, "m.csv:4"),
        BatchItem("d.wav", str(tmp_path / "d.gif"), Config(), "m.csv:5"),
    ]
    with pytest.raises(SinkError, match=r"^m\.csv:3: cannot write .*\.avi files$") as wrong:
        plan_all(items, NEW)
    assert wrong.value.hint.endswith("; wrong are also the lines 4, 5")
    with pytest.raises(AvatarError, match=r"^m\.csv:4: .*nobody"):
        plan_all(items[2:3], NEW)
    elsewhere = replace(NEW, takes_stored=True)
    assert plan_all(items[2:3], elsewhere)[0] == items[2:3], "other machines may have the avatar"


def test_a_resumed_batch_leaves_what_is_whole(tmp_path: Path) -> None:
    items = [item(f"{name}.wav", tmp_path / f"{name}.mp4") for name in ("same", "other", "failed", "unsaid", "missing")]
    for each in items[:4]:
        Path(each.output).write_bytes(b"1234")
    report = tmp_path / "report.jsonl"
    file = ReportFile(report, resumes=False, overwrite=False)
    for each, num_bytes, error in ((items[0], 4, ""), (items[1], 5, ""), (items[2], 0, "no"), (items[4], 4, "")):
        file.add(ItemResult(each, 1, 1.0, 1.0, num_bytes, error))
    file.close()
    with report.open("ab") as broken:
        broken.write(b'{"input": "unsaid.wav", "outp')
    rules = Rules(overwrite=False, resumes=True, records=read_report(report))
    to_do, done = plan_all(items, rules)
    assert [each.voice for each in to_do] == ["other.wav", "failed.wav", "missing.wav"]
    assert [each.voice for each in done] == ["same.wav", "unsaid.wav"]
    assert list(plan_queue(items, rules)) == to_do


def test_what_a_killed_run_has_left_is_removed(tmp_path: Path) -> None:
    names = (".a.part1.mp4", ".a.part12.mp4", ".b.part1.mp4", "a.part1.mp4", ".a.part1.mov")
    for name in names:
        (tmp_path / name).touch()
    remove_unfinished([item("a.wav", tmp_path / "a.mp4"), item("x.wav", tmp_path / "no" / "x.mp4")])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])


def test_a_report_goes_on_behind_a_line_that_broke_off(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    report.write_bytes(b'{"input": "a.wav", "output": "a.mp4"}\n{"inp')
    with pytest.raises(SinkError, match="exists already"):
        ReportFile(report, resumes=False, overwrite=False)
    file = ReportFile(report, resumes=True, overwrite=False)
    file.add(ItemResult(item("b.wav", "b.mp4"), 25, 1.0, 0.5, 9))
    with pytest.raises(SinkError, match="in use by another run"):
        ReportFile(report, resumes=True, overwrite=False)
    file.close()
    records = read_report(report)
    assert set(records) == {"a.mp4", "b.mp4"}
    made = {"frames": 25, "seconds": 1.0, "elapsed_s": 0.5, "speed": 2.0, "bytes": 9, "error": None}
    assert records["b.mp4"] == {"input": "b.wav", "avatar": "nora", "output": "b.mp4", **made}
