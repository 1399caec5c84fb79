"""The microphone, through PortAudio: which one, its audio, and what happens when it is pulled out."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from musetalk_cli.engine.audio.drops import Drops
from musetalk_cli.engine.audio.resampling import Resampler
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray
from musetalk_cli.errors import SourceError
from musetalk_cli.option_names import option

SourceLossPolicy = Literal["retry", "stop"]

CALLBACK_S = 0.02
BUFFER_S = 2.0  # audio that may wait for us; more than that means we stand still, and the newest is dropped and counted
SILENT_DEVICE_S = 2.0  # a device that says nothing for this long is gone, whatever PortAudio believes
RETRY_S = 1.0
SEE_HINT = "musetalk devices lists them"


@dataclass(frozen=True)
class InputDevice:
    """One microphone as PortAudio lists it."""

    index: int
    name: str
    host: str
    num_channels: int
    rate_hz: int
    is_default: bool


def list_devices() -> list[InputDevice]:
    """All inputs. Raises SourceError when PortAudio is missing."""
    audio = _load_portaudio()
    hosts = [host["name"] for host in audio.query_hostapis()]
    default = audio.default.device[0]
    return [
        InputDevice(
            index=index,
            name=device["name"],
            host=hosts[device["hostapi"]],
            num_channels=device["max_input_channels"],
            rate_hz=round(device["default_samplerate"]),
            is_default=index == default,
        )
        for index, device in enumerate(audio.query_devices())
        if device["max_input_channels"] > 0
    ]


def find_no_microphone_hint() -> str:
    """What to do where PortAudio lists no input. It knows ALSA's devices; audio servers need a plugin to be one."""
    if not sys.platform.startswith("linux"):
        return "plug one in, and allow the terminal to use it in the system's privacy settings"
    server = find_audio_server()
    if server is None:
        return "plug one in; in a container, hand it the devices with --device /dev/snd"
    package = {"PipeWire": "pipewire-alsa", "PulseAudio": "libasound2-plugins"}[server]
    return f"{server} runs here, but ALSA does not lead to it: apt install {package}, or your system's package of it"


def find_audio_server() -> str | None:
    """``PipeWire`` or ``PulseAudio``, by its socket; None where neither runs for this user."""
    folder = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    if (folder / "pipewire-0").exists():
        return "PipeWire"
    return "PulseAudio" if os.environ.get("PULSE_SERVER") or (folder / "pulse" / "native").exists() else None


def choose_device(wanted: str | None, devices: list[InputDevice]) -> InputDevice:
    """The device with an index, an exact name or a part of one, or the default. Raises SourceError."""
    if not devices:
        raise SourceError("there is no microphone", hint=find_no_microphone_hint())
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    exact = [device for device in devices if wanted in (str(device.index), device.name)]
    matching = exact or [device for device in devices if wanted.lower() in device.name.lower()]
    if not matching:
        raise SourceError(f"no microphone is called '{wanted}'", hint=f"there are: {_name_all(devices)}")
    if len(matching) > 1 and not exact:
        raise SourceError(
            f"'{wanted}' matches {len(matching)} microphones", hint=f"choose one of: {_name_all(matching)}"
        )
    return matching[0]


def _name_all(devices: list[InputDevice]) -> str:
    return ", ".join(f"{device.index} {device.name}" for device in devices)


class MicrophoneSource:
    """AudioSource of a microphone, mono. When it goes away, silence comes instead and it is looked for, or, with
    ``on_loss`` "stop", the stream ends with a SourceError. ``tell`` gets one sentence at each change.

    ``open`` raises SourceError when there is no PortAudio, no such microphone, or it cannot be used.
    """

    num_channels = 1
    duration_s = None

    def __init__(
        self, wanted: str | None, rate_hz: int | None, on_loss: SourceLossPolicy, tell: Callable[[str], None]
    ) -> None:
        self._wanted, self._wanted_rate_hz, self._on_loss, self._tell = wanted, rate_hz, on_loss, tell
        self.name = "the microphone"
        self.num_overruns = 0
        self._stream: Any = None
        self._pieces: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._drops = Drops()
        self._is_stopped = self._is_lost = False
        self._received_at = self._silent_since = 0.0
        self._num_silent = 0
        self._search: threading.Thread | None = None
        self._resampler: Resampler | None = None

    def open(self) -> None:
        self._start()

    def read(self) -> AudioArray | None:
        while not self._is_stopped:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._pieces) or self._is_lost or self._is_stopped, CALLBACK_S)
                with self._drops.reading():
                    data, is_lost = b"".join(self._pieces), self._is_lost
                    self._pieces.clear()
            if data:
                audio = self._convert(np.frombuffer(data, np.int16)[:, None])
                if len(audio):
                    return audio
            elif is_lost or time.monotonic() - self._received_at > SILENT_DEVICE_S:
                silence = self._outlast_loss()
                if len(silence):
                    return silence
        return None

    def _convert(self, audio: AudioArray) -> AudioArray:
        if self._resampler is None:
            return audio
        return self._resampler.push(audio.astype(np.float32) / np.float32(32768))

    @property
    def is_stale(self) -> bool:
        return self._drops.is_stale

    def drop(self) -> None:
        with self._changed, self._drops.dropping():
            self._pieces.clear()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        self.stop()
        if self._search is not None:
            self._search.join()
        self._end_stream()

    def _start(self) -> None:
        audio = _load_portaudio()
        device = choose_device(self._wanted, list_devices())
        rate_hz = self._choose_rate(audio, device)
        self._resampler = None if rate_hz == AUDIO_RATE_HZ else Resampler(rate_hz, 1)
        try:
            with _quiet_stderr():
                self._stream = audio.RawInputStream(
                    samplerate=rate_hz,
                    channels=1,
                    dtype="int16",
                    device=device.index,
                    blocksize=round(rate_hz * CALLBACK_S),
                    latency="low",
                    callback=self._receive,
                    finished_callback=self._lose,
                )
                self._is_lost, self._received_at = False, time.monotonic()
                self._stream.start()
        except audio.PortAudioError as error:
            self._end_stream()
            raise SourceError(f"cannot use microphone '{device.name}': {error}", hint=SEE_HINT) from None
        self.name = device.name
        self._rate_hz = rate_hz

    def _choose_rate(self, audio: Any, device: InputDevice) -> int:
        """The wanted rate, or ours, or where the device refuses that, its own."""
        if self._wanted_rate_hz:
            return self._wanted_rate_hz
        try:
            with _quiet_stderr():
                audio.check_input_settings(device=device.index, channels=1, dtype="int16", samplerate=AUDIO_RATE_HZ)
        except audio.PortAudioError:
            return device.rate_hz
        return AUDIO_RATE_HZ

    def _receive(self, data: Any, num_frames: int, times: Any, status: Any) -> None:
        """PortAudio's callback: keep the samples and go."""
        with self._changed:
            self._received_at = time.monotonic()
            if status.input_overflow or len(self._pieces) * CALLBACK_S > BUFFER_S:
                self.num_overruns += 1
            if len(self._pieces) * CALLBACK_S <= BUFFER_S:
                self._pieces.append(bytes(data))
            self._changed.notify_all()

    def _lose(self) -> None:
        """PortAudio's finished callback: no exception tells of a device that is gone, only this."""
        with self._changed:
            self._is_lost = True
            self._changed.notify_all()

    def _outlast_loss(self) -> AudioArray:
        """The silence that is due since the microphone went, while it is being looked for."""
        now = time.monotonic()
        if self._search is None or not self._search.is_alive():
            if self._on_loss == "stop":
                raise SourceError(
                    f"microphone '{self.name}' is gone", hint=f"{option('--on-source-loss')} retry waits for it"
                )
            self._tell(f"microphone '{self.name}' is gone: silence until it is back")
            self._is_lost, self._silent_since, self._num_silent = True, now, 0
            self._search = threading.Thread(target=self._find_again, name="musetalk-microphone", daemon=True)
            self._search.start()
        due = int((now - self._silent_since) * AUDIO_RATE_HZ) - self._num_silent
        self._num_silent += due
        if due < AUDIO_RATE_HZ * CALLBACK_S:
            time.sleep(CALLBACK_S / 2)
        return np.zeros((due, 1), dtype=np.int16)

    def _find_again(self) -> None:
        """Try to open it again, until it works or the run ends. PortAudio sees new devices only after a restart."""
        audio = _load_portaudio()
        while not self._is_stopped:
            self._end_stream()
            with contextlib.suppress(SourceError, audio.PortAudioError):
                with _quiet_stderr():
                    audio._terminate()
                    audio._initialize()
                self._start()
                self._tell(f"microphone '{self.name}' is back")
                return
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped, RETRY_S)

    def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with _quiet_stderr():
                stream.close(ignore_errors=True)


def _load_portaudio() -> Any:
    try:
        with _quiet_stderr():
            import sounddevice
    except OSError:
        hint = "install it: apt install libportaudio2, or dnf install portaudio, or brew install portaudio"
        raise SourceError("PortAudio, which microphones need, is not installed", hint=hint) from None
    return sounddevice


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """ALSA and PortAudio write straight to file descriptor 2, dozens of lines on a machine without a sound card."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
