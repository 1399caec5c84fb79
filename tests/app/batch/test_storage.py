"""Files by address: a store in memory, and folders that are reached as stores are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from musetalk_cli.app.batch.inputs import find_folder, list_items
from musetalk_cli.app.batch.item import BatchItem, ItemResult
from musetalk_cli.app.batch.plan import Rules, plan_all, remove_unfinished
from musetalk_cli.app.batch.storage import StoredSizes, download, is_stored, join, list_files, upload
from musetalk_cli.app.cluster.local_copies import LocalCopies
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import SinkError, SourceError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store() -> Iterator[str]:
    """The address of a bucket in memory."""
    system = fsspec.filesystem("memory")
    system.pipe("/bucket/voices/a.wav", b"first")
    system.pipe("/bucket/voices/unit1/b.mp3", b"second")
    system.pipe("/bucket/voices/notes.txt", b"")
    yield "memory://bucket"
    system.rm("/bucket", recursive=True)


def read(name: str) -> bytes:
    with fsspec.open(name) as file:
        return bytes(file.read())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("s3://b/a.wav", True), ("file:///a.wav", True), ("https://h/a.wav", False), ("rtsp://h/a", False), ("a", False)],
)
def test_ffmpeg_reads_what_it_can(name: str, expected: bool) -> None:
    assert is_stored(name) is expected


def test_names_below_a_folder() -> None:
    assert join("out", "unit1/a.mp4") == "out/unit1/a.mp4"
    assert join("s3://bucket/out/", "unit1/a.mp4") == "s3://bucket/out/unit1/a.mp4"
    assert join("out", "s3://bucket/a.mp4") == "s3://bucket/a.mp4"


def test_a_stored_folder_is_listed_with_all_below_it(store: str) -> None:
    told: list[str] = []
    folder = find_folder([f"{store}/out"], takes_stored=True)
    items = list_items([f"{store}/voices/", f"{store}/voices/a.wav"], folder, Config(), told.append, takes_stored=True)
    assert [(item.voice, item.output) for item in items] == [
        (f"{store}/voices/a.wav", f"{store}/out/a.mp4"),
        (f"{store}/voices/unit1/b.mp3", f"{store}/out/unit1/b.mp4"),
        (f"{store}/voices/a.wav", f"{store}/out/a.mp4"),
    ]
    assert told == [f"{store}/voices/: 1 file is no audio by name and left out, such as notes.txt"]


def test_one_machine_says_who_writes_to_a_store(store: str) -> None:
    with pytest.raises(SinkError, match="is no folder") as refused:
        find_folder([f"{store}/out"])
    assert refused.value.hint == "--ray writes there"
    with pytest.raises(SinkError, match=r"cannot write to memory://bucket/a\.mp4"):  # what a manifest names
        plan_all([BatchItem("a.wav", f"{store}/a.mp4", Config())], Rules(False, False, {}))


def test_what_is_stored_is_known_by_its_size(store: str) -> None:
    names = ("same", "other", "missing")
    items = [BatchItem(f"{name}.wav", f"{store}/out/{name}.mp4", Config()) for name in names]
    for item in items[:2]:
        fsspec.filesystem("memory").pipe(item.output.removeprefix("memory:/"), b"1234")
    records = {
        item.output: ItemResult(item, num_bytes=size).as_record() for item, size in zip(items, (4, 5), strict=False)
    }
    to_do, done = plan_all(items, Rules(False, True, records, True))
    assert [item.voice for item in to_do] == ["other.wav", "missing.wav"]
    assert [item.voice for item in done] == ["same.wav"]
    remove_unfinished(to_do)
    with pytest.raises(SinkError, match="exists already"):
        plan_all(items, Rules(False, False, {}, True))


def test_a_folder_is_listed_once(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = StoredSizes._list
    monkeypatch.setattr(StoredSizes, "_list", lambda self, folder: asked.append(folder) or real(self, folder))
    sizes = StoredSizes()
    assert [sizes.find(f"{store}/voices/{name}") for name in ("a.wav", "b.wav", "c.wav")] == [5, None, None]
    assert asked == [f"{store}/voices"]


def test_an_item_is_rendered_between_two_copies(store: str) -> None:
    folder = fsspec.filesystem("memory")
    folder.pipe("/bucket/anna/avatar.json", b"{}")
    config = replace(Config(), avatar=f"{store}/anna")
    item = BatchItem(f"{store}/voices/a.wav", f"{store}/out/a.mp4", config)
    copies = LocalCopies()
    with copies.of(item) as each:
        local = each.fetch()
        assert Path(local.voice).read_bytes() == b"first"
        assert (Path(local.config.avatar) / "avatar.json").read_bytes() == b"{}"
        Path(local.output).write_bytes(b"video")
        each.deliver(local)
    assert read(item.output) == b"video"
    assert not Path(local.voice).exists()
    with copies.of(item) as again:
        assert again.fetch().config.avatar == local.config.avatar
    copies.close()
    assert not Path(local.config.avatar).exists()


def test_a_video_has_its_name_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is a folder, where others would find a file that grows."""
    from fsspec.implementations.local import LocalFileSystem

    (tmp_path / "a.mp4").write_bytes(b"video")
    seen: list[list[str]] = []
    real = LocalFileSystem.put_file

    def put_file(self: LocalFileSystem, source: str, target: str, **options: object) -> None:
        real(self, source, target, **options)
        seen.append(sorted(path.name for path in (tmp_path / "out").iterdir()))

    monkeypatch.setattr(LocalFileSystem, "put_file", put_file)
    upload(tmp_path / "a.mp4", f"file://{tmp_path}/out/b.mp4")
    assert seen == [[".b.part1.mp4"]]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.mp4"]


def test_what_is_wrong_with_an_address_is_told(store: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read memory://bucket/none\.wav: no such file"):
        download(f"{store}/none.wav", tmp_path / "a")
    with pytest.raises(SourceError, match=r"cannot read nowhere://bucket/a\.wav: Protocol not known"):
        download("nowhere://bucket/a.wav", tmp_path / "a")
    with pytest.raises(SourceError, match=r"cannot read nowhere://bucket: Protocol not known"):
        list_files("nowhere://bucket")
    (tmp_path / "b.mp4").touch()
    with pytest.raises(SinkError, match=r"cannot write nowhere://bucket/b\.mp4: Protocol not known"):
        upload(tmp_path / "b.mp4", "nowhere://bucket/b.mp4")
