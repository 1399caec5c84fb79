from __future__ import annotations

import errno
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import pytest

from fixtures.media import cut_stream, read_frames
from musetalk_cli.engine.outputs import remux, targets
from musetalk_cli.engine.outputs.destinations import parse_destination
from musetalk_cli.engine.outputs.drop_oldest import DropOldestQueue
from musetalk_cli.engine.outputs.fan_out import FanOut
from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.hls import HlsFolder, SegmentCheck
from musetalk_cli.engine.outputs.remux import RemuxTarget, build_remux_args
from musetalk_cli.engine.outputs.sink_group import SinkGroup
from musetalk_cli.engine.outputs.sinks import FileSink, Sink
from musetalk_cli.engine.outputs.targets import LocalTarget, Target
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.errors import SinkError

RATE = Fraction(25)


def fragment(number: int, *, is_keyframe: bool = False) -> Fragment:
    return Fragment(b"%d " % number, num_frames=1, is_keyframe=is_keyframe)


def taken(queue: DropOldestQueue) -> list[int]:
    queue.finish()
    numbers = []
    while (found := queue.take()) is not None:
        numbers.append(int(found.data))
    return numbers


def test_a_full_queue_drops_the_oldest_groups_and_begins_with_a_keyframe() -> None:
    queue = DropOldestQueue(max_frames=20)
    for number in range(45):
        queue.put(fragment(number, is_keyframe=number % 8 == 0))
    assert taken(queue) == list(range(32, 45))
    assert queue.num_dropped == 32


def test_a_group_larger_than_the_queue_is_dropped_until_the_next_keyframe() -> None:
    queue = DropOldestQueue(max_frames=5)
    for number in range(12):
        queue.put(fragment(number, is_keyframe=number in (0, 10)))
    assert taken(queue) == [10, 11]
    assert queue.num_dropped == 10


def test_nothing_comes_before_the_first_keyframe() -> None:
    queue = DropOldestQueue()
    for number in range(4):
        queue.put(fragment(number, is_keyframe=number == 2))
    assert taken(queue) == [2, 3]


def test_a_target_that_begins_anew_gets_the_newest_group() -> None:
    queue = DropOldestQueue()
    for number in range(30):
        queue.put(fragment(number, is_keyframe=number % 10 == 0))
    queue.skip_to_newest()
    assert taken(queue) == list(range(20, 30))


@pytest.mark.parametrize(("num_frames", "kept"), [(35, range(30, 35)), (31, range(30, 31)), (6, range(6))])
def test_an_interrupted_target_that_is_behind_goes_on_with_the_last_keyframe(num_frames: int, kept: range) -> None:
    queue = DropOldestQueue()
    for number in range(num_frames):
        queue.put(fragment(number, is_keyframe=number % 10 == 0))
    queue.skip_to_keyframe()
    assert taken(queue) == list(kept)
    assert queue.num_dropped == num_frames - len(kept)


def test_an_interrupted_target_without_a_keyframe_stands_still_for_nothing() -> None:
    queue = DropOldestQueue()
    for number in range(4):
        queue.put(fragment(number, is_keyframe=number == 0))
    assert queue.take() is not None
    queue.skip_to_keyframe()
    assert taken(queue) == [1, 2, 3]


def test_only_a_file_gets_what_was_interrupted(tmp_path: Path) -> None:
    class Stalled(Target):
        where = None

        def _deliver(self) -> None:
            pass

    file = LocalTarget(FileSink("take.mp4", tmp_path / "take.mp4"), lambda text: None)
    server = Stalled("server", lambda text: None)
    fan_out = FanOut([file, server], "retry", lambda text: None)
    for number in range(35):
        fan_out.write(fragment(number, is_keyframe=number % 10 == 0))
    fan_out.drop_waiting()
    assert (file.queue.num_frames, server.queue.num_frames) == (35, 5)


def test_a_queue_that_is_waited_for_drops_nothing() -> None:
    queue, got = DropOldestQueue(max_frames=4), []

    def drain() -> None:
        while (found := queue.take()) is not None:
            time.sleep(0.002)
            got.append(int(found.data))

    reader = threading.Thread(target=drain)
    reader.start()
    waited_s = 0.0
    for number in range(40):
        waited_s += queue.wait_for_room()
        queue.put(fragment(number, is_keyframe=number == 0))
    queue.finish()
    reader.join()
    assert got == list(range(40))
    assert queue.num_dropped == 0
    assert waited_s > 0


class Collector:
    """A Sink that keeps the bytes; ``gate`` closed, it is frozen; with an error it breaks."""

    def __init__(self, name: str, error: BaseException | None = None) -> None:
        self.name = name
        self.where: str | None = None
        self.data = b""
        self.gate = threading.Event()
        self.gate.set()
        self.is_whole: bool | None = None
        self._error = error

    def begin(self, init_segment: InitSegment) -> None:
        self._take(init_segment.data)

    def write(self, fragment: Fragment) -> None:
        self._take(fragment.data)

    def cancel(self) -> None:
        self.gate.set()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        self.is_whole = is_whole
        self.where = self.name if is_whole else None

    def _take(self, data: bytes) -> None:
        self.gate.wait(20)
        if self._error and self.data:
            raise self._error
        self.data += data


def local(*sinks: Collector) -> list[Target]:
    return [LocalTarget(sink, lambda text: None) for sink in sinks]


def write(sink: Sink, fragments: Sequence[Fragment], pause_s: float = 0.001) -> None:
    for fragment in fragments:
        sink.write(fragment)
        time.sleep(pause_s)


def send(sink: Sink, stream: bytes, pause_s: float = 0.001) -> None:
    init_segment, fragments = cut_stream(stream)
    sink.begin(init_segment)
    write(sink, fragments, pause_s)


def test_all_targets_get_every_byte(live_stream: bytes) -> None:
    sinks = [Collector("a"), Collector("b")]
    counted: list[int] = []
    fan_out = FanOut(local(*sinks), "retry", lambda text: None)
    fan_out.on_frames = counted.append
    send(fan_out, live_stream)
    fan_out.close(is_whole=True, is_final=True)
    assert [sink.data == live_stream for sink in sinks] == [True, True]
    assert sum(counted) == 300
    assert fan_out.where == "a, b"


def test_a_frozen_target_holds_up_nobody_and_goes_on_at_a_keyframe(live_stream: bytes, ffmpeg: str) -> None:
    quick, frozen = Collector("quick"), Collector("frozen")
    fan_out = FanOut(local(quick, frozen), "retry", lambda text: None)
    init_segment, fragments = cut_stream(live_stream)
    cut = len(fragments) // 6
    fan_out.begin(init_segment)
    write(fan_out, fragments[:cut])
    frozen.gate.clear()
    write(fan_out, fragments[cut : 5 * cut])
    assert len(quick.data) > len(live_stream) // 2
    frozen.gate.set()
    write(fan_out, fragments[5 * cut :])
    fan_out.close(is_whole=True, is_final=True)
    assert quick.data == live_stream
    health = {target.name: target for target in fan_out.health()}
    assert health["frozen"].num_dropped > 0
    assert health["quick"].num_dropped == 0
    assert len(read_frames(ffmpeg, frozen.data, 64, 64)) == 300 - health["frozen"].num_dropped


def test_a_target_that_dies_leaves_the_others_alone(live_stream: bytes) -> None:
    told: list[str] = []
    good, bad = Collector("good"), Collector("bad", SinkError("no space left"))
    fan_out = FanOut(local(good, bad), "retry", told.append)
    send(fan_out, live_stream)
    with pytest.raises(SinkError, match="no space left"):
        fan_out.close(is_whole=True, is_final=True)
    assert good.data == live_stream
    assert (good.is_whole, bad.is_whole) == (True, False)
    assert told == ["bad is gone: no space left"]


def test_the_last_reader_that_goes_ends_it(live_stream: bytes) -> None:
    fan_out = FanOut(local(Collector("player", BrokenPipeError())), "retry", lambda text: None)
    with pytest.raises(BrokenPipeError):
        send(fan_out, live_stream)
    fan_out.close(is_whole=False, is_final=False)


def test_stop_on_loss(live_stream: bytes) -> None:
    fan_out = FanOut(local(Collector("good"), Collector("bad", SinkError("gone"))), "stop", lambda text: None)
    with pytest.raises(SinkError, match="gone"):
        send(fan_out, live_stream)
    fan_out.close(is_whole=False, is_final=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("udp://127.0.0.1", "lacks a port"),
        ("srt://host", "lacks a port"),
        ("udp://host:notaport", "lacks a port"),
        ("rtmp://", "names no host"),
        ("ftp://host/x", "cannot stream to 'ftp://'"),
        ("no/such/deep/", "there is no folder"),
        ("100%d/", "takes its % for a number"),
    ],
)
def test_addresses_that_cannot_work(text: str, words: str) -> None:
    with pytest.raises(SinkError, match=words):
        parse_destination(text, overwrite=False)


def test_a_scheme_that_was_mistyped_is_corrected() -> None:
    with pytest.raises(SinkError) as caught:
        parse_destination("rtpm://host/live/key", overwrite=False)
    assert caught.value.hint == "did you mean 'rtmp'?"


def test_addresses_that_can(tmp_path: Path) -> None:
    assert parse_destination("-", overwrite=False) is None
    assert parse_destination("talk.mp4", overwrite=False) is None
    rtmp = parse_destination("rtmp://host/live/secret", overwrite=False)
    assert rtmp
    assert rtmp.name == "rtmp://host/live/…", "a stream key is a password"
    assert rtmp.url == "rtmp://host/live/secret"
    srt = parse_destination("srt://host:9000?passphrase=secret", overwrite=False)
    assert srt
    assert srt.name == "srt://host:9000"
    assert srt.url.endswith("?passphrase=secret&pkt_size=1316")
    hls = parse_destination(f"{tmp_path}/-x:y/", overwrite=False)
    assert hls
    assert build_remux_args("ffmpeg", hls)[-1] == f"file:{tmp_path}/-x:y/index.m3u8"
    (tmp_path / "index.m3u8").touch()
    with pytest.raises(SinkError, match="exists already"):
        parse_destination(str(tmp_path), overwrite=False)


@pytest.mark.parametrize("has_old", [False, True])
def test_a_folder_of_hls_segments(live_stream: bytes, ffmpeg: str, tmp_path: Path, has_old: bool) -> None:
    if has_old:
        (tmp_path / "live").mkdir()
        (tmp_path / "live" / "index.m3u8").write_text("#EXTM3U\n#EXTINF:2,\nindex.00000.m4s\n#EXT-X-ENDLIST\n")
        (tmp_path / "live" / "index.00099.m4s").touch()
    destination = parse_destination(f"{tmp_path}/live/", overwrite=has_old)
    assert destination
    fan_out = FanOut(
        [RemuxTarget(destination, ffmpeg, RATE, lambda text: None)], "retry", lambda text: None, waits=True
    )
    send(fan_out, live_stream)
    fan_out.close(is_whole=True, is_final=True)
    playlist = (tmp_path / "live" / "index.m3u8").read_text()
    assert playlist.count(".m4s") >= 5
    assert not (tmp_path / "live" / "index.00099.m4s").exists()
    assert {path.suffix for path in (tmp_path / "live").iterdir()} == {".m3u8", ".mp4", ".m4s"}
    assert len(read_frames(ffmpeg, tmp_path / "live" / "index.m3u8", 64, 64)) == 300


def test_old_hls_segments_are_deleted(live_stream: bytes, ffmpeg: str, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    short.write_bytes(live_stream)
    options = ["-c", "copy", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "pipe:1"]
    command = [ffmpeg, "-v", "error", "-stream_loop", "3", "-i", str(short), *options]
    long = subprocess.run(command, capture_output=True, check=True)
    destination = parse_destination(f"{tmp_path}/-x:ü/", overwrite=False)
    assert destination
    fan_out = FanOut(
        [RemuxTarget(destination, ffmpeg, RATE, lambda text: None)], "retry", lambda text: None, waits=True
    )
    send(fan_out, long.stdout)
    fan_out.close(is_whole=True, is_final=True)
    listed = (tmp_path / "-x:ü" / "index.m3u8").read_text().count(".m4s")
    assert listed == 6
    assert len(list((tmp_path / "-x:ü").glob("*.m4s"))) <= listed + 2, "48 s were 24 of them"


@pytest.mark.parametrize("has_company", [True, False])
def test_hls_on_a_full_disk_is_reported(
    live_stream: bytes, ffmpeg: str, tmp_path: Path, has_company: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    folder = tmp_path / "live"
    folder.mkdir()
    full = folder / "index.00003.m4s.tmp"
    monkeypatch.setattr(HlsFolder, "clear", lambda _: full.symlink_to("/dev/full"))
    destination = parse_destination(f"{folder}/", overwrite=False)
    assert destination
    told: list[str] = []
    others = local(Collector("good")) if has_company else []
    fan_out = FanOut([RemuxTarget(destination, ffmpeg, RATE, told.append), *others], "retry", told.append, waits=True)
    send(fan_out, live_stream)
    with nullcontext() if others else pytest.raises(SinkError, match="cut short"):
        fan_out.close(is_whole=True, is_final=True)
    assert any("index.00003.m4s was cut short, as on a full disk" in line for line in told)


def test_a_segment_that_never_got_its_name_is_missed(tmp_path: Path) -> None:
    folder = HlsFolder(tmp_path / "index.m3u8")
    folder.playlist.write_text("#EXTM3U\n#EXTINF:2,\nindex.00000.m4s\n")
    (tmp_path / "index.init.mp4").write_bytes(b"\0\0\0\x08free")
    (tmp_path / "index.00000.m4s.tmp").touch()
    assert SegmentCheck(folder).find_damage() == "index.00000.m4s is missing"
    folder.drop_remains()
    assert list(tmp_path.iterdir()) == [], "nothing in it plays"


def test_a_playlist_that_never_got_its_name_is_missed(live_stream: bytes, tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho '[info] Output #0' >&2\ncat > /dev/null\n")  # ends well, and leaves nothing
    program.chmod(0o755)
    _, fan_out, _ = send_three(live_stream, program, tmp_path)
    with pytest.raises(SinkError, match=r"index\.m3u8 is missing"):
        fan_out.close(is_whole=True, is_final=True)


class CutOff(Collector):
    """Is cancelled while it ends."""

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        super().close(is_whole=is_whole, is_final=is_final)
        raise Aborted(self.name)


def test_an_output_that_was_cut_off_at_its_end_is_not_complete(live_stream: bytes) -> None:
    for sinks in ([CutOff("file")], [CutOff("file"), Collector("other")]):
        fan_out, group = FanOut(local(*sinks), "retry", lambda text: None, waits=True), SinkGroup(sinks)
        for sink in (fan_out, group):
            send(sink, live_stream)
            with pytest.raises(Aborted):
                sink.close(is_whole=True, is_final=True)
            assert sinks[-1].is_whole, "the others are ended all the same"


def test_a_file_that_was_cut_off_is_not_final(live_stream: bytes) -> None:
    frozen = Collector("file")
    frozen.gate.clear()
    fan_out = FanOut(local(frozen), "retry", lambda text: None)
    send(fan_out, live_stream)
    threading.Timer(0.05, fan_out.cancel).start()
    with pytest.raises(Aborted):
        fan_out.close(is_whole=True, is_final=True)
    assert not frozen.is_whole


def send_three(stream: bytes, program: Path, folder: Path) -> tuple[RemuxTarget, FanOut, list[Fragment]]:
    """Three fragments for an HLS folder whose ffmpeg is ``program``; and the fragments."""
    destination = parse_destination(f"{folder}/live/", overwrite=False)
    assert destination
    target = RemuxTarget(destination, str(program), RATE, lambda text: None)
    fan_out = FanOut([target], "retry", lambda text: None, waits=True)
    init_segment, fragments = cut_stream(stream)
    fan_out.begin(init_segment)
    write(fan_out, fragments[:3], 0)
    return target, fan_out, fragments[:3]


def test_a_stream_that_ends_before_its_child_says_a_word_was_delivered(
    live_stream: bytes, ffmpeg: str, tmp_path: Path
) -> None:
    late = tmp_path / "late"
    late.write_text(f'#!/bin/sh\nsleep 0.5\nexec "{ffmpeg}" "$@"\n')
    late.chmod(0o755)
    target, fan_out, fragments = send_three(live_stream, late, tmp_path)
    fan_out.close(is_whole=True, is_final=True)
    assert target.where is not None
    assert target.health().num_bytes > sum(len(each.data) for each in fragments) / 2


def test_a_segment_that_was_cut_short_is_found_once(live_stream: bytes, tmp_path: Path) -> None:
    init_segment, fragments = cut_stream(live_stream)
    folder = HlsFolder(tmp_path / "index.m3u8")
    check = SegmentCheck(folder)
    assert check.find_damage() is None, "there is no playlist yet"
    (tmp_path / "index.init.mp4").write_bytes(init_segment.data)
    names = [f"index.{number:05}.m4s" for number in range(3)]
    for name, part in zip(names, fragments, strict=False):
        (tmp_path / name).write_bytes(part.data)
    folder.playlist.write_text("\n".join(names[:2]))
    assert check.find_damage() is None
    (tmp_path / names[2]).write_bytes(fragments[2].data[: len(fragments[2].data) // 2])
    assert check.find_damage() is None, "it is not listed yet"
    folder.playlist.write_text("\n".join(names))
    assert check.find_damage() == f"{names[2]} was cut short, as on a full disk"
    assert check.find_damage() is None, "it is known"


@pytest.mark.parametrize("name", ["index.init.mp4", "index.00007.m4s", "index.m3u8.tmp", "index.00000.m4s.tmp"])
def test_what_is_left_of_an_older_stream_is_not_replaced_unasked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(SinkError, match=f"{name} exists already"):
        parse_destination(f"{tmp_path}/", overwrite=False)
    assert (tmp_path / name).read_text() == "old"


@pytest.mark.parametrize("name", ["index.m3u8", "index.init.mp4", "index.00000.m4s", "index.m3u8.tmp"])
def test_links_in_the_folder_are_not_followed(live_stream: bytes, ffmpeg: str, tmp_path: Path, name: str) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "live"
    victim.write_text("precious")
    folder.mkdir()
    (folder / name).symlink_to(victim)
    destination = parse_destination(f"{folder}/", overwrite=True)
    assert destination
    target = RemuxTarget(destination, ffmpeg, RATE, lambda text: None)
    fan_out = FanOut([target], "retry", lambda text: None, waits=True)
    send(fan_out, live_stream)
    fan_out.close(is_whole=True, is_final=True)
    assert victim.read_text() == "precious"
    assert len(read_frames(ffmpeg, folder / "index.m3u8", 64, 64)) == 300


def test_overwriting_a_stream_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    """Only what ffmpeg's writer of HLS calls after this playlist is removed."""
    own = ["day[1].00000.m4s", "day[1].00099.m4s"]
    others = ["other.m3u8", "other.00000.m4s", "day1.00000.m4s", "day[1].mine.m4s", "day[1].init.m4s", "day.00000.m4s"]
    others += ["day[1].2024-backup.m4s", "day[1].3.final.m4s"]
    for name in (*own, *others):
        (tmp_path / name).touch()
    folder = HlsFolder(tmp_path / "day[1].m3u8")
    folder.playlist.touch()
    assert folder.tidy() == ("-start_number", "100")
    assert {path.name for path in tmp_path.iterdir()} == {*others, "day[1].m3u8"}
    (tmp_path / own[0]).touch()
    folder.clear()
    assert {path.name for path in tmp_path.iterdir()} == {*others}


class Failing(RemuxTarget):
    """Its child fails so many times, each time with 30 fragments more behind it; then the stream ends well."""

    def __init__(self, num_failures: int) -> None:
        destination = parse_destination("rtmp://127.0.0.1:1/live/key", overwrite=False)
        assert destination
        self.told: list[str] = []
        super().__init__(destination, "ffmpeg", RATE, self.told.append)
        self.begun_with: list[int] = []
        self.pauses_s: list[float] = []
        self.queue.pause = self.pauses_s.append  # type: ignore[method-assign]
        self._num_failures = num_failures
        self._add(30)

    def run(self) -> None:
        self._deliver()

    def _add(self, count: int) -> None:
        first = len(self.begun_with) * 30
        for number in range(first, first + count):
            self.queue.put(fragment(number, is_keyframe=number % 10 == 0))

    def _serve(self, first: Fragment) -> str | None:
        self.begun_with.append(int(first.data))
        if len(self.begun_with) > self._num_failures:
            return None
        self._add(30)
        return "refused"


def test_a_target_that_fails_again_and_again_is_sent_the_present_and_no_backlog() -> None:
    target = Failing(num_failures=3)
    target.run()
    assert target.begun_with == [0, 50, 80, 110], "the newest group, in which a player can begin"
    assert target.queue.num_dropped > 0
    assert target.told == [], "it was never there: whoever decides whether to go on tells"


@pytest.mark.parametrize("has_company", [False, True])
def test_a_server_that_refuses_at_the_start_is_told_of_once(
    live_stream: bytes, ffmpeg: str, tmp_path: Path, has_company: bool
) -> None:
    destination = parse_destination("rtmp://127.0.0.1:1/live/key", overwrite=False)
    assert destination is not None
    told: list[str] = []
    refused = RemuxTarget(destination, ffmpeg, RATE, told.append)
    fan_out = FanOut([refused, *(local(Collector("good")) if has_company else [])], "retry", told.append)
    init_segment, fragments = cut_stream(live_stream)
    fan_out.begin(init_segment)
    with nullcontext() if has_company else pytest.raises(SinkError, match="cannot stream to"):
        for part in fragments:
            fan_out.write(part)
            if not refused.has_failed:
                time.sleep(0.05)
    fan_out.close(is_whole=has_company, is_final=has_company)
    at_start = [text for text in told if "its end is missing" not in text]
    assert len(at_start) == has_company
    assert not at_start or "trying again while the stream goes on" in at_start[0]


def test_a_target_that_fails_is_tried_less_and_less_often() -> None:
    target = Failing(num_failures=8)
    target.run()
    assert target.pauses_s == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


def test_after_a_full_disk_hls_counts_on_and_what_was_left_is_swept_up(tmp_path: Path) -> None:
    folder = HlsFolder(tmp_path / "täglich.m3u8")
    for number in (7, 8, 9):
        (tmp_path / f"täglich.{number:05}.m4s").touch()
    (tmp_path / "täglich.00010.m4s.tmp").touch()
    (tmp_path / "other.00011.m4s").touch()
    folder.playlist.write_text("#EXTM3U\n#EXTINF:2,\ntäglich.00007.m4s\n#EXTINF:2,\ntäglich.00008.m4s\n")
    assert folder.tidy() == ()
    assert sorted(path.name for path in tmp_path.glob("*.m4s*")) == [
        "other.00011.m4s",
        "täglich.00007.m4s",
        "täglich.00008.m4s",
    ]
    folder.playlist.write_bytes("#EXTM3U\n#EXTINF:2,\ntä".encode()[:-1])
    assert folder.tidy() == ("-start_number", "9")
    assert [path.name for path in tmp_path.glob("*.m4s")] == ["other.00011.m4s"]


def test_a_child_that_can_count_no_further_is_followed_by_another(
    live_stream: bytes, ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musetalk_cli.engine.outputs.flv.LONGEST_MS", 5_000)
    destination = parse_destination(f"{tmp_path}/live/", overwrite=False)
    assert destination
    told: list[str] = []
    target = RemuxTarget(destination, ffmpeg, RATE, told.append)
    fan_out = FanOut([target], "stop", told.append, waits=True)
    send(fan_out, live_stream)
    fan_out.close(is_whole=True, is_final=True)
    playlist = tmp_path / "live" / "index.m3u8"
    assert "index.00002.m4s\n#EXT-X-DISCONTINUITY\n" in playlist.read_text(), "with the keyframe at 6 s"
    assert "index.00005.m4s\n#EXT-X-ENDLIST" in playlist.read_text()
    assert not target.has_failed


def test_a_target_that_fails_at_the_very_end_is_reported(live_stream: bytes, tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'Output #0' >&2\ncat > /dev/null\necho '[error] no space left' >&2\nexit 1\n")
    program.chmod(0o755)
    destination = parse_destination(f"{tmp_path}/live/", overwrite=False)
    assert destination
    for others in (local(Collector("good")), []):
        told: list[str] = []
        fan_out = FanOut([RemuxTarget(destination, str(program), RATE, told.append), *others], "retry", told.append)
        send(fan_out, live_stream)
        with nullcontext() if others else pytest.raises(SinkError, match="no space left"):
            fan_out.close(is_whole=True, is_final=True)
        assert told == [f"{destination.name}: its end is missing: no space left"]
        assert fan_out.where == ("good" if others else None), "nothing that plays is in the folder"


def test_an_address_without_a_server_is_an_error_in_words(live_stream: bytes, ffmpeg: str) -> None:
    destination = parse_destination("rtmp://127.0.0.1:1/live/key", overwrite=False)
    assert destination
    fan_out = FanOut([RemuxTarget(destination, ffmpeg, RATE, lambda text: None)], "retry", lambda text: None)
    with pytest.raises(SinkError, match="refused") as caught:
        send(fan_out, live_stream, pause_s=0.02)
    assert "key" not in str(caught.value)
    fan_out.close(is_whole=False, is_final=False)
    assert fan_out.where is None, "nothing has reached it"


def test_a_cancelled_target_takes_nothing_more() -> None:
    (target,) = local(Collector("player"))
    target.write(fragment(0, is_keyframe=True))
    target.cancel()
    assert target.queue.take() is None


def test_what_the_system_refuses_is_a_failure_of_the_target(
    live_stream: bytes, ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(remux.pipes, "unblock", refuse)
    destination = parse_destination(f"{tmp_path}/live/", overwrite=False)
    assert destination
    target = RemuxTarget(destination, ffmpeg, RATE, lambda text: None)
    fan_out = FanOut([target], "retry", lambda text: None, waits=True)
    init_segment, fragments = cut_stream(live_stream)
    fan_out.begin(init_segment)
    with pytest.raises(SinkError, match=r"live/index\.m3u8: invalid argument"):
        write(fan_out, fragments, 0.01)
    fan_out.close(is_whole=False, is_final=False)


def test_an_end_that_never_comes_is_no_success(
    live_stream: bytes, ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remux, "FREEZE_S", 0.3)
    stuck = tmp_path / "stuck"
    stuck.write_text("#!/bin/sh\ncat > /dev/null\nexec sleep 60\n")
    stuck.chmod(0o755)
    destination = parse_destination(f"{tmp_path}/live/", overwrite=False)
    assert destination
    fan_out = FanOut(
        [RemuxTarget(destination, str(stuck), RATE, lambda text: None)], "retry", lambda text: None, waits=True
    )
    init_segment, fragments = cut_stream(live_stream)
    fan_out.begin(init_segment)
    write(fan_out, fragments[:3], 0)
    with pytest.raises(SinkError, match="not ended within"):
        fan_out.close(is_whole=True, is_final=True)


def test_a_target_that_was_given_up_before_it_was_reached_is_no_success(
    live_stream: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "CLOSE_S", 0.3)
    stuck = tmp_path / "stuck"
    stuck.write_text("#!/bin/sh\ncat > /dev/null\nexec sleep 60\n")
    stuck.chmod(0o755)
    _, fan_out, _ = send_three(live_stream, stuck, tmp_path)
    with pytest.raises(SinkError, match="never reached"):
        fan_out.close(is_whole=True, is_final=True)


def test_a_writer_that_failed_leaves_an_hls_folder_that_plays_or_none(tmp_path: Path) -> None:
    folder = HlsFolder(tmp_path / "index.m3u8")
    for name in ("index.m3u8", "index.init.mp4", "index.00000.m4s", "index.00001.m4s", "index.00002.m4s.tmp", "mine"):
        (tmp_path / name).touch()
    folder.playlist.write_text("#EXTM3U\nindex.00000.m4s\n")
    folder.drop_remains()
    assert {path.name for path in tmp_path.iterdir()} == {"index.m3u8", "index.init.mp4", "index.00000.m4s", "mine"}
    folder.playlist.write_text("")
    folder.drop_remains()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_playlist_whose_writer_was_killed_is_ended(tmp_path: Path) -> None:
    folder = HlsFolder(tmp_path / "index.m3u8")
    folder.end()
    assert list(tmp_path.iterdir()) == []
    folder.playlist.write_text("#EXTM3U\n#EXTINF:2,\nindex.00000.m4s\n")
    for _ in range(2):
        folder.end()
        assert folder.playlist.read_text() == "#EXTM3U\n#EXTINF:2,\nindex.00000.m4s\n#EXT-X-ENDLIST\n"


def test_a_target_that_an_abort_cut_off_before_it_was_reached_is_no_error(live_stream: bytes, tmp_path: Path) -> None:
    stuck = tmp_path / "stuck"
    stuck.write_text("#!/bin/sh\ncat > /dev/null\nexec sleep 60\n")
    stuck.chmod(0o755)
    _, fan_out, _ = send_three(live_stream, stuck, tmp_path)
    threading.Timer(0.1, fan_out.cancel).start()
    with pytest.raises(Aborted):
        fan_out.close(is_whole=True, is_final=True)
