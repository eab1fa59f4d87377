"""Patterns of the rule-based composer: what accompaniment, bass and drums do within a bar, at any metre.

A comp pattern gives (position, duration, voices) in frames, voices being indices into a close-position chord (0 lowest).
A bass pattern gives (position, duration, what): what is "root", "fifth", "octave", "third", "approach" or "tonic".
A drum pattern gives a mask per frame (bits as in lara_core.codec.score.DRUMS).
"""

import numpy as np

from lara_core.codec.score import DRUMS

BIT = {name: 1 << i for i, name in enumerate(DRUMS)}


def middle(frames: int, beat: int) -> int:
    """The beat at which a bar's second half begins."""
    return frames // 2 if frames % 8 == 0 else beat * ((frames // beat + 1) // 2)


def comp(name: str, frames: int, beat: int) -> list[tuple[int, int, tuple[int, ...]]]:
    half = middle(frames, beat)
    beats, eighths = range(0, frames, beat), range(0, frames, 2)
    match name:
        case "block":
            return [(0, frames, (0, 1, 2))]
        case "halves":
            return [(0, half, (0, 1, 2)), (half, frames - half, (0, 1, 2))]
        case "pulse":
            return [(b, beat, (0, 1, 2)) for b in beats]
        case "power8":
            return [(p, 2, (0, 1)) for p in eighths]
        case "offbeat":
            return [(b + beat // 2, beat // 2, (0, 1, 2)) for b in beats]
        case "waltz":
            return [(b, beat, (0, 1, 2)) for b in list(beats)[1:]]
        case "charleston":
            return [(0, 3, (0, 1, 2)), (6, 2, (0, 1, 2))] + ([(frames - 2, 2, (0, 1, 2))] if frames > 12 else [])
        case "bossa":
            return [(p, 2, (0, 1, 2)) for p in (0, 3, 6, 10, 12) if p < frames]
        case "strum":
            return [(p, d, (0, 1, 2)) for p, d in ((0, 4), (4, 2), (6, 4), (10, 2), (12, 2), (14, 2)) if p + d <= frames]
        case "sparse":
            return [(b, frames - b, (i,)) for i, b in enumerate(list(beats)[:3])]
        case "arp8":
            return [(p, 2, ((0, 1, 2, 1)[i % 4],)) for i, p in enumerate(eighths)]
        case "alberti":
            return [(p, 2, ((0, 2, 1, 2)[i % 4],)) for i, p in enumerate(eighths)]
        case "arp16":
            return [(p, 1, ((0, 1, 2, 1)[p % 4],)) for p in range(frames)]
        case "ostinato":
            return [(p, 1 + (p % 4 == 0), ((0,) if p % 4 else (0, 1, 2))) for p in range(frames) if p % 4 != 1]
        case "tremolo":
            return [(p, 2, (0, 1, 2)) for p in eighths]
    raise ValueError(f"Unknown comp pattern {name!r}.")


def bass(name: str, frames: int, beat: int) -> list[tuple[int, int, str]]:
    half = middle(frames, beat)
    beats = list(range(0, frames, beat))
    match name:
        case "whole":
            return [(0, frames, "root")]
        case "pedal":
            return [(0, frames, "tonic")]
        case "half":
            return [(0, half, "root"), (half, frames - half, "fifth")]
        case "octave":
            return [(p, 2, "octave" if p // 2 % 2 else "root") for p in range(0, frames, 2)]
        case "pulse8":
            return [(p, 2, "root") for p in range(0, frames, 2)]
        case "offbeat8":
            return [(b + beat // 2, beat // 2, "root") for b in beats]
        case "walking":
            return [(b, beat, ("root", "third", "fifth", "approach")[min(i, 3)] if b != beats[-1] else "approach") for i, b in enumerate(beats)]
        case "synco":
            return [(p, d, w) for p, d, w in ((0, 6, "root"), (6, 2, "fifth"), (8, 6, "fifth"), (14, 2, "root")) if p + d <= frames]
    raise ValueError(f"Unknown bass pattern {name!r}.")


# by family and tier 1..3 (tier 0 is silent but for 'jazz' and 'latin'); x: struck, one character a sixteenth, in 4/4
GROOVES = {
    "rock": ({"kick": "x.......x.......", "hat": "x...x...x...x..."},
             {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
             {"kick": "x.x...x.x.x...x.", "snare": "....x.......x..x", "hat": "x.x.x.x.x.x.x.x.", "crash": "x..............."}),
    "electronic": ({"hat": "..x...x...x...x.", "kick": "x.......x......."},
                   {"kick": "x...x...x...x...", "hat": "..x...x...x...x.", "snare": "....x.......x..."},
                   {"kick": "x...x...x...x...", "snare": "....x..x....x...", "hat": "xxx.xxx.xxx.xxx.", "crash": "x..............."}),
    "jazz": ({"ride": "x...x...x...x...", "hat": "....x.......x..."},
             {"ride": "x...x.x.x...x.x.", "hat": "....x.......x...", "kick": "x..............."},
             {"ride": "x...x.x.x...x.x.", "hat": "....x.......x...", "kick": "x.....x.........", "snare": "..x....x......x."}),
    "latin": ({"shaker": "x.x.x.x.x.x.x.x.", "kick": "x.......x......."},
              {"shaker": "x.x.x.x.x.x.x.x.", "kick": "x.....x.x.....x.", "snare": "x..x..x...x..x.."},
              {"shaker": "xxxxxxxxxxxxxxxx", "kick": "x.....x.x.....x.", "snare": "x..x..x...x..x..", "ride": "x...x...x...x..."}),
    "orchestral": ({"tom": "x..............."}, {"tom": "x.......x.......", "kick": "x..............."},
                   {"tom": "x..xx..xx..xx.xx", "kick": "x.......x.......", "crash": "x...............", "snare": "......xx......xx"}),
    "folk": ({"shaker": "x...x...x...x..."}, {"shaker": "x.x.x.x.x.x.x.x.", "kick": "x.......x......."},
             {"shaker": "x.xxx.xxx.xxx.xx", "kick": "x...x...x...x...", "tom": "......x.......x."}),
    "soft": ({"shaker": "....x.......x..."}, {"shaker": "..x...x...x...x.", "kick": "x..............."},
             {"kick": "x.......x.......", "shaker": "x.x.x.x.x.x.x.x.", "ride": "....x.......x..."}),
    "none": ({}, {}, {}),
}


def drums(family: str, tier: int, frames: int, beat: int, phrase_start: bool, fill: bool) -> np.ndarray:
    """The mask of each frame [F]. A crash opens a phrase; a fill of snare and toms closes one."""
    groove = GROOVES[family][max(tier, 1) - 1]
    mask = np.zeros(frames, np.uint8)
    for drum, row in groove.items():
        if drum == "crash" and not phrase_start:
            continue
        for frame in range(frames):
            # other metres read the 4/4 row by position in the beat: 6/8 keeps its first and last eighth of each beat
            at = frame if frames == 16 else (frame // beat * 4 + min(frame % beat * 4 // beat, 3)) % 16
            if row[at] == "x" and (beat == 4 or frame % 2 == 0):
                mask[frame] |= BIT[drum]
    if fill and family in ("rock", "electronic", "orchestral") and tier >= 2:
        mask[-beat:] = 0
        for i, frame in enumerate(range(frames - beat, frames)):
            mask[frame] = BIT["snare"] if i < beat // 2 else BIT["tom"]
    return mask
