"""A rule-based composer: a style, a curve of valence and arousal per bar and a seed go in, a Score comes out.

Cues follow Eerola, Friberg & Bresin 2013 (Frontiers in Psychology 4:487) and what the Emotion Predictor hears of each (bench/composed.py):
arousal moves tempo, dynamics, density, articulation and how many layers play; valence moves mode, the share of major harmony, dissonance,
register, flow, and a little of the rest. Sections repeat with variation; layers and players enter and leave at bar lines; the last bars
close with a cadence. Where somebody judges, each section is the best of several tries.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lara_core.codec.score import LANE, METRES, OCTAVES_PER_AROUSAL, Bar, Chord, Note, Score, QUALITIES

from . import patterns
from .styles import LOWEST, Style

# degree -> semitones above the tonic; case and suffix of the numeral give the quality
NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}

# (valence at home, chords): four bars each; '-' joins two chords in one bar. Minor keys count from the minor tonic.
PROGRESSIONS = (
    (0.95, "I IV I V"), (0.9, "I V IV V"), (0.85, "I IV V I"), (0.8, "I I IV V"), (0.75, "IV V I I"), (0.7, "I V vi IV"),
    (0.65, "I ii IV V"), (0.6, "I vi IV V"), (0.55, "I iii IV V"), (0.55, "I bVII IV I"), (0.5, "IV I V vi"), (0.45, "I vi ii V"),
    (0.35, "ii V I vi"), (0.3, "vi IV I V"), (0.2, "I iv I V"), (0.15, "vi ii IV V"), (0.1, "i IV i IV"), (0.05, "i bVII IV i"),
    (-0.05, "i bVII bVI bVII"), (-0.15, "i bIII bVII IV"), (-0.25, "i bVI bIII bVII"), (-0.3, "i bVI iv V"), (-0.4, "i iv bVII bIII"),
    (-0.5, "i iv i V"), (-0.55, "i iv v i"), (-0.6, "i v iv i"), (-0.65, "i iv iio V"), (-0.7, "i i iv V"), (-0.75, "i bII i V"),
    (-0.8, "i iv iio i"), (-0.85, "i bII bvii i"), (-0.9, "i viio i bII"), (-0.95, "i bv i viio"), (-1.0, "i viio bII viio"),
)
MINOR_BELOW = 0.125  # are progressions in minor
# closing two bars: (valence at home, chords)
CADENCES = ((0.9, "V I"), (0.6, "IV I"), (0.3, "ii-V I"), (0.0, "bVII i"), (-0.3, "iv i"), (-0.5, "V i"), (-0.7, "iv i"), (-0.9, "bII i"))
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 1, 3, 5, 7, 8, 10))  # major, minor, phrygian


def parse_chord(numeral: str) -> tuple[int, str]:
    """'bVII' -> (10, 'maj'), 'iio' -> (2, 'dim')."""
    flat = numeral.startswith("b") and numeral[1:2].lower() in "iv"
    body = numeral[flat:]
    quality = "dim" if body.endswith("o") else "maj" if body[0].isupper() else "min"
    return (NUMERALS[body.rstrip("o").lower()] - flat) % 12, quality


def scale_of(chords: list[tuple[int, str]], tonic: int) -> frozenset[int]:
    """The scale on the tonic that holds most of these chords' tones."""
    tones = [(root + i - tonic) % 12 for root, quality in chords for i in QUALITIES[quality]]
    best = max(SCALES, key=lambda scale: sum(tone in scale for tone in tones))
    return frozenset((tonic + step) % 12 for step in best)


def over_chord(scale: frozenset[int], tones: list[int]) -> frozenset[int]:
    """A scale where a chord sounds: tones of the chord that are foreign to it stand for their neighbours."""
    foreign = set(tones) - scale
    return scale - {(tone + by) % 12 for tone in foreign for by in (-1, 1)} | set(tones)


def coloured(root: int, quality: str) -> str:
    """The seventh chord for a triad; root: semitones above the tonic."""
    if quality == "maj":
        return "7" if root == 7 or root == 2 else "maj7"
    return {"min": "min7", "dim": "m7b5"}.get(quality, quality)


def choose(rng, options, valence: float, width: float = 0.16):
    weights = np.array([np.exp(-0.5 * ((home - valence) / width) ** 2) for home, _ in options])
    return options[rng.choice(len(options), p=weights / weights.sum())][1]


def nearest(pitch_classes, target: float, low: int, high: int) -> int:
    """The pitch of one of these classes that lies nearest to target, within low..high."""
    pitches = [p for p in range(low, high + 1) if p % 12 in pitch_classes]
    return min(pitches, key=lambda p: (abs(p - target), p))


STRETCH_BARS = 8  # a section of the form
TURNS_BARS = 2  # harmony and players may turn so often
SAME_SECTION = 0.35  # a section that comes again is written anew where the emotion has moved farther
CUES = ("tempo", "dynamics", "register", "tier", "flow", "bite", "articulation", "harmony", "kit", "lead", "comp")
FREEDOM = 0.15  # how far each cue strays from the curve for the length of a section: a standard deviation
BREATHES = (0.1, 0.45, 0.2, 0.65)  # of the bars of a phrase, in which chords and bass move less
APPROACHES = 0.45  # of the bars of a phrase, whose second half leads to the next chord from a fifth above it
SYNCOPATES, SYNCOPATED = 0.35, ("rock", "electronic", "jazz", "latin")  # of notes on a beat come an eighth early, with such grooves
# What a melody avoids: moving by 0, 1, .. 12 semitones or farther, a semitone away from its motif, a foreign tone on a beat or held, and one that is
# leapt to or from; chance weighs as much as CHANCE
INTERVALS, FARTHER = (0.4, 0.0, 0.0, 0.6, 0.6, 1.0, 3.0, 1.2, 2.0, 2.0, 3.0, 4.0, 2.0), 5.0
OFF_MOTIF, FOREIGN, FOREIGN_LEAP, CHANCE = 0.2, 1.0, 1.5, 0.3
ARCS = ((0, 2, 4, 0), (0, 2, -1, -3), (0, -2, 2, 0), (2, 4, 1, -2), (0, 0, 3, 0))  # of a phrase's melody: semitones about its centre, bar by bar
ANSWERS = 0.3  # of the notes of a motif that comes again are joined to the one before, and as many split,
LOOSE = 0.1  # and of those of an accompaniment's figure, anew in every bar
RELATIVE = 0.5  # of pieces that come home: where the mode turns, the scale stays (C major, A minor) in place of the tonic (C major, C minor)
HANDS_OVER = 0.7  # of pieces: melody and chords go to other players where the emotion moves
# General MIDI programs: whose melody is heard as gladder than that of others (who blow, bow or sing), and whose chords as ever more aroused
GLOOM = -0.25  # of valence, below which the dark players of a style take over
DEPTH, LOWEST_CENTRE = 20, (42, 40)  # semitones by which a melody is lower where it is dark, chords half as many; and no lower than about these
LIFT = 3  # semitones by which chords may lie higher or lower from phrase to phrase
MUDDY = 52  # MIDI pitch: chords about lower ones have two voices
SINGING = {21, 40, 52, 53, 56, 60, 66, 68, 71, 72, 73, 80, 81, 110}
FORCE = (46, 99, 88, 10, 8, 4, 24, 25, 26, 15, 0, 48, 49, 45, 52, 19, 40, 41, 21, 27, 90, 80, 81, 61, 62, 29, 30)


@dataclass
class Section:
    chords: list[list[tuple[int, str]]]  # per bar of the phrase: one or two (root, quality)
    motif: list[list[tuple[int, int, int]]]  # per bar of the phrase: (position, duration, scale steps from the bar's anchor)
    arc: tuple[int, ...]  # of ARCS
    minor: bool
    tonic: int  # semitones above that of the piece
    valence: float
    arousal: float

    @property
    def scale(self) -> frozenset[int]:
        return scale_of([chord for bar in self.chords for chord in bar], self.tonic)


@dataclass
class Draft:
    """What is written so far."""

    score: Score
    sections: dict[str, Section]  # by their letter in the form
    minor: bool | None = None  # the mode that the piece begins in
    away: tuple[bool, ...] = ()  # which bars stand in the relative key

    def copy(self) -> "Draft":
        score = self.score
        return Draft(Score(list(score.bars), score.tonic, list(score.notes), list(score.chords), score.drums), dict(self.sections), self.minor, self.away)


class Composer:
    """Holds what stays the same over a piece: style, metre, programs, and each tier's patterns."""

    def __init__(self, style: Style, rng: np.random.Generator, metre: str | None = None, programs: tuple[int, ...] | None = None):
        self.style, self.rng = style, rng
        self.metre = metre or str(rng.choice(style.metres))
        self.frames, self.beat = METRES[self.metre]
        pick = lambda options: int(rng.choice(options))
        self.programs = programs or (pick(style.lead), pick(style.second), pick(style.bass), pick(style.comp), pick(style.pad), style.kit)
        self.tempo_bias, self.dynamics_bias, self.tier_bias, self.feel_bias, self.kit_bias = rng.normal(0, (0.05, 0.25, 0.12, 0.15, 0.25))
        self.hands_over = programs is None and rng.random() < HANDS_OVER
        self.relative = rng.random() < RELATIVE
        self.strays = np.zeros((len(CUES), 2))

    def stray(self) -> None:
        """From here on every cue but the tempo is a little off the curve in its own way, and accompaniment and bass have figures of their own, so
        that no two tries are alike."""
        self.comp_names = [str(self.rng.choice(options)) for options in self.style.comp_patterns]
        self.bass_names = [str(self.rng.choice(options)) for options in self.style.bass_patterns]
        self.strays = self.rng.normal(0, FREEDOM, (len(CUES), 2))
        self.strays[CUES.index("tempo")] = 0  # that would jump

    def asked(self, cue: str, valence: float, arousal: float) -> tuple[float, float]:
        """What one of CUES answers to."""
        return tuple(np.clip(np.add((valence, arousal), self.strays[CUES.index(cue)]), -1, 1).tolist())

    # -- cues -------------------------------------------------------------------------------------------------------

    def tempo(self, valence: float, arousal: float) -> float:
        valence, arousal = self.asked("tempo", valence, arousal)
        centre = self.style.tempo_centre_bpm ** 0.6 * 96 ** 0.4  # a style pulls the tempo, arousal rules it
        return float(np.clip(centre * 2 ** (OCTAVES_PER_AROUSAL * arousal + 0.05 * valence + self.tempo_bias), 44, 200))

    def dynamics(self, valence: float, arousal: float) -> int:
        valence, arousal = self.asked("dynamics", valence, arousal)
        return int(np.clip(round(3.4 + 2.9 * arousal - 0.3 * valence + self.dynamics_bias), 0, 7))

    def register(self, valence: float, arousal: float) -> float:
        """Semitones by which an ensemble plays higher: light is high, force is low."""
        valence, arousal = self.asked("register", valence, arousal)
        return 14 * valence - 4 * arousal

    def depth(self, valence: float, arousal: float) -> float:
        """Semitones by which a melody is lower still where it is dark, so that nothing bright is left above it."""
        return DEPTH * max(-self.asked("register", valence, arousal)[0], 0) ** 0.7

    def tier(self, arousal: float) -> int:
        return int(np.clip(np.floor((arousal + self.tier_bias + 1) * 2), 0, 3))

    def flow(self, valence: float, arousal: float) -> float:
        """How busy the figures are, as the arousal of a neutral piece: light music flows, dark music stands, or is driven where it is tense."""
        valence, arousal = self.asked("flow", valence, arousal)
        return 0.7 * arousal + 0.5 * valence + 0.4 * max(-valence, 0) * max(arousal, 0)

    def bite(self, valence: float, arousal: float) -> float:
        """How often dark music grinds: the share of melody notes that lean on the next from a semitone away, of chords with a foreign semitone."""
        valence, arousal = self.asked("bite", valence, arousal)
        return float(np.clip(-0.35 * valence - 0.12, 0, 0.2) * (0.8 + 0.2 * arousal))

    def articulation(self, valence: float, arousal: float) -> str:
        valence, arousal = self.asked("articulation", valence, arousal)
        bounce = 0.8 * arousal + 0.1 * valence + self.feel_bias
        if bounce > 0.5:
            return "staccato"
        if bounce > 0.0:
            return "detached"
        return "pedal" if self.style.pedal else "legato"

    def drummed(self, valence: float, arousal: float) -> bool:
        """Whether there is a groove: what is sad or still goes without, and much of what is dark and tense."""
        valence, arousal = self.asked("kit", valence, arousal)
        return self.programs[5] >= 0 and 0.7 * valence + 0.8 * arousal + self.kit_bias > 0.1

    def players(self, valence: float, arousal: float) -> tuple[int, ...]:
        """The programs. Where a piece hands over, the melody is with the voice that suits the valence, and the chords with the one that
        suits the arousal; what is dark belongs to those of the style who play low."""
        lead, second, bass, comp, pad, kit = self.programs
        gloom, force = self.asked("lead", valence, arousal)
        if self.hands_over and self.style.dark and gloom < GLOOM:
            lead, second, comp, pad = self.style.tense if force > 0 else self.style.dark
        elif self.hands_over:
            if (lead in SINGING) != (second in SINGING) and (lead in SINGING) != (gloom > -0.05):
                lead, second = second, lead
            forces = sorted({*self.style.comp}, key=FORCE.index)
            comp = forces[int(np.clip((self.asked("comp", valence, arousal)[1] + 1) / 2 * len(forces), 0, len(forces) - 1))]
        return (lead, second, bass, comp, pad, kit)

    def layers(self, tier: int, drummed: bool) -> str:
        return self.style.layers[tier].replace("k", "") + ("k" if drummed else "")

    # -- material ---------------------------------------------------------------------------------------------------

    def section(self, valence: float, arousal: float, home: bool | None = None) -> Section:
        """home: whether the key is minor to whose relative this goes where the mode is the other one; None: the tonic stays."""
        rng, (v, a) = self.rng, self.asked("harmony", valence, arousal)
        chords, numerals = [], choose(rng, PROGRESSIONS, v - 0.2 * a).split()
        minor = "i" in numerals
        tonic = 0 if home in (None, minor) else 9 if minor else 3
        for numeral in numerals:
            bar = []
            for name in numeral.split("-"):
                root, quality = parse_chord(name)
                if rng.random() < self.style.sevenths * (1.0 if arousal < 0.4 else 0.6):
                    quality = coloured(root, quality)
                bar.append(((root + tonic) % 12, quality))
            chords.append(bar)
        self.approach(chords, tonic)
        question = [self.rhythm(self.flow(valence, arousal)) for _ in range(2)]
        arc = ARCS[rng.integers(len(ARCS))]
        return Section(chords, question + [self.answer(bar) for bar in question], arc, minor, tonic, valence, arousal)

    def approach(self, chords: list[list[tuple[int, str]]], tonic: int) -> None:
        """Let some bars of a phrase lead to the next chord by a chord of the scale a fifth above it."""
        scale = scale_of([chord for bar in chords for chord in bar], tonic)
        for bar, following in zip(chords, chords[1:] + chords[:1]):
            root = (following[0][0] + 7) % 12
            qualities = [quality for quality in ("maj", "min") if {(root + i) % 12 for i in QUALITIES[quality]} <= scale]
            if len(bar) == 1 and qualities and root != bar[0][0] and self.rng.random() < APPROACHES:
                bar.append((root, qualities[0]))

    def rhythm(self, flow: float) -> list[tuple[int, int, int]]:
        """One bar of a motif. Density follows the flow: from a note every two beats to two notes a beat."""
        rng, frames, beat = self.rng, self.frames, self.beat
        per_beat = 0.95 * 2 ** (1.2 * flow) * (beat / 4) ** 0.5
        grid = 1 if flow > 0.55 and beat == 4 else 2
        weights = np.array([2.0 if p == 0 else 1.4 if p % beat == 0 else 1.0 if p % 2 == 0 else 0.25 for p in range(0, frames, grid)])
        n = int(np.clip(round(per_beat * frames / beat + rng.normal(0, 0.5)), 1, len(weights)))
        onsets = np.sort(rng.choice(np.arange(0, frames, grid), size=n, replace=False, p=weights / weights.sum()))
        if self.style.drums in SYNCOPATED:
            early = [p - 2 if p % beat == 0 and p and p - 2 not in onsets and rng.random() < SYNCOPATES else p for p in onsets]
            onsets = np.sort(early)
        ends = [*onsets[1:], frames]
        steps, step = [], 0
        for _ in onsets:
            steps.append(step)
            step = int(np.clip(step + rng.choice((-2, -1, -1, 1, 1, 2, 0, 3, -3), p=(.1, .22, .1, .22, .1, .1, .06, .05, .05)), -5, 6))
        return [(int(p), int(e - p), s) for p, e, s in zip(onsets, ends, steps)]

    def answer(self, bar: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """A bar of a motif that comes again: as it was, or varied."""
        return self.varied(bar, ANSWERS, 4, lambda step: step + int(self.rng.choice((-1, 1))))

    def varied(self, bar: list[tuple], share: float, shortest: int, turned: Callable = lambda what: what) -> list[tuple]:
        """A bar (position, duration, what), of whose notes this share is joined to the one before and as many of those that are not too short are
        split, the second half turned."""
        notes = []
        for position, duration, what in bar:
            turn = self.rng.random()
            if turn < share and notes:
                first, _, before = notes[-1]
                notes[-1] = (first, position + duration - first, before)
            elif turn > 1 - share and duration >= shortest:
                half = duration // 4 * 2 or 1
                notes += [(position, half, what), (position + half, duration - half, turned(what))]
            else:
                notes.append((position, duration, what))
        return notes

    # -- a bar ------------------------------------------------------------------------------------------------------

    def melody(self, at: int, motif, chord_at, scale, centre: float, bite: float, closing: bool, before: int | None) -> list[Note]:
        """Play a motif from the note before on; some notes then lean on the next from a semitone away."""
        half = patterns.middle(self.frames, self.beat)
        if closing:  # the phrase comes to rest, and may breathe
            rests = self.frames - half - self.beat * int(self.rng.integers(2))
            motif = [(p, min(d, half - p), s) for p, d, s in motif if p < half] + ([(half, rests, motif[-1][2])] if rests > 0 else [])
        line = self.line(motif, chord_at, scale, centre, before)
        notes = [Note(LANE["lead"], at + position, duration, pitch) for (position, duration, _), pitch in zip(motif, line)]
        for i, note in enumerate(notes[1:]):
            if self.rng.random() < bite:
                notes[i] = notes[i]._replace(pitch=note.pitch + int(self.rng.choice((-1, 1))))
        return notes

    def line(self, motif, chord_at, scale, centre: float, before: int | None) -> list[int]:
        """The pitches of a motif, the cheapest of all lines in the scale: mostly by step, strong and long notes on chord tones, others passing
        between them."""
        low, high = max(int(centre) - 16, 36), min(int(centre) + 16, 100)
        pitches = np.arange(low, high + 1)
        anchor = nearest(chord_at(0), centre, low, high)
        apart = np.abs(pitches[:, None] - pitches)
        moves, leaps = np.array([*INTERVALS, FARTHER])[apart.clip(max=len(INTERVALS))], apart > 2
        ways, foreign_before = [], np.zeros(len(pitches), int)
        costs = np.where(pitches == before, 0, np.inf) if before in pitches else np.zeros(len(pitches))
        for position, duration, steps in motif:
            tones = chord_at(position)
            inside = np.isin(pitches % 12, list(over_chord(scale, tones)))
            ladder = pitches[inside]
            wanted = ladder[int(np.clip(np.abs(ladder - anchor).argmin() + steps, 0, len(ladder) - 1))]
            foreign = (~np.isin(pitches % 12, tones)).astype(int)
            own = OFF_MOTIF * np.abs(pitches - wanted) + np.where(inside, self.rng.gumbel(0, CHANCE, len(pitches)), np.inf)
            if position % self.beat == 0 or duration >= self.beat:
                rubs = foreign & (np.isin((pitches + 1) % 12, tones) | np.isin((pitches - 1) % 12, tones))
                own += FOREIGN * (foreign + rubs)
            paths = costs[:, None] + moves + FOREIGN_LEAP * leaps * (foreign_before[:, None] + foreign)
            ways.append(paths.argmin(0))
            costs, foreign_before = paths.min(0) + own, foreign
        best, line = int(costs.argmin()), []
        for came_from in reversed(ways):
            line.append(int(pitches[best]))
            best = int(came_from[best])
        return line[::-1]

    def voicing(self, root: int, quality: str, centre: int) -> list[int]:
        """Three voices in close position about the centre, two where it is low: third and seventh before the fifth."""
        _, third, fifth, *seventh = QUALITIES[quality]
        inner = (third, *seventh, 0) if seventh else (third, 0, fifth)
        classes = [(root + i) % 12 for i in inner[:2 if centre < MUDDY else 3]]
        first = nearest(classes, centre - 4, centre - 12, centre + 6)
        return [pitch for pitch in range(first, first + 12) if pitch % 12 in classes]

    def compose(self, valence: np.ndarray, arousal: np.ndarray, judge: Callable[[Score], float] | None = None, tries: int = 1) -> Score:
        """valence, arousal [n_bars] -> Score in C, closed by a cadence; `away` [n_bars] then says which bars of it stand in the relative
        key. judge: of the piece as far as it is written, the less the better; of `tries` ways to go on with the next section the best one stays."""
        n_bars = len(valence)
        self.form = "AABA" if n_bars >= 24 else "AB"
        self.intro = int(self.rng.choice((0, 0, 2, 4))) if n_bars >= 16 else 0
        self.lead_rests = self.rng.random() < 0.5
        draft = Draft(Score([], tonic=0), {})
        for first in range(0, n_bars, STRETCH_BARS):
            ways = []
            for _ in range(tries if judge else 1):
                self.stray()
                ways.append(self.stretch(draft.copy(), range(first, min(first + STRETCH_BARS, n_bars)), valence, arousal))
            draft = min(ways, key=lambda way: judge(way.score)) if len(ways) > 1 else ways[0]
        self.away = np.array(draft.away)
        return draft.score

    def stretch(self, draft: "Draft", bars: range, valence: np.ndarray, arousal: np.ndarray) -> "Draft":
        """The draft, its next bars written."""
        rng, style, frames, beat, score = self.rng, self.style, self.frames, self.beat, draft.score
        drums = [score.drums]
        for b in bars:
            v, a = float(valence[b]), float(arousal[b])
            left, phrase_bar = len(valence) - b, b % 4
            name = self.form[(b // STRETCH_BARS) % len(self.form)]
            section = draft.sections.get(name)
            if section is None or (b % TURNS_BARS == 0 and abs(section.valence - v) + abs(section.arousal - a) > SAME_SECTION):
                begun = phrase_bar  # of its chords the first is in this bar
                returns = self.relative and draft.minor == (valence[-1] - 0.2 * arousal[-1] < MINOR_BELOW)
                section = draft.sections[name] = self.section(v, a, draft.minor if returns else None)
                draft.minor = section.minor if draft.minor is None else draft.minor
            if phrase_bar == 0:
                begun = 0
                lift = int(rng.integers(-LIFT, LIFT + 1))
                motif = section.motif if b % STRETCH_BARS == 0 else [self.answer(bar) for bar in section.motif]
            if b % TURNS_BARS == 0:
                players = self.players(v, a)
                ending = choose(rng, CADENCES, v).split()
            tier, at = self.tier(self.asked("tier", v, a)[1]), b * frames
            layers = self.layers(tier, self.drummed(v, a))
            chords = section.chords[phrase_bar - begun]
            if left <= 2 and len(valence) > 2:
                chords = [parse_chord(x) for x in ending[2 - left].split("-")]
            changes = [(at, *chords[0])] + ([(at + patterns.middle(frames, beat), *chords[1])] if len(chords) > 1 else [])
            score.chords += [Chord(f, r, q) for f, r, q in changes]

            def chord_at(position: int, changes=changes, at=at):
                root, quality = [(r, q) for f, r, q in changes if f - at <= position][-1]
                return [(root + i) % 12 for i in QUALITIES[quality]]

            shift = self.register(v, a)
            final = left == 1
            if not final and not (b < self.intro) and "l" in layers and not (self.lead_rests and phrase_bar == 3 and b % 8 == 7 and tier < 3):
                lowest = max(LOWEST_CENTRE[0], LOWEST.get(players[0], 0) + 4)
                centre = max(style.lead_centre + shift - self.depth(v, a), lowest) + section.arc[phrase_bar]
                sung = next((note.pitch for note in reversed(score.notes) if note.lane == LANE["lead"]), None)
                notes = self.melody(at, motif[phrase_bar], chord_at, section.scale, centre, self.bite(v, a), phrase_bar == 3, sung)
                score.notes += notes
                if "s" in layers and phrase_bar in (1, 2, 3):
                    for note in notes:
                        if note.duration >= 2:  # a third below or farther: of the chord on a beat, else of the scale
                            tones, on_beat = chord_at(note.start - at), (note.start - at) % beat == 0
                            below = nearest(tones if on_beat else over_chord(section.scale, tones), note.pitch - 4, 24, note.pitch - 3)
                            score.notes.append(Note(LANE["second"], note.start, note.duration, below))
            self.accompany(score, at, changes, layers, section.tonic, v, a, shift, lift, final, rng.random() < BREATHES[phrase_bar])
            drums.append(patterns.drums(style.drums, tier, frames, beat, phrase_bar == 0, phrase_bar == 3 and b % 8 == 7)
                         if "k" in layers and not final else np.zeros(frames, np.uint8))
            if final and "k" in layers:
                drums[-1][0] = patterns.BIT["kick"] | patterns.BIT["crash"]
            if final:  # the melody ends on the tonic or the third, near where it was
                before = [n.pitch for n in score.notes if n.lane == LANE["lead"]]
                root, quality = chords[0]
                score.notes.append(Note(LANE["lead"], at, frames, nearest([root, (root + QUALITIES[quality][1]) % 12], before[-1] if before else style.lead_centre, 40, 96)))
            programs = tuple(p if letter in layers or letter == "l" else -1 for p, letter in zip(players, "lsbcpk"))
            draft.away += (section.tonic != 0,)
            score.bars.append(Bar(self.metre, self.tempo(v, a), self.dynamics(v, a), self.articulation(v, a), style.swing, programs, left))
        score.drums = np.concatenate(drums)
        return draft

    def accompany(self, score: Score, at: int, changes, layers: str, tonic: int, valence: float, arousal: float, shift: float, lift: int,
                  final: bool, breathes: bool):
        """Comp, pad and bass of one bar; the last bar holds its chord, and one that breathes moves as calmer music does."""
        frames, beat = self.frames, self.beat
        lower = lift + int(round((shift - self.depth(valence, arousal)) / 2))
        comp_centre = max(62 + lower, LOWEST_CENTRE[1]) if self.style.lead_centre < 80 else 70
        busy = max(self.tier(self.flow(valence, arousal)) - breathes, 0)
        comp = patterns.comp("block" if final else self.comp_names[busy], frames, beat) if "c" in layers else []
        if not final:
            comp = self.varied(comp, LOOSE, 2)
        bass = patterns.bass("whole" if final else self.bass_names[max(self.tier(arousal) - breathes, 0)], frames, beat) if "b" in layers else []
        spans = [(start, (changes[i + 1][0] if i + 1 < len(changes) else at + frames), root, quality)
                 for i, (start, root, quality) in enumerate(changes)]
        for i, (start, end, root, quality) in enumerate(spans):
            voices = self.voicing(root, quality, comp_centre)
            grinds = not final and self.rng.random() < self.bite(valence, arousal)
            if grinds:  # a semitone above the root rubs against it
                voices[-1] = nearest([(root + 1) % 12], voices[-1], 36, 96)
            for position, duration, which in comp:
                if start <= at + position < end:
                    for w in {min(w, len(voices) - 1) for w in which}:
                        score.notes.append(Note(LANE["comp1"] + w, at + position, min(duration, end - at - position), voices[w]))
            if comp and comp[0][0] + at < start and len(comp) == 1:  # a held chord is struck again when the harmony moves
                score.notes += [Note(LANE["comp1"] + w, start, end - start, voice) for w, voice in enumerate(voices)]
            if "p" in layers:  # two voices say the chord: the third, and the seventh or fifth; the root where there is no bass. Beside chords one will do
                intervals, middle = QUALITIES[quality], max(60 + lower, LOWEST_CENTRE[1])
                other = 1 if grinds else 0 if "b" not in layers else intervals[-1]
                for lane, interval, centre in (("pad1", intervals[1], middle + 3), ("pad2", other, middle - 3))[:1 if comp else 2]:
                    score.notes.append(Note(LANE[lane], start, end - start, nearest([(root + interval) % 12], centre, 40, 84)))
            low = nearest([root], 42 + shift / 4 - 4 * arousal, 30, 54)
            following = spans[i + 1][2] if i + 1 < len(spans) else root
            pitch = {"root": low, "fifth": nearest([(root + QUALITIES[quality][2]) % 12], low + 2, 30, 57), "octave": low + 12,
                     "third": nearest([(root + QUALITIES[quality][1]) % 12], low + 3, 30, 57),
                     "approach": nearest([(following + 11) % 12, (following + 2) % 12], low, 30, 57), "tonic": nearest([tonic], 38, 30, 54)}
            for position, duration, what in bass:
                if start <= at + position < end:
                    score.notes.append(Note(LANE["bass"], at + position, min(duration, end - at - position), pitch[what]))
            if bass and at + bass[0][0] < start and not any(start <= at + p < end for p, _, _ in bass):
                score.notes.append(Note(LANE["bass"], start, end - start, low))
