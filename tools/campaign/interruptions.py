"""Interrupt utterances at random moments, and hold what ``clear`` says to what was handed out.

    python -m tools.campaign.interruptions [--utterances 100]

The position may be off by a frame at most; the audio fades within 20 ms, the mouth is shut after 120 ms, and neither
frames nor samples have a gap. The exit code is 1 where one of these is broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass, field

import numpy as np

from fixtures.session_consumer import Consumer, is_frame, is_spoken
from musetalk_cli.app.session_assembly import open_avatar
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.configuration.schema import Config, VideoConfig, WarpConfig
from musetalk_cli.engine.session import Session
from musetalk_cli.engine.types.audio import audio_at
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray
from musetalk_cli.engine.types.session import Frame, UtteranceFinished

SIZE_PX = 256
FADE_SAMPLES = AUDIO_RATE_HZ // 50
CLOSE_S = 0.12
WATCHED_FRAMES = 5  # behind an interruption
VOICE_S = 3.0


@dataclass
class Campaign:
    """What was seen: ``off_frames`` of every position, and ``broken`` rules, each a sentence."""

    off_frames: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    # A still without blinks that keeps its head still: whether the mouth is shut shows in the pixels.
    config = Config(avatar="nora", model="warp", video=VideoConfig(size=SIZE_PX), warp=WarpConfig(life=False))
    with open_avatar(config, lambda *_: None) as avatar:
        seen = run(avatar.open_session(), speech(VOICE_S), args.utterances, args.seed)
    print(*seen.broken, sep="\n")
    print(
        f"{args.utterances} interruptions: off by {max(seen.off_frames):.2f} frames at most, "
        f"{len(seen.broken)} broken rules"
    )
    return 1 if seen.broken else 0


def run(session: Session, voice: AudioArray, num_utterances: int, seed: int, most_s: float = 1.2) -> Campaign:
    """Say and interrupt ``voice`` so many times, each up to ``most_s`` seconds after its first frame; closes the
    session."""
    moments, seen = random.Random(seed), Campaign()
    with Consumer(session) as consumer:
        for number in range(num_utterances):
            begin = len(consumer.taken)
            session.push(voice, AUDIO_RATE_HZ)
            if moments.random() < 0.5:
                session.end_utterance()
            consumer.wait_for(is_spoken, begin)
            time.sleep(moments.uniform(0.0, most_s))
            position_s = session.clear().position_s
            check(consumer, voice, begin, position_s, number, seen)
        check_continuity(consumer, seen)
    return seen


def check(consumer: Consumer, voice: AudioArray, begin: int, position_s: float, number: int, seen: Campaign) -> None:
    """One interruption, once its mouth has closed."""
    rate = consumer.session.settings.frame_rate
    finish = consumer.wait_for(lambda taken: isinstance(taken.item, UtteranceFinished), begin)
    while len(consumer.frames(finish)) < WATCHED_FRAMES:
        consumer.wait_for(is_frame, len(consumer.taken))
    spoken = [taken for taken in consumer.frames(begin) if is_spoken(taken)]
    after = consumer.frames(finish)[:WATCHED_FRAMES]
    seen.off_frames.append(abs(position_s * float(rate) - len(spoken)))
    audio = np.concatenate([taken.item.audio for taken in after if isinstance(taken.item, Frame)])
    cut = audio_at(len(spoken), rate)
    rest = voice[cut : cut + FADE_SAMPLES].astype(float)
    faded = np.rint(rest * np.linspace(1.0, 0.0, FADE_SAMPLES, endpoint=False)[: len(rest), None])
    rules = {
        "the position is off by more than a frame": seen.off_frames[-1] <= 1.0,
        "frames of it follow the interruption": not any(is_spoken(taken) for taken in after),
        "the audio does not fade as it must": np.array_equal(audio[: len(rest)], faded),
        "audio goes on beyond 20 ms": not audio[FADE_SAMPLES:].any(),
        "the mouth is not shut after 120 ms": all(taken.is_rest for taken in after[int(CLOSE_S * rate) :]),
    }
    seen.broken += [
        f"interruption {number} after {position_s:.2f} s: {rule}" for rule, holds in rules.items() if not holds
    ]


def check_continuity(consumer: Consumer, seen: Campaign) -> None:
    """All of the session: no frame is missing, and each has exactly its audio."""
    rate = consumer.session.settings.frame_rate
    for number, taken in enumerate(consumer.frames()):
        item = taken.item
        assert isinstance(item, Frame)
        if item.number != number or len(item.audio) != audio_at(number + 1, rate) - audio_at(number, rate):
            seen.broken.append(f"frame {number} is {item.number} with {len(item.audio)} samples")
            return


if __name__ == "__main__":
    sys.exit(main())
