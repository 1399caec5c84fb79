"""A block's features and weights: the silence gate, streams at the same time, the warm-up."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.feature_windows import extract_features  # noqa: E402
from fixtures.small_nets import CONFIGS, small_extractor, small_nets, syllables  # noqa: E402
from musetalk_cli.engine.audio.blocks import BlockCutter  # noqa: E402
from musetalk_cli.engine.models.musetalk.audio.feature_extractor import AudioFeatureExtractor  # noqa: E402
from musetalk_cli.engine.models.musetalk.audio.whisper_features import WhisperFeatureEncoder  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets  # noqa: E402

FPS = Fraction(25)


@pytest.fixture(scope="module")
def nets() -> Nets:
    return small_nets()


def test_silence_has_no_weight_and_is_counted(nets: Nets) -> None:
    extractor = small_extractor(nets)
    features = extract_features(extractor, syllables((2.0, True), (3.0, False)))
    weights = features[:, -1]
    assert features.shape == (125, 50 * CONFIGS.whisper.dim + 1)
    assert (weights[5:45] == 1).all()
    assert (weights[62:] == 0).all()
    assert ((weights > 0) & (weights < 1)).any()
    assert extractor.num_silent == (weights == 0).sum()


@pytest.mark.parametrize("follows_upstream", [False, True])
def test_streams_at_the_same_time_are_independent(nets: Nets, follows_upstream: bool) -> None:
    encoder = WhisperFeatureEncoder(nets.whisper, is_version_1_0=False)
    first = AudioFeatureExtractor(encoder, FPS, None, follows_upstream=follows_upstream)
    second = first.clone()
    voices = [syllables((1.5, True)), syllables((0.4, False), (1.1, True))]
    blocks = []
    for audio in voices:
        cutter = BlockCutter(1.0, first.before_s, first.after_s, FPS)
        blocks.append([*cutter.push(audio), *cutter.finish()])
    for one, other in zip(*blocks, strict=True):
        for extractor, block in ((first, one), (second, other)):
            alone = AudioFeatureExtractor(encoder, FPS, None, follows_upstream=follows_upstream)
            np.testing.assert_array_equal(extractor.features(block), alone.features(block))


def test_a_warm_up_changes_no_features(nets: Nets) -> None:
    extractor = small_extractor(nets)
    extractor.warm_up()
    assert extractor.num_silent == 0
    audio = syllables((0.5, True))
    wanted = extract_features(small_extractor(nets), audio)
    np.testing.assert_array_equal(extract_features(extractor, audio), wanted)


def test_without_a_gate_every_frame_speaks(nets: Nets) -> None:
    extractor = small_extractor(nets, has_gate=False)
    assert (extract_features(extractor, syllables((0.5, False)))[:, -1] == 1).all()
    assert extractor.num_silent == 0
