"""The model that ships: it loads by name, follows arousal and valence, plays what the text names, and stays small."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr

from lara_core.affect import PRESETS, Curve
from lara_core.codec import Request
from lara_core.codec.score import ROLES, sounding_thirds
from lara_core.pipeline import Lara
from training.musicality import melody

MODELS = Path(__file__).parents[1] / "models"
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def lara():
    return Lara.load()


def piece(lara, text, valence, arousal, seconds=16.0, seed=1):
    take = lara.stream(text, Curve.constant(valence, arousal), Request(seconds, seed=seed, tonic=0))
    level = [float(np.sqrt((segment.samples ** 2).mean())) for segment in take]
    return take.session.piece, np.mean(level)


def test_arousal_moves_tempo_and_loudness_at_any_valence(lara):
    arousal, tempo, level = [], [], []
    for valence in (-0.7, 0.7):
        for a in (-0.9, 0.0, 0.9):
            score, loudness = piece(lara, "solo piano", valence, a)
            arousal.append(a)
            tempo.append(np.mean([np.log(bar.tempo_bpm) for bar in score.bars]))
            level.append(loudness)
    assert pearsonr(arousal, tempo)[0] > 0.8
    assert level[2] > 2 * level[0] and level[5] > 2 * level[3]


def test_valence_moves_mode(lara):
    def minor_thirds(valence):
        scores = [piece(lara, "string ensemble", valence, 0.2, seconds=24.0, seed=seed)[0] for seed in SEEDS]
        minor, major = sum(sounding_thirds(score).sum(0) for score in scores)
        return minor / (minor + major)

    assert minor_thirds(-0.8) > 0.8 and minor_thirds(0.8) < 0.2


def test_what_resolves_comes_home_in_major(lara):
    thirds = np.zeros((3, 2))  # of the calm opening, of where it is tense, of the end: minor, major
    for seed in SEEDS:
        take = lara.stream("cinematic orchestra with piano", PRESETS["calm-tense-resolve"], Request(40.0, seed=seed, tonic=0))
        take.write()
        seconds, score = take.session.performer.starts_seconds, take.session.piece
        of_bars = np.add.reduceat(sounding_thirds(score), score.bar_starts())
        for i, (begin, end) in enumerate(((0, 10), (24, 32), (36, 40))):
            thirds[i] += of_bars[[first < end and last > begin for first, last in zip(seconds, seconds[1:])]].sum(0)
    minor = thirds[:, 0] / thirds.sum(1)
    assert minor[0] < 0.2 and minor[1] > 0.7 and minor[2] < 0.2, minor


def test_its_melodies_go_by_step(lara):
    by_step = [melody(piece(lara, text, 0.3, 0.2, seed=seed)[0])[0] for text in ("flute and harp", "string ensemble", "solo piano") for seed in SEEDS]
    assert np.nanmedian(by_step) > 0.4  # people: 0.38 to 0.58 are their quartiles


@pytest.mark.parametrize("text, programs", [("solo piano", {0}), ("8-bit video game", {80, 81}), ("music box", {8, 9, 10})])
def test_the_text_chooses_the_instruments(lara, text, programs):
    pieces = [piece(lara, text, 0.3, 0.0, seed=seed)[0] for seed in SEEDS]
    lead = [bar.programs[ROLES.index("lead")] for score in pieces for bar in score.bars]
    assert np.mean([program in programs for program in lead]) > 0.8


def test_a_moving_curve_moves_the_tempo_inside_a_piece(lara):
    faster, louder = [], []
    for seed in range(1, 6):
        take = lara.stream("cinematic orchestra", Curve(((0, 0.3, -0.9), (1, 0.3, 0.9)), unit="normalized"), Request(40.0, seed=seed))
        take.write()
        tempo, dynamics = ([getattr(bar, name) for bar in take.session.piece.bars] for name in ("tempo_bpm", "dynamics"))
        faster.append(np.mean(tempo[-4:]) / np.mean(tempo[:3]))
        louder.append(np.mean(dynamics[-4:]) - np.mean(dynamics[:3]))
    assert np.median(faster) > 1.3 and np.median(louder) > 1.5, (faster, louder)


def test_shipped_weights_are_small():
    assert sum(path.stat().st_size for path in MODELS.rglob("*.safetensors")) < 60e6
