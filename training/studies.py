"""Studies: pieces whose every phrase is played another way, drawn at random, for the Emotion Predictor to hear.

    python -m training.studies runs/corpus.npz runs/rehearsed.npz -o runs/studies.npz --pieces 900
    python -m training.features runs/studies.npz --pieces 900 --bars 20 --jobs 2

In a corpus what is loud is fast, high and dense too, and what of it is heard cannot be told. Here tempo, dynamics, articulation, register,
mode, density, instruments, layers and drums of each phrase are drawn each by itself, whatever the notes were, as in experiments on
musical cues (Eerola, Friberg & Bresin 2013, Frontiers in Psychology 4:487). A score predictor learns from them (training.score_predictor);
nobody asked for such music, and no model learns to play it.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from lara_core.codec import score as codes_of
from lara_core.codec.score import ARTICULATIONS, METRES, ROLE_OF_LANE, ROLES, Bar, Chord, Note, Score, bar_number

from . import patterns
from .corpus import Played, packed
from .styles import STYLES
from .windows import write_arrays

PHRASE_BARS = 4
TO_MINOR, TO_MAJOR = {4: -1, 9: -1, 11: -1}, {3: 1, 8: 1, 10: 1}  # semitones by which degrees above the tonic move
OTHER_MODE = {"maj": "min", "min": "maj", "maj7": "min7", "min7": "maj7"}
PROGRAMS = [sorted({program for style in STYLES for program in getattr(style, role)}) for role in ROLES[:-1]]
KITS = sorted({style.kit for style in STYLES if style.kit >= 0})
GROOVES = [family for family in patterns.GROOVES if family != "none"]
LOWEST, HIGHEST = 24, 103


class Way:
    """One way to play a phrase."""

    def __init__(self, rng: np.random.Generator):
        chance = lambda share: rng.random() < share
        self.faster, self.louder = float(np.exp(rng.normal(0, 0.22))), round(rng.normal(0, 1.6))
        self.articulation = str(rng.choice(ARTICULATIONS)) if chance(0.5) else None
        self.programs = [int(rng.choice(options)) if chance(0.3) else None for options in PROGRAMS]
        self.silent = {role for role in range(len(PROGRAMS)) if chance(0.12)}
        melody, chords = (int(rng.choice((-12, 0, 0, 0, 12))) for _ in range(2))
        self.octave = (melody, melody, 0, chords, chords)
        self.steps = ({}, {}, TO_MINOR, TO_MAJOR)[rng.integers(4)]
        self.is_thin = chance(0.2)  # accompaniment on the beats alone
        self.kit = ("stays", "stays", "stays", "none", "other")[rng.integers(5)]
        self.program_of_kit, self.groove, self.tier = int(rng.choice(KITS)), str(rng.choice(GROOVES)), int(rng.integers(1, 4))

    def bar(self, bar: Bar) -> Bar:
        played = [-1 if role in self.silent or program < 0 else program if new is None else new
                  for role, (program, new) in enumerate(zip(bar.programs, self.programs))]
        kit = {"stays": bar.programs[-1], "none": -1, "other": self.program_of_kit}[self.kit]
        return replace(bar, tempo_bpm=float(np.clip(bar.tempo_bpm * self.faster, codes_of.TEMPO_LOW_BPM, codes_of.TEMPO_HIGH_BPM)),
                       dynamics=int(np.clip(bar.dynamics + self.louder, 0, codes_of.N_DYNAMICS - 1)),
                       articulation=self.articulation or bar.articulation, programs=(*played, kit))

    def note(self, note: Note, position: int, beat: int, tonic: int) -> Note | None:
        """position: frames from the beginning of its bar."""
        role = ROLE_OF_LANE[note.lane]
        if role in self.silent or self.is_thin and role > 0 and position % beat:
            return None
        pitch = note.pitch + self.steps.get((note.pitch - tonic) % 12, 0) + self.octave[role]
        return note._replace(pitch=int(np.clip(pitch, LOWEST, HIGHEST)))

    def chord(self, chord: Chord, tonic: int) -> Chord:
        if chord.root < 0:
            return chord
        degree = (chord.root - tonic) % 12
        third = (degree + (4 if chord.quality.startswith("maj") else 3)) % 12
        turns = third in self.steps and degree not in self.steps
        return chord._replace(root=(chord.root + self.steps.get(degree, 0)) % 12, quality=OTHER_MODE.get(chord.quality, chord.quality) if turns else chord.quality)

    def drums(self, drums: np.ndarray, bars: list[Bar]) -> np.ndarray:
        if self.kit == "other":
            return np.concatenate([patterns.drums(self.groove, self.tier, bar.frames, METRES[bar.metre][1], i == 0, False) for i, bar in enumerate(bars)])
        return drums * (self.kit == "stays")


def varied(piece: Score, rng: np.random.Generator) -> Score:
    """The piece, each phrase of it played another way."""
    starts = piece.bar_starts()
    ways = [Way(rng) for _ in range(0, len(starts), PHRASE_BARS)]
    way_of = lambda frame: ways[bar_number(starts, frame) // PHRASE_BARS]
    position = lambda frame: frame - starts[bar_number(starts, frame)]
    notes = [way_of(n.start).note(n, position(n.start), METRES[piece.bars[bar_number(starts, n.start)].metre][1], piece.tonic) for n in piece.notes]
    drums = np.split(piece.drums, starts[PHRASE_BARS::PHRASE_BARS])
    return Score([ways[b // PHRASE_BARS].bar(bar) for b, bar in enumerate(piece.bars)], piece.tonic, [note for note in notes if note is not None],
                 [way_of(chord.start).chord(chord, piece.tonic) for chord in piece.chords],
                 np.concatenate([way.drums(own, piece.bars[i * PHRASE_BARS:(i + 1) * PHRASE_BARS]) for i, (way, own) in enumerate(zip(ways, drums))]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=900, help="as many of each corpus")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng, played = np.random.default_rng(args.seed), []
    for path in args.corpora:
        with np.load(path) as data:
            codes, offsets, emotion = data["codes"], data["offsets"], data["emotion"]
            captions, kinds = (json.loads(str(data[name])) for name in ("captions", "kinds"))
        for i in rng.permutation(len(offsets) - 1)[:args.pieces // len(args.corpora)].tolist():
            span = slice(offsets[i], offsets[i + 1])
            piece = varied(codes_of.decode(codes[:, span]), rng)
            played.append(Played(codes_of.encode(piece), emotion[span], captions[i], kinds[i]))
    write_arrays(args.output, packed(played, rehearsed=True))


if __name__ == "__main__":
    main()
