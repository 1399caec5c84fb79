"""Train and evaluate the mouth net, from the repository root: ``python -m tools.assets.audio_net COMMAND``.

train      synthesise the corpus with espeak-ng, train the net, write the packaged weights and the training log
tune       train the packaged net on, on natural speech (python -m tools.assets.audio_net.natural makes it)
evaluate   measure the packaged net and print the table; your own recordings and video clips are optional
speak      write the sample speech examples/hello.wav
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WEIGHTS = Path("musetalk_cli/assets/mouth_net.npz")
HELLO = Path("examples/hello.wav")
DOCUMENT = Path("docs/mouth-net-training.md")
TONGUE_RATE = 3e-3  # learning rate where the tongue alone is trained
HELLO_TEXT = "Hello! I am a portrait, and your voice moves my mouth. Maybe you want me to read a poem?"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument(
        "--takes", type=int, default=40, help="takes of 24 s per language (three times as many for English)"
    )
    train.add_argument("--versions", type=int, default=3, help="augmented versions of each take")
    train.add_argument("--updates", type=int, default=6500)
    train.add_argument("--workers", type=int, default=2)
    train.add_argument("--out", type=Path, default=WEIGHTS)
    tune = commands.add_parser("tune")
    tune.add_argument("--natural", type=Path, required=True, help="folder of the corpus of natural speech")
    tune.add_argument("--start", type=Path, default=WEIGHTS, help="weights to start from")
    tune.add_argument("--teacher", type=Path, action="append", default=[], help="weights to follow as well")
    tune.add_argument("--updates", type=int, default=1200)
    tune.add_argument("--tongue", action="store_true", help="fit the output T alone, and leave the others as they are")
    tune.add_argument("--workers", type=int, default=2)
    tune.add_argument("--out", type=Path, default=WEIGHTS)
    evaluate = commands.add_parser("evaluate")
    evaluate.add_argument("--weights", type=Path, default=WEIGHTS)
    evaluate.add_argument("--workers", type=int, default=2)
    evaluate.add_argument("--recording", type=Path, action="append", default=[], help="real speech, to measure jitter")
    evaluate.add_argument("--clip", type=Path, nargs=2, action="append", default=[], metavar=("VIDEO", "TRACK.npy"),
                       help="video of a talking person, and its gap, jaw and width per 25 fps frame")  # fmt: skip
    evaluate.add_argument("--write", action="store_true", help="also update docs/mouth-net-training.md")
    commands.add_parser("speak")
    args = parser.parse_args(argv)
    # One thread per corpus worker: the matrix library's own threads would only compete for the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    {"train": _train, "tune": _tune, "evaluate": _evaluate, "speak": _speak}[args.command](args)


def _train(args: argparse.Namespace) -> None:
    from tools.assets.audio_net.corpus import make_shards, training_recipes
    from tools.measure.report import update_section

    started_s = time.perf_counter()
    recipes = training_recipes(args.takes, args.versions)
    shards = list(make_shards(recipes, args.workers))
    minutes = sum(len(shard.features) for shard in shards) * 0.02 / 60.0
    synthesised_s = time.perf_counter() - started_s

    import torch

    from tools.assets.audio_net.training import Plan, export, train

    torch.set_num_threads(args.workers)
    plan = Plan(num_updates=args.updates)
    lines = [
        f"{minutes:.0f} minutes in {sum(1 for r in recipes if r.language)} languages, every take in {args.versions}"
        f" versions, made in {synthesised_s:.0f} s on {args.workers} cores ({platform.machine()});"
        f" {plan.channels} channels, {plan.num_updates} updates"
        f" of {plan.batch} crops of {plan.crop_steps * 0.02:.1f} s, seed {plan.seed},"
        f" torch {torch.__version__.split('+')[0]}.",
        "",
        "| updates | mean loss | seconds |",
        "|---|---|---|",
    ]
    print("\n".join(lines), flush=True)

    def log(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    net = train(shards, plan, log)
    size_bytes = export(net, args.out)
    num_parameters = sum(p.numel() for p in net.parameters())
    log("")
    log(f"{num_parameters:,} parameters, {size_bytes / 1e6:.2f} MB as float16.")
    if args.out == WEIGHTS:
        update_section("training log", "\n".join(lines), DOCUMENT)


def _tune(args: argparse.Namespace) -> None:
    import torch

    from musetalk_cli.engine.models.warp.audio.mouth_net import load_net
    from tools.assets.audio_net.corpus import Recipe, Shard, make_shards, training_recipes
    from tools.assets.audio_net.fine_tuning import FineTuning, Mixture, fine_tune, fit_tongue
    from tools.assets.audio_net.natural.takes import VERSIONS, natural_shards
    from tools.assets.audio_net.training import export

    recipes = training_recipes(num_takes=2, num_versions=2, seed=5100)
    natural = list(natural_shards(args.natural, VERSIONS, seed=1))

    def shards(chosen: list[Recipe]) -> list[Shard]:
        return list(make_shards(chosen, args.workers))

    mixture = Mixture(
        natural, shards([r for r in recipes if r.language]), shards([r for r in recipes if not r.language])
    )
    torch.set_num_threads(args.workers)
    if args.tongue:
        plan = FineTuning(num_updates=args.updates, learning_rate=TONGUE_RATE)
        net = fit_tongue(load_net(args.start), mixture, plan, print)
    else:
        teachers = [load_net(file) for file in args.teacher]
        net = fine_tune(load_net(args.start), mixture, FineTuning(num_updates=args.updates), print, teachers)
    minutes = sum(len(shard.features) for shard in natural) * 0.02 / 60.0
    print(f"{minutes:.0f} minutes of natural speech; {export(net, args.out) / 1e6:.2f} MB")


def _evaluate(args: argparse.Namespace) -> None:
    from musetalk_cli.engine.models.warp.audio.mouth_net import load_net
    from musetalk_cli.engine.models.warp.audio.mouth_shapes import MouthShapePredictor
    from tools.assets.audio_net import evaluation
    from tools.measure.report import update_section

    predictor = MouthShapePredictor(load_net(args.weights))
    rows = evaluation.synthetic_rows(predictor, seed=9000, num_workers=args.workers)
    rows += [evaluation.motion_row(predictor, evaluation.load_audio(path), path.stem) for path in args.recording]
    if args.clip:
        scores = [
            evaluation.score_clip(predictor, evaluation.load_audio(video), np.load(track), video.stem)
            for video, track in args.clip
        ]
        rows += evaluation.clip_rows(scores)
    text = evaluation.table(rows)
    print(text)
    if args.write:
        update_section("held-out table", text, DOCUMENT)


def _speak(_: argparse.Namespace) -> None:
    from tools.assets.audio_net.espeak import SAMPLE_RATE_HZ, Synthesiser, Voice

    speech = Synthesiser().speak(HELLO_TEXT, Voice("en-us", "f5", rate=150, pitch=48, pitch_range=60))
    silence = np.zeros(int(0.3 * SAMPLE_RATE_HZ), np.float32)
    samples = np.concatenate([silence, speech.samples * (0.7 / np.abs(speech.samples).max()), silence])
    HELLO.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(HELLO), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((samples * 32767.0).astype("<i2").tobytes())
    print(f"{HELLO}: {len(samples) / SAMPLE_RATE_HZ:.1f} s, {HELLO.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
