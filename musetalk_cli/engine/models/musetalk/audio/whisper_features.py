"""Audio → Whisper's levels, in the two ways that MuseTalk's versions were trained with."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.audio.mel import FFT_SIZE, SAMPLES_PER_STEP, log_mel, mel_filters
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperEncoder
from musetalk_cli.engine.types.messages import MODEL_RATE_HZ, FloatArray


class WhisperListener:
    """A Whisper encoder with its mel filters, on the encoder's device and in its precision.

    ``is_original`` hears as MuseTalk 1.0 was trained: what is missing of a window is blank in the mel image instead
    of being silence, the last level is not normalised, and at the stream's ends the nearest step stands in for those
    that are missing instead of zeros.
    """

    def __init__(self, net: WhisperEncoder, *, is_original: bool) -> None:
        self._net = net
        weight = net.conv1.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._filters = mel_filters(net.config.num_mels).to(self._device)
        self._num_samples = net.config.num_steps * SAMPLES_PER_STEP
        self._is_original = is_original
        self.window_s = self._num_samples // MODEL_RATE_HZ
        self.step_dim = net.config.num_levels * net.config.dim
        self.clamps_ends = is_original
        # On a stream of its own, for it would wait for all faces that are under way on the common one.
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]
        if self._stream:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    @torch.inference_mode()
    def listen(self, samples: FloatArray) -> FloatArray:
        """``samples`` float32 (n,), 16 kHz, at most a window → float32 (steps, levels, dim)."""
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            return self._listen(samples)

    def _listen(self, samples: FloatArray) -> FloatArray:
        audio = torch.from_numpy(np.ascontiguousarray(samples, np.float32)).to(self._device)
        # The mirrored ends of the first spectrum need more than half of one.
        length = max(FFT_SIZE, len(audio)) if self._is_original else self._num_samples
        mel = log_mel(functional.pad(audio, (0, length - len(audio))), self._filters)
        mel = functional.pad(mel, (0, 2 * self._net.config.num_steps - mel.shape[1]))
        levels = self._net(mel[None].to(self._dtype), has_final_norm=not self._is_original)[0]
        return np.asarray(levels.float().cpu().numpy(), np.float32)
