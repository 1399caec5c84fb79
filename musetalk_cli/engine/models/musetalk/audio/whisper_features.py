"""Audio → the hidden states of Whisper's encoder, as each version of MuseTalk was trained with them."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.audio.mel import FFT_SIZE, SAMPLES_PER_STEP, log_mel, mel_filters
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperEncoder
from musetalk_cli.engine.types.messages import MODEL_RATE_HZ, FloatArray


class WhisperFeatureEncoder:
    """A Whisper encoder with its mel filters, on the encoder's device and in its precision.

    ``is_version_1_0`` encodes as MuseTalk 1.0 was trained: the end of a window is padded with zeros in the mel
    spectrogram instead of silence in the audio, the last level is not normalised, and steps outside the stream repeat
    the nearest one instead of being zeros.
    """

    def __init__(self, net: WhisperEncoder, *, is_version_1_0: bool) -> None:
        self._net = net
        weight = net.conv1.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._filters = mel_filters(net.config.num_mels).to(self._device)
        self._num_samples = net.config.num_steps * SAMPLES_PER_STEP
        self._is_version_1_0 = is_version_1_0
        self.window_s = self._num_samples // MODEL_RATE_HZ
        self.step_dim = net.config.num_levels * net.config.dim
        self.clamps_ends = is_version_1_0
        # On a CUDA stream of its own: on the default one it would wait for all batches of faces queued there.
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]
        if self._stream:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    @torch.inference_mode()
    def encode(self, samples: FloatArray) -> FloatArray:
        """``samples`` float32 (n,), 16 kHz, at most a window → float32 (steps, levels, dim)."""
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            return self._encode(samples)

    def _encode(self, samples: FloatArray) -> FloatArray:
        audio = torch.from_numpy(np.ascontiguousarray(samples, np.float32)).to(self._device)
        # Reflection padding needs more than half an FFT window of audio.
        length = max(FFT_SIZE, len(audio)) if self._is_version_1_0 else self._num_samples
        mel = log_mel(functional.pad(audio, (0, length - len(audio))), self._filters)
        mel = functional.pad(mel, (0, 2 * self._net.config.num_steps - mel.shape[1]))
        levels = self._net(mel[None].to(self._dtype), has_final_norm=not self._is_version_1_0)[0]
        return np.asarray(levels.float().cpu().numpy(), np.float32)
