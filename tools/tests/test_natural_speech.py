"""Natural speech for training: resumable shards, refined phone times, takes, and the figures of real clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tools.assets.audio_net import augment
from tools.assets.audio_net.espeak import Phone
from tools.assets.audio_net.natural import align, shards, takes
from tools.assets.audio_net.natural.sentences import LANGUAGES, make_sentence
from tools.assets.audio_net.natural.shards import SAMPLE_RATE_HZ, Rng, Utterance
from tools.assets.audio_net.phonemes import mouth_targets
from tools.measure.lip_sync.real_clips import closed_frames, closure_f1

PHONE_S = 0.12
PAUSE = (Phone("", 0.0, 0.5), Phone("a", 0.5, 1.0), Phone("", 1.0, 3.0), Phone("a", 3.0, 3.5))
TONES_HZ = {"a": 700.0, "i": 2500.0, "u": 300.0, "s": 6000.0, "": 0.0}


def tones(names: list[str], rng: Rng) -> Utterance:
    """A different tone, in some noise, for each phone."""
    count = round(PHONE_S * SAMPLE_RATE_HZ)
    time_s = np.arange(count) / SAMPLE_RATE_HZ
    parts = [0.5 * np.sin(2 * np.pi * TONES_HZ[name] * time_s) for name in names]
    samples = np.concatenate(parts) + 0.01 * rng.standard_normal(count * len(names))
    phones = tuple(Phone(name, i * PHONE_S, (i + 1) * PHONE_S) for i, name in enumerate(names))
    return Utterance("xx", "tones", samples.astype(np.float32), phones)


def random_tones(rng: Rng) -> Utterance:
    names = [""]
    while len(names) < 12:
        names += [name for name in [str(rng.choice(list(TONES_HZ)[:4]))] if name != names[-1]]
    return tones([*names, ""], rng)


def starts_s(utterance: Utterance) -> np.ndarray:
    return np.array([phone.start_s for phone in utterance.phones])


def moved(utterance: Utterance, rng: Rng) -> Utterance:
    """With boundaries that are wrong by up to 40 ms."""
    edges = starts_s(utterance)
    edges[1:] += rng.uniform(-0.04, 0.04, len(edges) - 1)
    ends = np.append(edges[1:], utterance.phones[-1].end_s)
    phones = [Phone(p.name, float(a), float(b)) for p, a, b in zip(utterance.phones, edges, ends, strict=True)]
    return replace(utterance, phones=tuple(phones))


def test_alignment_finds_the_boundaries() -> None:
    rng = np.random.default_rng(1)
    right = [random_tones(rng) for _ in range(6)]
    coarse = [moved(utterance, rng) for utterance in right]
    refined = align.refine(coarse)

    def error_s(found: list[Utterance]) -> float:
        pairs = zip(found, right, strict=True)
        return float(np.median(np.concatenate([np.abs(starts_s(a) - starts_s(b)) for a, b in pairs])))

    assert error_s(coarse) > 0.015
    assert error_s(refined) < 0.006
    assert all(a.names == b.names for a, b in zip(map(align._item, refined), map(align._item, right), strict=True))


def test_shards_are_made_once_and_are_the_same_in_any_order(tmp_path: Path) -> None:
    made: list[int] = []

    def maker(calls: list[int]) -> Callable[[Rng], Utterance]:
        def make(rng: Rng) -> Utterance:
            calls.append(1)
            if len(calls) == 3:
                raise ValueError("a text that cannot be spoken")
            return tones(["", "a", "i"], rng)

        return make

    shards.make_missing(tmp_path, "tones", [0, 1], maker(made), print)
    num_calls = len(made)
    first = (tmp_path / "tones-00001.npz").read_bytes()
    shards.make_missing(tmp_path, "tones", [0, 1], maker(made), print)
    assert len(made) == num_calls == 2 * shards.UTTERANCES_PER_SHARD
    (tmp_path / "tones-00001.npz").unlink()
    shards.make_missing(tmp_path, "tones", [1], maker([0, 0, 0]), print)
    assert (tmp_path / "tones-00001.npz").read_bytes() == first
    utterances = list(shards.read_folder(tmp_path))
    assert len(utterances) == 2 * shards.UTTERANCES_PER_SHARD - 1
    assert [phone.name for phone in utterances[0].phones] == ["", "a", "i"]
    assert np.abs(utterances[0].samples).max() == pytest.approx(0.52, abs=0.03)


def test_takes_have_the_targets_of_their_phones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spoken = tones(["", "a", "i", "a", ""], rng)
    spoken = replace(spoken, phones=tuple(replace_name(phone, "i", "p") for phone in spoken.phones))
    (tmp_path / "flite").mkdir()
    shards.write_shard(tmp_path / "flite" / "one.npz", [spoken, spoken])
    (shard,) = takes.natural_shards(tmp_path, {"flite": 2, "kokoro": 3}, seed=1)
    assert shard.features.shape[1:] == (80,)
    assert (shard.events == 1).sum() == 4  # a /p/ each in two utterances and two versions
    assert shard.mouths[shard.events == 1, 3].min() > 0.9


def replace_name(phone: Phone, old: str, new: str) -> Phone:
    return replace(phone, name=new) if phone.name == old else phone


def test_a_natural_p_closes_from_its_start_and_espeaks_before_its_burst() -> None:
    phones = (Phone("a", 0.0, 0.4), Phone("p", 0.4, 0.52), Phone("a", 0.52, 1.0))
    natural, marked = (mouth_targets(phones, 50, has_bursts=has).mouth[:, 3] for has in (False, True))
    assert natural[21:24].min() == 1.0
    assert natural[18] == natural[26] == 0.0
    assert marked[18:20].min() == 1.0
    assert marked[22] == 0.0


def test_lips_stay_parted_in_a_pause_and_shut_when_it_is_long() -> None:
    gap = mouth_targets(PAUSE, 175).mouth[:, 0]
    assert gap[55:78].min() == pytest.approx(0.12, abs=0.01)
    assert gap[95:138].max() < 0.01
    assert gap[146] > 0.08
    assert gap[:12].max() < 0.01


def test_the_gap_follows_its_phones_slowly_but_closures_do_not() -> None:
    phones = (Phone("a", 0.0, 0.4), Phone("p", 0.4, 0.52), Phone("a", 0.52, 1.0))
    mouth = mouth_targets(phones, 50, has_bursts=False).mouth
    steps = np.diff(mouth[18:24, 0])
    assert np.abs(steps).max() < 0.16
    assert mouth[21:24, 3].min() == 1.0


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("codec", list(augment.CODECS))
def test_a_codec_changes_speech_and_moves_nothing(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "CODECS", {codec: augment.CODECS[codec]})
    rng = np.random.default_rng(4)
    sweep = np.sin(2 * np.pi * np.cumsum(np.linspace(100.0, 1500.0, SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ)
    samples = (0.3 * sweep * (0.2 + np.abs(np.sin(np.arange(SAMPLE_RATE_HZ) * 0.001)))).astype(np.float32)
    heard = augment.transmit(samples, rng)
    assert heard.shape == samples.shape
    assert 0.8 < np.corrcoef(heard, samples)[0, 1] < 0.99999


def test_sentences_are_many() -> None:
    rng = np.random.default_rng(3)
    for language in LANGUAGES:
        texts = {make_sentence(language, rng) for _ in range(100)}
        assert len(texts) > 85
        assert not any("{" in text for text in texts)


def test_closure_f1_is_one_for_the_same_mouth_and_less_for_another() -> None:
    rng = np.random.default_rng(2)
    gap = np.abs(np.sin(np.arange(400) * 0.11)) + 0.05 * rng.random(400)
    closed = closed_frames(gap)
    assert 0.05 < closed.mean() < 0.4
    assert closure_f1(gap, closed) == pytest.approx(1.0)
    assert closure_f1(np.roll(gap, 1), closed) == pytest.approx(1.0)
    assert closure_f1(-gap, closed) < 0.3
    assert np.isnan(closure_f1(gap, np.zeros(400, bool)))


def test_fine_tuning_starts_from_a_net_and_keeps_a_part_of_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from musetalk_cli.engine.models.warp.audio.mouth_net import load_net
    from tools.assets.audio_net.corpus import Shard
    from tools.assets.audio_net.fine_tuning import FineTuning, Mixture, fine_tune, from_numpy
    from tools.assets.audio_net.training import TorchMouthNet, export

    torch.manual_seed(0)
    export(TorchMouthNet(8, torch.full((80,), 0.4), torch.full((80,), 3.0)), tmp_path / "net.npz")
    start = load_net(tmp_path / "net.npz")
    rng = np.random.default_rng(0)
    shard = Shard(
        rng.random((300, 80)).astype(np.float16),
        np.full((300, 6), 0.5, np.float16),
        rng.integers(0, 3, 300).astype(np.int8),
    )
    mixture = Mixture([shard], [shard], [shard])

    def tuned(kept: float, surer: float = 0.0) -> TorchMouthNet:
        plan = FineTuning(3, batch=4, num_natural=2, crop_steps=40, learning_rate=0.01, kept=kept, surer=surer)
        return fine_tune(start, mixture, plan, print)

    def head(kept: float) -> np.ndarray:
        return tuned(kept).head.linear.weight.detach().numpy()

    old, new, mixed = from_numpy(start).head.linear.weight.detach().numpy(), head(0.0), head(0.25)
    assert np.abs(new - old).max() > 1e-3
    np.testing.assert_allclose(mixed, 0.75 * new + 0.25 * old, atol=1e-6)
    np.testing.assert_array_equal(head(0.0), new)
    biases = [tuned(0.0, surer).head.linear.bias.detach().numpy() for surer in (0.0, 0.5)]
    np.testing.assert_allclose(biases[1] - biases[0], [0.0, 0.0, 0.0, 0.5, 0.0, 0.0], atol=1e-6)


def test_a_net_follows_its_teachers_that_need_more_audio_ahead(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from musetalk_cli.engine.models.warp.audio.mouth_net import load_net
    from tools.assets.audio_net.corpus import Shard
    from tools.assets.audio_net.fine_tuning import FineTuning, Mixture, fine_tune
    from tools.assets.audio_net.training import TorchMouthNet, export

    torch.manual_seed(0)
    net = TorchMouthNet(8, torch.full((80,), 0.4), torch.full((80,), 3.0))
    export(net, tmp_path / "start.npz")
    with torch.no_grad():
        net.head.linear.bias[0] += 3.0
    for conv in list(net.convs)[2:4]:
        conv.taps = (*conv.taps[:-1], conv.taps[-1] + 1)
    export(net, tmp_path / "teacher.npz")
    start, teacher = (load_net(tmp_path / name) for name in ("start.npz", "teacher.npz"))
    assert teacher.future_steps == start.future_steps + 2
    rng = np.random.default_rng(0)
    shard = Shard(rng.random((300, 80)).astype(np.float16), np.full((300, 6), 0.5, np.float16), np.zeros(300, np.int8))

    def gap(followed: float) -> float:
        plan = FineTuning(30, 4, num_natural=2, crop_steps=40, learning_rate=0.03, kept=0.0, followed=followed)
        tuned = fine_tune(start, Mixture([shard], [shard], [shard]), plan, print, [teacher])
        export(tuned, tmp_path / "tuned.npz")
        return float(load_net(tmp_path / "tuned.npz").forward(shard.features.astype(np.float32))[:, 0].mean())

    alone, taught = gap(0.0), gap(20.0)
    assert abs(alone - 0.5) < 0.1
    assert taught > alone + 0.15  # the teacher's mouth is wide open


def test_a_tongue_is_added_and_the_other_outputs_stay(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from musetalk_cli.engine.models.warp.audio.mouth_net import load_net
    from tools.assets.audio_net.corpus import Shard
    from tools.assets.audio_net.fine_tuning import NUM_TONGUE_CHANNELS, FineTuning, Mixture, fit_tongue
    from tools.assets.audio_net.training import TorchMouthNet, export

    torch.manual_seed(0)
    export(TorchMouthNet(8, torch.full((80,), 0.4), torch.full((80,), 3.0)), tmp_path / "net.npz")
    start = load_net(tmp_path / "net.npz")
    rng = np.random.default_rng(0)
    shard = Shard(rng.random((300, 80)).astype(np.float16), np.full((300, 6), 0.9, np.float16), np.zeros(300, np.int8))
    plan = FineTuning(4, batch=4, num_natural=2, crop_steps=40, learning_rate=0.05)
    export(fit_tongue(start, Mixture([shard], [shard], [shard]), plan, print), tmp_path / "tongue.npz")
    tongued = load_net(tmp_path / "tongue.npz")
    assert tongued.head.weight.shape == (8 + NUM_TONGUE_CHANNELS, 6)
    before, after = (net.forward(shard.features.astype(np.float32)) for net in (start, tongued))
    np.testing.assert_allclose(after[:, :5], before[:, :5], atol=1e-5)
    assert (after[:, 5] - before[:, 5]).mean() > 0.02
    assert np.abs(tongued.head.weight[8:, 5]).max() > 0.0
