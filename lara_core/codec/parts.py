"""Parts -> a Score: what any importer knows (notes in quarters, programs, metres, tempi) laid onto the grid and the lanes.

A part comes in with any polyphony; a Score has eight monophonic pitch lanes. In between: a bar plan in supported metres,
quantisation to sixteenths, one lane per note by least cost (an assignment at every onset), and per bar the programs,
dynamics and articulation. Key and chords are estimated where the importer does not know them.
"""

from collections import Counter, defaultdict
from typing import NamedTuple, Sequence

import numpy as np

from .harmony import estimate_key, find_chords
from .score import DRUMS, LANE, METRES, PITCH_LANES, QUALITIES, ROLE_OF_LANE, ROLES, Bar, Chord, Note, Score, bar_number
from .timeline import FRAMES_PER_QUARTER, PartNote, Placed, nearest_metre, plan_bars, quantise, swings, unswing

MAX_MINUTES = 120.0
SLOWEST_BPM, FASTEST_BPM = 10.0, 600.0
LINE = 0.95  # a part is a line if this share of its notes begin alone, with nothing of it held

DRUM_OF_KEY = {  # General MIDI percussion key -> drum; keys left out are hand percussion and count as shaker
    **dict.fromkeys((35, 36), "kick"), **dict.fromkeys((37, 38, 39, 40), "snare"), **dict.fromkeys((42, 44, 46), "hat"),
    **dict.fromkeys((51, 53, 59), "ride"), **dict.fromkeys((49, 52, 55, 57), "crash"),
    **dict.fromkeys((41, 43, 45, 47, 48, 50, *range(60, 67)), "tom"),
}

# What a note costs in each lane, by what its part is. Order: bass, lead, second, comp1..3, pad1..2.
HOMES = {
    "lead": (6, 0, 1.5, 3, 3, 3, 3, 3),
    "second": (6, 3, 0, 1, 1, 1, 2, 2),
    "bass": (0, 7, 4, 2, 2, 2, 2.5, 2.5),
    "comp": (3, 4, 2, 0, 0, 0, 1, 1),
    "pad": (4, 5, 3, 1.5, 1.5, 1.5, 0, 0),
    "right hand": (5, 0, 0.7, 0.9, 0.9, 0.9, 1.4, 1.4),
    "left hand": (0, 4, 2, 0.4, 0.4, 0.4, 1, 1),
    "both hands": (0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1),
    "accompaniment": (0, 5, 2, 0.4, 0.4, 0.4, 1, 1),
}
KEYBOARD = {"right hand": (True, False), "left hand": (False, True), "both hands": (True, True), "accompaniment": (False, True)}
INNER_LANES = ("second", "comp1", "comp2", "comp3", "pad1", "pad2")  # homes of inner lines, from the top down
LEAP, LEAP_AT_HOME = 0.12, 0.02  # a semitone away from the lane's last note; a line may leap and stay in its lane
DROP_COST, DOUBLED_COST = 14.0, 5.0
PAD_PROGRAMS = {*range(48, 56), *range(88, 96)}


class Part(NamedTuple):
    program: int = 0
    is_drum: bool = False
    notes: Sequence[PartNote] = ()
    role: str | None = None  # a name in HOMES where the importer knows it


class Losses(NamedTuple):
    """What became of the notes that came in."""

    notes: int
    merged: int  # ran into another note of their part within one sixteenth, or struck the same key
    dropped: int  # no lane was free
    cut: int  # shortened because their lane was needed


def assign(cost: Sequence[Sequence[float]]) -> list[int]:
    """cost [N,M], N <= M -> a column for each row, all different, of least total cost (Kuhn 1955, shortest augmenting paths)."""
    n, m = len(cost), len(cost[0])
    if n == 1:
        return [min(range(m), key=cost[0].__getitem__)]
    u, v, row_of, way = [0.0] * (n + 1), [0.0] * (m + 1), [0] * (m + 1), [0] * (m + 1)
    for i in range(1, n + 1):
        row_of[0], column = i, 0
        least, used = [float("inf")] * (m + 1), [False] * (m + 1)
        while row_of[column]:
            used[column] = True
            row, delta, following = row_of[column], float("inf"), 0
            for j in range(1, m + 1):
                if not used[j]:
                    reduced = cost[row - 1][j - 1] - u[row] - v[j]
                    if reduced < least[j]:
                        least[j], way[j] = reduced, column
                    if least[j] < delta:
                        delta, following = least[j], j
            for j in range(m + 1):
                if used[j]:
                    u[row_of[j]] += delta
                    v[j] -= delta
                else:
                    least[j] -= delta
            column = following
        while column:
            row_of[column], column = row_of[way[column]], way[column]
    columns = [0] * n
    for j in range(1, m + 1):
        if row_of[j]:
            columns[row_of[j] - 1] = j - 1
    return columns


def part_homes(parts: Sequence[Part], placed: Sequence[Sequence[Placed]]) -> list[tuple[str, tuple[float, ...]]]:
    """For each part its kind and its cost in every pitch lane.

    Highest line -> lead, lowest part -> bass, other lines -> second, comp and pad from the top down, chords -> comp or pad.
    A part alone is a melody if it is a line, else a keyboard piece.
    """
    share, height, active = {}, {}, {}
    for i, notes in enumerate(placed):
        if notes:
            onsets = Counter(n.start for n in notes)
            held = {b.start for a, b in zip(notes, notes[1:]) if a.end > b.start + max(1, (a.end - a.start) // 4)}
            share[i] = sum(c == 1 and start not in held for start, c in onsets.items()) / len(onsets)
            height[i] = np.average([n.pitch for n in notes], weights=[n.end - n.start for n in notes])
            active[i] = len(onsets)
    kinds = {i: parts[i].role for i in share if parts[i].role}
    unknown = [i for i in share if i not in kinds]
    taken = set(kinds.values())
    busy = max((active[i] for i in unknown), default=0)
    if len(unknown) == 1 and not kinds:
        kinds[unknown[0]] = "lead" if share[unknown[0]] >= LINE else "both hands"
    elif unknown:
        main = [i for i in unknown if active[i] >= 0.2 * busy]
        if "bass" not in taken and "left hand" not in taken:
            low = min(main, key=lambda i: height[i])
            kinds[low] = "bass" if share[low] >= 0.8 else "left hand"
        if "lead" not in taken:
            upper = [i for i in main if i not in kinds] or [i for i in unknown if i not in kinds]
            lines = [i for i in upper if share[i] >= 0.8 and active[i] >= 0.3 * busy]
            if upper:
                high = max(lines or upper, key=lambda i: height[i])
                kinds[high] = "lead" if share[high] >= 0.8 else "right hand"
        rest = sorted((i for i in unknown if i not in kinds), key=lambda i: -height[i])
        inner = iter(INNER_LANES)
        for i in rest:
            if share[i] >= 0.8:
                kinds[i] = next(inner, "comp")
            else:
                length = np.mean([n.end - n.start for n in placed[i]])
                kinds[i] = "pad" if parts[i].program in PAD_PROGRAMS and length >= 6 else "comp"
    costs = []
    for i in range(len(parts)):
        kind = kinds.get(i, "comp")
        if kind in HOMES and kind != "comp" or kind not in LANE:
            cost = HOMES[kind]
        else:
            cost = tuple(0.0 if k == LANE[kind] else c for k, c in zip(PITCH_LANES, (4, 4, 1, 1, 1, 1, 1.5, 1.5)))
        costs.append((kind, cost))
    return costs


def allocate(parts: Sequence[Part], placed: Sequence[Sequence[Placed]]) -> tuple[list[tuple[int, Placed]], int, int]:
    """Quantised notes of all parts -> [(lane, note)], how many were dropped and how many cut short.

    At every onset the new notes are assigned to the lanes at least total cost: cutting a note that still sounds, leaping far
    from the lane's last note, mixing programs within a role, leaving the part's home; in keyboard parts lead takes the top and
    bass the bottom of what is heard around that beat.
    """
    homes = part_homes(parts, placed)
    onsets = defaultdict(list)
    for notes in placed:
        for note in notes:
            onsets[note.start].append(note)
    window = _pitch_window(placed)
    lanes = list(PITCH_LANES)
    result: list[tuple[int, Placed]] = []
    last: dict[int, int] = {}  # lane -> index into result
    role_program: dict[int, int] = {}
    dropped = cut = 0
    for frame in sorted(onsets):
        new = sorted(onsets[frame], key=lambda n: -n.pitch)
        low, high = window(frame)
        lane_state = [(result[last[k]][1] if k in last else None, role_program.get(ROLE_OF_LANE[k])) for k in lanes]
        seen, cost = set(), []
        for note in new:
            kind, home = homes[note.part]
            top, bottom = KEYBOARD.get(kind, (False, False))
            program = parts[note.part].program
            row = []
            for lane, base, (before, voice) in zip(lanes, home, lane_state):
                c = base + (1.0 if voice is not None and voice != program else 0.0)
                if top or bottom:
                    c += _height_cost(lane, top, bottom, note.pitch, low, high)
                if before is None:
                    c += 0.6
                else:
                    leap = LEAP_AT_HOME if base == 0 and kind not in KEYBOARD else LEAP
                    c += min(leap * min(abs(note.pitch - before.pitch), 24), 0.6 if frame - before.end > 32 else 9.0)
                    c += _cut_cost(before, frame, kind in KEYBOARD)
                row.append(c)
            drop = DOUBLED_COST if note.pitch in seen else DROP_COST
            seen.add(note.pitch)
            cost.append(row + [drop] * len(new))
        for note, column in zip(new, assign(cost)):
            if column >= len(lanes):
                dropped += 1
                continue
            lane = lanes[column]
            if lane in last:
                before = result[last[lane]][1]
                if before.end > frame:
                    cut += 1
                    result[last[lane]] = (lane, before._replace(end=frame))
            last[lane] = len(result)
            role_program[ROLE_OF_LANE[lane]] = parts[note.part].program
            result.append((lane, note))
    return result, dropped, cut


def _cut_cost(before: Placed, frame: int, keyboard: bool) -> float:
    """A line would rather lose an overlap than its lane; keyboard notes find another lane if there is one."""
    left = before.end - frame
    if left <= 0:
        return 0.0
    whole = before.end - before.start
    return 0.6 if left == 1 and whole >= 4 else (6.0 if keyboard else 2.0) + 6.0 * left / whole


def _height_cost(lane: int, top: bool, bottom: bool, pitch: int, low: int, high: int) -> float:
    """Lead takes the highest, bass the lowest pitch heard around the beat, if the part reaches there; inner lanes neither."""
    if lane == LANE["lead"]:
        return min(3.0, (high - pitch) / 4)
    if lane == LANE["bass"]:
        return min(3.0, (pitch - low) / 4)
    return 1.2 * (top and pitch == high) + 1.2 * (bottom and pitch == low)


def _pitch_window(placed):
    """frame -> lowest and highest pitch that sounds from half a beat before the frame's beat to half a beat after it."""
    end = max((n.end for notes in placed for n in notes), default=0)
    lows, highs = np.full(end + 8, 128), np.full(end + 8, -1)
    for notes in placed:
        for n in notes:
            lows[n.start:n.end] = np.minimum(lows[n.start:n.end], n.pitch)
            highs[n.start:n.end] = np.maximum(highs[n.start:n.end], n.pitch)

    def window(frame: int) -> tuple[int, int]:
        beat = frame - frame % 4
        span = slice(max(beat - 2, 0), beat + 6)
        return int(lows[span].min()), int(highs[span].max())
    return window


def pitch_class_weights(parts: Sequence[Part]) -> np.ndarray:
    """Duration in quarters of each pitch class [12] over all parts but drums."""
    weights = np.zeros(12)
    for part in parts:
        if not part.is_drum:
            for note in part.notes:
                weights[note.pitch % 12] += note.duration
    return weights


def last_bass_pitch(parts: Sequence[Part]) -> int | None:
    """The lowest pitch among the notes that end last, or None without notes."""
    notes = [n for part in parts if not part.is_drum for n in part.notes]
    if not notes:
        return None
    end = max(n.start + n.duration for n in notes)
    return min(n.pitch for n in notes if n.start + n.duration >= end - 0.26)


def dynamics_of(velocity: float) -> int:
    """Mean velocity 0..127 -> 0..7, the inverse of performance.note_velocity over an ensemble; 80 is mf (4)."""
    return int(np.clip(round((velocity - 33) / 10.5), 0, 7))


def articulation_of(ratios: Sequence[float]) -> str:
    """Sounding duration over time to the lane's next onset, one per note -> the bar's articulation."""
    ratio = float(np.median(ratios))
    return "staccato" if ratio <= 0.5 else "detached" if ratio < 0.95 else "legato"


def _bar_programs(allocated, parts, starts, ends) -> list[list[int]]:
    """Per bar and role the program that sounds longest; a role rests (-1) where it is silent for four bars or more."""
    weight = [[Counter() for _ in ROLES] for _ in starts]
    for lane, note in allocated:
        first = bar_number(starts, note.start)
        for b in range(first, len(starts)):
            if starts[b] >= note.end:
                break
            weight[b][ROLE_OF_LANE[lane]][parts[note.part].program] += min(note.end, ends[b]) - max(note.start, starts[b])
    programs = [[c.most_common(1)[0][0] if c else -1 for c in row] for row in weight]
    for role in range(len(ROLES)):
        sounding = [b for b in range(len(starts)) if programs[b][role] >= 0]
        for before, after in zip(sounding, sounding[1:]):
            if after - before <= 4:
                for b in range(before + 1, after):
                    programs[b][role] = programs[before][role]
    return programs


def _seconds(quarters: float, tempo_map) -> float:
    seconds, at, bpm = 0.0, 0.0, tempo_map[0][1]
    for position, following in tempo_map:
        if position >= quarters:
            break
        seconds += max(position - at, 0.0) * 60 / bpm
        at, bpm = max(position, 0.0), following
    return seconds + (quarters - at) * 60 / bpm


def from_parts(parts: Sequence, tempo_map: Sequence[tuple[float, float]] = ((0.0, 100.0),),
               metres: Sequence[tuple[float, int, int]] = ((0.0, 4, 4),), title: str = "the piece",
               tonic: int | None = None, sharps: int | None = None, chords: Sequence[tuple[float, int, str]] | None = None,
               articulations: Sequence[tuple[float, str]] | None = None, pedal: Sequence[tuple[float, float]] = (),
               max_bars: int | None = None) -> Score:
    """Parts with notes in quarters -> Score; `measured_from_parts` also says what was lost.

    parts: Part, or (program, is_drum, [(start_quarters, duration_quarters, pitch, velocity)]) with an optional role.
    tempo_map: (quarters, quarter notes a minute); a bar takes its mean. metres: (quarters, numerator, denominator), see
    `plan_bars` for those that are not supported and for pickups. tonic: pitch class, estimated if None (within the key
    signature if sharps is given). chords: (quarters, root or -1, quality), found if None. articulations: (quarters, name) from
    there on, measured if None. pedal: (start, end) in quarters where the sustain pedal is down. max_bars: keep no more; bars_left
    still counts to the end of the whole piece.

    Raises ValueError without notes, for tempi outside 10..600, for more than two hours, for unknown roles or qualities.
    """
    return measured_from_parts(parts, tempo_map, metres, title, tonic, sharps, chords, articulations, pedal, max_bars)[0]


def measured_from_parts(parts, tempo_map=((0.0, 100.0),), metres=((0.0, 4, 4),), title="the piece", tonic=None, sharps=None,
                        chords=None, articulations=None, pedal=(), max_bars=None) -> tuple[Score, Losses]:
    """`from_parts` with the losses of quantisation and allocation."""
    parts = [Part(p[0], bool(p[1]), [PartNote(*n) for n in p[2]], *p[3:]) for p in parts]
    end = _check(parts, tempo_map, chords or (), title)
    timeline = plan_bars(sorted(metres), end)
    onsets = np.array([n.start - metres[0][0] for part in parts for n in part.notes])
    swing = all(nearest_metre(*m[1:]) != "6/8" for m in metres) and metres[0][0] % 1 == 0 and swings(onsets)
    names = timeline.metres[:max_bars]
    starts = np.cumsum([0] + [METRES[m][0] for m in names])
    starts, ends = starts[:-1], starts[1:]
    frames = int(ends[-1])

    placed, merged = [], 0
    drums, drum_velocities = np.zeros(frames, np.uint8), []
    bits = {name: 1 << i for i, name in enumerate(DRUMS)}
    for i, part in enumerate(parts):
        if part.is_drum:
            placed.append([])
            for n in part.notes:
                at = int(np.floor(timeline.frames(unswing(n.start) if swing else n.start) + 0.5))
                if 0 <= at < frames:
                    drums[at] |= bits[DRUM_OF_KEY.get(n.pitch, "shaker")]
                    drum_velocities.append((at, n.velocity))
            continue
        notes, fewer = quantise(part.notes, timeline, i, swing)
        merged += fewer
        placed.append([n._replace(end=min(n.end, frames)) for n in notes if n.start < frames])
    allocated, dropped, cut = allocate(parts, placed)
    losses = Losses(sum(map(len, placed)) + merged, merged, dropped, cut)

    if tonic is None:
        tonic, _ = estimate_key(pitch_class_weights(parts), sharps, last_bass_pitch(parts))
    bars = _bars(names, len(timeline.metres), starts, ends, parts, allocated, drum_velocities, drums, timeline, tempo_map, articulations, pedal, swing)
    notes = sorted((Note(lane, n.start, n.end - n.start, n.pitch) for lane, n in allocated), key=lambda n: (n.start, n.lane))
    score = Score(bars, tonic, notes, [], drums)
    if chords is None:
        score.chords = find_chords(score)
    else:
        at = {int(np.floor(timeline.frames(q) + 0.5)): (root, quality) for q, root, quality in sorted(chords)}
        score.chords = [Chord(max(f, 0), root, quality) for f, (root, quality) in at.items() if f < frames]
    return score, losses


def _check(parts, tempo_map, chords, title) -> float:
    """Raises ValueError for what cannot become a score; returns the end of the last note in quarters."""
    for part in parts:
        if part.role is not None and part.role not in HOMES:
            raise ValueError(f"{title}: a part has the role {part.role!r}; choose one of {', '.join(HOMES)} or None.")
    if not any(part.notes for part in parts):
        raise ValueError(f"{title} has no notes; give a piece with at least one.")
    for position, _, quality in chords:
        if quality not in QUALITIES:
            raise ValueError(f"{title} has a chord of quality {quality!r} at quarter {position:g}; choose one of {', '.join(QUALITIES)}.")
    for position, bpm in tempo_map:
        if not SLOWEST_BPM <= bpm <= FASTEST_BPM:
            raise ValueError(f"{title} has a tempo of {bpm:g} quarter notes a minute at quarter {position:g}; allowed are "
                             f"{SLOWEST_BPM:g} to {FASTEST_BPM:g}: correct the tempo.")
    end = max(n.start + max(n.duration, 1 / FRAMES_PER_QUARTER) for part in parts for n in part.notes)
    minutes = _seconds(end, tempo_map) / 60
    if not minutes <= MAX_MINUTES:
        raise ValueError(f"{title} lasts {minutes:.0f} minutes; at most {MAX_MINUTES:g} are read: cut it into shorter pieces.")
    return end


def _bars(names, whole, starts, ends, parts, allocated, drum_velocities, drums, timeline, tempo_map, articulations, pedal,
          swing) -> list[Bar]:
    programs = _bar_programs(allocated, parts, starts, ends)
    kits = [part.program for part in parts if part.is_drum and part.notes]
    velocities, ratios = defaultdict(list), defaultdict(list)
    for at, velocity in drum_velocities:
        velocities[bar_number(starts, at)].append(velocity)
    following = {}
    for lane, note in reversed(allocated):
        bar = bar_number(starts, note.start)
        velocities[bar].append(note.velocity)
        after = following.get(lane)
        if after is not None and after - note.start <= 2 * (note.end - note.start) + 4:  # else a rest, not an articulation
            ratios[bar].append((note.end - note.start) / (after - note.start))
        following[lane] = note.start
    marks = sorted((timeline.frames(q), name) for q, name in articulations) if articulations is not None else None
    anchors = timeline.anchors
    bars, dynamics, articulation = [], 4, "detached"
    for b, (name, at, end) in enumerate(zip(names, starts, ends)):
        section = [a for a in anchors if a[1] <= at] or anchors[:1]
        quarters = max(section[-1][0] + (at - section[-1][1]) / FRAMES_PER_QUARTER, 0.0)
        length = (end - at) / FRAMES_PER_QUARTER
        seconds = _seconds(quarters + length, tempo_map) - _seconds(quarters, tempo_map)
        if velocities[b]:
            dynamics = dynamics_of(np.mean(velocities[b]))
        if marks is not None:
            articulation = ([m for f, m in marks if f < at + 1e-6] or ["detached"])[-1]
        elif ratios[b]:
            articulation = articulation_of(ratios[b])
        pressed = sum(max(min(up, quarters + length) - max(down, quarters), 0) for down, up in pedal) > 0.5 * length
        row = programs[b]
        near = drums[starts[max(b - 2, 0)]:ends[min(b + 2, len(ends) - 1)]]
        row[ROLES.index("kit")] = kits[0] if kits and near.any() else -1
        bars.append(Bar(name, float(length * 60 / seconds), dynamics, "pedal" if pressed else articulation, swing, tuple(row), whole - b))
    return bars
