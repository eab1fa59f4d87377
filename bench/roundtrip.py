"""How much of real music survives the score codec: parts -> Score -> codes -> Score, note F1 per family, and what was lost.

    python -m bench.roundtrip [--bars 96]     # needs `pip install music21 mir_eval`

A note counts where mir_eval.transcription matches it one to one: same pitch, onset within half a sixteenth of the written
one ('onset'), and besides its end within 20 % of its length or one sixteenth ('offset'). Grace notes are not in the reference.
"""

import argparse
from collections import defaultdict

import numpy as np

from lara_core.codec.parts import measured_from_parts
from lara_core.codec.score import decode, encode
from lara_core.codec.timeline import plan_bars
from training.scores import corpus_files, read_music21, source_of, SOURCES

PIECES = {"chorale": 15, "quartet": 15, "folk": 12, "piano": 8}


def selection() -> list[tuple[str, int | None]]:
    """The same 50 pieces every time, spread over each family."""
    families = defaultdict(list)
    for name, number in corpus_files():
        families[SOURCES[source_of(name)][0]].append((name, number))
    chosen = []
    for family, wanted in PIECES.items():
        found = families[family]
        chosen += [found[i * len(found) // wanted] for i in range(min(wanted, len(found)))]
    return chosen


def roundtrip(arguments: dict, max_bars: int) -> dict:
    """The arguments of training.scores.piece -> F1 without and with offsets, and the share of notes lost for each reason."""
    from mir_eval.transcription import precision_recall_f1_overlap
    parts, metres = arguments["parts"], arguments["metres"]
    score, losses = measured_from_parts(parts, metres=metres, title=arguments["title"], sharps=arguments["sharps"], chords=[],
                                        articulations=arguments["articulations"], max_bars=max_bars)
    read = decode(encode(score))
    timeline = plan_bars(metres, max(n.start + n.duration for part in parts for n in part.notes))
    reference = [(timeline.frames(n.start), timeline.frames(n.start + n.duration), n.pitch)
                 for part in parts if not part.is_drum for n in part.notes]
    reference = [(a, max(min(b, score.frames), a + 0.01), p) for a, b, p in reference if np.floor(a + 0.5) < score.frames]
    found = [(n.start, n.start + n.duration, n.pitch) for n in read.notes]
    intervals = [np.array([(a, b) for a, b, _ in notes], float) for notes in (reference, found)]
    pitches = [440 * 2 ** ((np.array([p for *_, p in notes]) - 69) / 12) for notes in (reference, found)]
    f1 = []
    for offset_ratio in (None, 0.2):
        f1.append(precision_recall_f1_overlap(intervals[0], pitches[0], intervals[1], pitches[1], onset_tolerance=0.501,
                                              offset_ratio=offset_ratio, offset_min_tolerance=1.001)[2])
    n = len(reference)
    return dict(notes=n, onset=f1[0], offset=f1[1], quantisation=losses.merged / n, overflow=losses.dropped / n, cut=losses.cut / n)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bars", type=int, default=96)
    options = parser.parse_args()
    results = defaultdict(list)
    for name, number in selection():
        try:
            arguments = read_music21(name, number)
        except ValueError as error:
            print(error)
            continue
        result = roundtrip(arguments, options.bars)
        results[arguments["family"]].append(result)
        print(f"{arguments['family']:8} {result['onset']:.3f} {result['offset']:.3f}  {arguments['title']}", flush=True)
    print(f"{'':8} {'pieces':>6} {'notes':>6} {'onset F1':>9} {'least':>6} {'offset F1':>9}   lost: merged  dropped  (cut short)")
    for family, rows in results.items():
        mean = {k: np.mean([r[k] for r in rows]) for k in rows[0]}
        print(f"{family:8} {len(rows):6} {sum(r['notes'] for r in rows):6} {mean['onset']:9.4f} {min(r['onset'] for r in rows):6.3f} "
              f"{mean['offset']:9.4f}         {mean['quantisation']:6.2%}   {mean['overflow']:6.2%}   {mean['cut']:6.2%}")


if __name__ == "__main__":
    main()
