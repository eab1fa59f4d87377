"""The whole audio path in small, with one command: rendered pieces, an EnCodec trained on them, shards, and a small decoder
trained by cross-entropy alone and by cross-entropy + L_LARA, on the same data, steps and seeds; then both are measured.

    python -m training.reduced -o runs/reduced          # goes on where it was stopped; figures in docs/finetuning.md

It shows that the path works and what L_LARA does at this size, and says nothing about MusicGen's quality: 8 kHz, half an hour of
synthetic music, a decoder of about a million weights. results.json has every figure of the table that is printed.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lara_core.affect import Curve
from lara_core.audio import Audio, load, resample, save, to_mono
from lara_core.checkpoint import load_model, save_model
from lara_core.codec import Request, score
from lara_core.codec.encodec import EncodecCodec
from lara_core.codec.score_codec import ScoreCodec
from lara_core.conditioning import Conditioning
from lara_core.decoder import Decoder, DecoderConfig
from lara_core.listener import load_listener
from lara_core.pipeline import Lara
from lara_core.predictor import TEXTURE, describe
from lara_core.score import bootstrap, frechet_audio_distance, pearson
from lara_core.text import StaticTextEncoder

from . import train
from .audio import Source, prepare
from .composer import Composer
from .small_codec import small_encodec, train_codec
from .styles import STYLES
from .windows import Shards

STYLE_NAMES = ("solo piano", "strings", "electronic")
RENDER_HZ, CODEC_HZ, SECONDS = 16_000, 8_000, 10.0
PIECE_SECONDS, WINDOW_FRAMES = 5.0, 250  # what the decoder learns and makes
AXIS = (-0.75, -0.25, 0.25, 0.75)  # of the emotions asked for
TEXT = Path("models/text").absolute()


def render(folder: Path, n_pieces: int, seed: int) -> Path:
    """Composed pieces of a constant emotion as WAV files of 10 s, and their manifest -> its path."""
    manifest = folder / "manifest.jsonl"
    if manifest.exists():
        return manifest
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    codec, rng, rows = ScoreCodec(), np.random.default_rng(seed), []
    styles = [style for style in STYLES if style.name in STYLE_NAMES]
    for i in tqdm(range(n_pieces), desc="rendering", unit="piece"):
        style, (valence, arousal) = styles[i % len(styles)], rng.uniform(-0.9, 0.9, 2).round(3).tolist()
        name = folder / "wav" / f"{i:04}.wav"
        rows.append({"path": f"wav/{name.name}", "text": style.name, "valence": valence, "arousal": arousal,
                     "split": "valid" if i % 8 == 7 else "train"})
        if name.exists():
            continue
        composer = Composer(style, np.random.default_rng((seed, i)))
        n_bars = max(4, int(SECONDS / (score.METRES[composer.metre][0] * 15 / composer.tempo(valence, arousal))) + 2)
        piece = composer.compose(np.full(n_bars, valence), np.full(n_bars, arousal))
        sound = resample(to_mono(Audio(codec.decode(score.encode(piece)), codec.sample_rate_hz)), RENDER_HZ)
        save(name, Audio(sound.samples[:, :int(SECONDS * RENDER_HZ)], RENDER_HZ))
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def trained_codec(folder: Path, sounds: np.ndarray, steps: int, seed: int) -> Path:
    """The EnCodec, saved as transformers does -> its folder."""
    place = folder / "encodec"
    if not place.exists():
        torch.manual_seed(seed)
        model = small_encodec(CODEC_HZ)
        losses = train_codec(model, sounds, steps, seed=seed)
        model.save_pretrained(place)
        (folder / "codec.json").write_text(json.dumps({"steps": steps, "spectral_loss": [round(x, 4) for x in losses]}))
    return place


def base_model(folder: Path, encodec: Path, seed: int) -> Path:
    """A model with that EnCodec and random weights -> its folder."""
    place = folder / "base"
    if not place.exists():
        codec = EncodecCodec.from_folder(encodec)
        torch.manual_seed(seed)
        K, width = codec.n_codebooks, 128
        decoder = Decoder(DecoderConfig(K, codec.codebook_size, width, 4, 2, 4 * width, StaticTextEncoder(TEXT).width, tuple(range(K))))
        save_model(place, decoder, {"name": "encodec", "channels": 1}, {"name": "static", "path": str(TEXT)})
        shutil.copytree(encodec, place / "encodec")
    return place


def finetune(folder: Path, name: str, lara: float, steps: int, seed: int) -> Path:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    train.train(parser.parse_args(["--corpus", str(folder / "shards"), "--init", str(folder / "base"), "-o", str(folder / name), "--steps", str(steps),
                                   "--batch", "8", "--window", str(WINDOW_FRAMES), "--optimizer", "muon", "--lr", "0.003", "--warmup", "20",
                                   "--log-steps", "10", "--lara", str(lara), "--seed", str(seed), "--cpu"]))
    return folder / name


# ---- measuring -----------------------------------------------------------------------------------------------------


def heard(sound: Audio, listener) -> dict:
    """What is heard in a sound: the predictor's point, level, spectral texture at one level, the listener's mean features."""
    rms = float(np.sqrt(np.mean(sound.samples.astype(np.float64) ** 2))) + 1e-6
    level = Audio(sound.samples * np.float32(0.1 / rms), sound.sample_rate_hz)
    texture = dict(zip(TEXTURE, describe(resample(level, 16_000).samples[0])[:len(TEXTURE)].tolist()))
    features = listener.features(torch.from_numpy(level.samples)[None], level.sample_rate_hz).values[0].mean(0).tolist()
    point = Lara.score(sound).track.point.tolist()
    return {"valence": point[0], "arousal": point[1], "level_db": 20 * np.log10(rms), "centroid": texture["centroid"], "flux": texture["flux"], "features": features}


def made(folder: Path, seeds: int, listener) -> list[dict]:
    """Pieces at every pair of AXIS, each text in turn -> what was asked and heard."""
    lara, rows = Lara.load(folder), []
    asked = [(v, a, s) for s in range(seeds) for v in AXIS for a in AXIS]
    for i, (valence, arousal, seed) in enumerate(tqdm(asked, desc=folder.name, unit="piece")):
        text = STYLE_NAMES[i % len(STYLE_NAMES)]
        sound, _ = lara.generate(text, Curve.constant(valence, arousal), Request(PIECE_SECONDS, seed=1000 * seed + i))
        rows.append({"asked": [valence, arousal], **heard(sound, listener)})
    return rows


def references(folder: Path, codec: EncodecCodec, listener) -> dict[str, list[dict]]:
    """The validation pieces as they were rendered, and through the codec: the bounds of what can be heard."""
    rows = {"rendered": [], "through the codec": []}
    for entry in tqdm([row for row in map(json.loads, open(folder / "manifest.jsonl")) if row["split"] == "valid"], desc="references", unit="piece"):
        sound = load(folder / entry["path"])
        sound = Audio(np.ascontiguousarray(sound.samples[:, :int(PIECE_SECONDS * sound.sample_rate_hz)]), sound.sample_rate_hz)
        through = Audio(codec.decode(codec.encode(sound)), codec.sample_rate_hz)
        for name, version in (("rendered", sound), ("through the codec", through)):
            rows[name].append({"asked": [entry["valence"], entry["arousal"]], **heard(version, listener)})
    return rows


@torch.no_grad()
def worth(folder: Path, shards: Shards, batches: int = 6, size: int = 16) -> np.ndarray:
    """Validation windows [N,2]: nats a frame with their own emotion, and what another piece's emotion costs more."""
    decoder, rows = load_model(folder)[0], []
    for i in range(batches):
        codes, emotion, known, text, _ = shards.batch(np.random.default_rng(i), size, WINDOW_FRAMES)
        of = lambda e: (lambda nats, steps, _: (nats.sum((1, 2)) / (steps[:, 0] >= 0).sum(1)).numpy())(*train.surprise(decoder, codes, Conditioning(*text, e, known)))
        own = of(emotion)
        rows.append(np.stack([own, np.mean([of(emotion.roll(by, 0)) for by in (3, 7)], 0) - own], 1))
    return np.concatenate(rows)


def interval(asked: np.ndarray, got: np.ndarray) -> str:
    ok = np.isfinite(got)
    if ok.sum() < 8:
        return f"- (n={ok.sum()})"
    r = bootstrap(pearson, (asked[ok], got[ok]))
    return f"{r.value:+.2f} [{r.low:+.2f}, {r.high:+.2f}]"


MEASURES = (("arousal", 1), ("valence", 0), ("level_db", 1), ("flux", 1), ("centroid", 1))


def table(results: dict) -> str:
    lines = ["| | n | " + " | ".join(f"{name} ~ {('valence', 'arousal')[k]}" for name, k in MEASURES) + " | FAD |", "|---" * (len(MEASURES) + 3) + "|"]
    reference = np.array([row["features"] for row in results["rendered"]])
    for name, rows in results.items():
        asked = np.array([row["asked"] for row in rows])
        cells = [interval(asked[:, k], np.array([row[measure] for row in rows], float)) for measure, k in MEASURES]
        fad = "" if name == "rendered" or len(reference) < 8 else f"{frechet_audio_distance(reference, np.array([row['features'] for row in rows])).fad:.0f}"
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(cells) + f" | {fad} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=160)
    parser.add_argument("--codec-steps", type=int, default=450)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--runs", type=int, default=1, help="training seeds")
    parser.add_argument("--seeds", type=int, default=2, help="pieces of each emotion and model")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.output
    manifest = render(folder, args.pieces, 1)
    sounds = [resample(load(folder / row["path"]), CODEC_HZ).samples for row in map(json.loads, open(manifest)) if row["split"] == "train"]
    encodec = trained_codec(folder, np.concatenate(sounds), args.codec_steps, 1)
    base = base_model(folder, encodec, 1)
    print(prepare(manifest, Source(base), folder / "shards", per_shard=32, progress=lambda shards: tqdm(shards, desc="hearing", unit="shard")))
    valid, listener = Shards(folder / "shards", "valid"), load_listener()
    results, lines = references(folder, EncodecCodec.from_folder(encodec), listener), []
    for run in range(1, args.runs + 1):
        for name, weight in (("CE", 0.0), ("CE+LARA", 0.5)):
            place = finetune(folder, f"{name}-{run}", weight, args.steps, run)
            own, more = worth(place, valid).T
            error = lambda x: x.std(ddof=1) / len(x) ** 0.5
            lines.append(f"| {place.name} | {len(own)} | {own.mean():.3f} ± {error(own):.3f} | {more.mean():+.4f} ± {error(more):.4f} |")
            results[place.name] = made(place, args.seeds, listener)
            (folder / "results.json").write_text(json.dumps({"worth": lines, "heard": results}))
    print("\n| | windows | nats a frame | another emotion costs |\n|---|---|---|---|\n" + "\n".join(lines) + "\n\n" + table(results))


if __name__ == "__main__":
    main()
