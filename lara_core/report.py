"""Report: sound files and what was asked of them go in; what was measured comes out in words, as JSON values, as pictures and
as one HTML page that needs nothing beside it.
"""

import base64
import html
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .affect import Curve, write_atomic
from .listener import BLOCK_SECONDS
from .piece import Piece
from .pipeline import Lara, Score, json_values
from .plot import AROUSAL_COLOR, VALENCE_COLOR, EnvelopeMeter, plot_piece
from .score import DIMENSIONS
from .score_predictor import in_reach

METRICS = {"r": "pearson", "CCC": "concordance", "MAE": "mae", "RMSE": "rmse", "windowed r": "windowed_r", "lag s": "lag_seconds",
           "DTW error": "dtw"}  # as people call them: as score.evaluate_curve does
ROWS = 12  # of a track in words: a longer one is averaged over even stretches
PAGE_INCHES, PHONE_INCHES = (9.6, 4.2), (4.8, 4.4)


@dataclass(frozen=True, eq=False)
class Scored:
    """A sound file, its Score, and what it was compared with: `asked` says in words where the curve came from."""

    path: Path
    score: Score
    curve: Curve | None = None
    tempo: float | Callable | None = None
    asked: str = ""
    prompt: str = ""
    text_agreement: float = math.nan
    remarks: tuple[str, ...] = ()


def score_file(path: Path, curve: Curve | None, tempo: float | None, asked: str, prompt: str = "", clap=None) -> Scored:
    """Score a file against `curve`, or without one against what the piece's JSON beside it says. clap: a clap.TextAudio.

    Raises ValueError, or OSError, in one sentence for a file that cannot be heard.
    """
    piece, remarks, sidecar = None, [], path.with_suffix(".json")
    if sidecar.is_file() and sidecar != path:
        try:
            piece = Piece.read(sidecar)
        except ValueError as error:
            if curve is None:
                remarks.append(f"No curve is taken from beside it: {error}.")
    if piece is not None:
        prompt, tempo = prompt or piece.prompt, tempo or piece.beats_at
        if curve is None and piece.curve is not None and piece.curve.unit == "beats" and tempo is None:
            remarks.append(f"The curve in {sidecar.name} is in beats, and no tempo is known; give it with --tempo BPM.")
        elif curve is None and piece.curve is not None:
            curve, asked = piece.curve, f"the curve in {sidecar.name}"
    if curve is not None and len(curve.points) == 1:
        asked += "".join(f", {name} {value:+.2f}" for name, value in zip(DIMENSIONS, curve.points[0][1:]))
    score = Lara.score(path, curve, tempo, None if piece is None else piece.reach)
    agreement = clap.agreement(path, prompt) if clap is not None and prompt else math.nan
    if clap is not None and not prompt:
        remarks.append("Text agreement needs a text; give --prompt TEXT.")
    return Scored(path, score, curve, tempo, asked, prompt, agreement, (*remarks, *score.remarks))


def best_first(items: Sequence, score_of: Callable) -> list:
    """Items by falling adherence of their Score; those without one keep their order at the end."""
    def place(item) -> float:
        score = score_of(item)
        return math.inf if score is None or math.isnan(score.adherence) else -score.adherence

    return sorted(items, key=place)


# ---- words ---------------------------------------------------------------------------------------------------------


def in_words(scored: Scored) -> str:
    """Several lines: length, the point, what was asked for, adherence by dimension, the track."""
    score = scored.score
    share = np.mean(score.track.music >= 0.5)
    lines = [f"{scored.path}: {score.seconds:.4g} s, " + ("not music" if share == 0 else "music" if share == 1 else f"{share:.0%} of it music")]
    if score.track.is_music:
        lines.append(f"  measured   {_point(score)}")
        if score.reach is not None:
            lines.append(f"  of reach   {_of_reach(score)}")
    if scored.asked:
        lines.append(f"  asked for  {scored.asked}")
    if not math.isnan(scored.text_agreement):
        lines.append(f"  text       {scored.text_agreement:+.2f} agreement with {scored.prompt!r} (cosine, -1 to 1)")
    if score.evaluation is not None:
        lines.append(f"  score      {score.adherence:.2f} over {score.evaluation['seconds']:.4g} s (1 is exact, 0 is chance"
                     + (f", {still:.2f} is the best that a piece can do that never moves)" if (still := score.evaluation["still"]) < 0.995 else ")"))
        lines.append("           " + "".join(f"{name:>12}" for name in METRICS))
        for name in DIMENSIONS:
            lines.append(f"  {name:<9}" + "".join(f"{_metric(score.evaluation[name], key):>12}" for key in METRICS.values()))
    lines += [f"  {remark}" for remark in scored.remarks]
    if score.track.is_music:
        lines.append(f"  over time{'valence':>16}{'arousal':>16}")
        for seconds, values, deviations in over_time(score):
            cells = [_plus_minus(*pair) if not np.isnan(pair[0]) else "not music" for pair in zip(values, deviations)]
            lines.append(f"  {clock(seconds):>9}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def ranking(named: Sequence[tuple[str, Score | None]]) -> str:
    """A table of several scores, best first."""
    width = max(len(name) for name, _ in named)
    lines = [f"{'best first':<{width}}  score" + "".join(f"  {name}: r    CCC    MAE" for name in DIMENSIONS)]
    for name, score in best_first(named, lambda item: item[1]):
        if score is None or score.evaluation is None:
            lines.append(f"{name:<{width}}      -  " + ("not heard" if score is None else " ".join(score.remarks) or "nothing was asked for"))
            continue
        cells = "".join("  " + "".join(f"{_metric(score.evaluation[dimension], key):>{size}}"
                                       for key, size in (("pearson", 10), ("concordance", 7), ("mae", 7))) for dimension in DIMENSIONS)
        lines.append(f"{name:<{width}}  {score.adherence:5.2f}{cells}")
    return "\n".join(lines)


def over_time(score: Score) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """The track in at most ROWS rows: (seconds at the middle, values [2], one standard deviation [2]), NaN where not music."""
    rows, track = [], score.track
    for part in np.array_split(np.arange(len(track.times_seconds)), min(ROWS, len(track.times_seconds))):
        music = part[track.music[part] >= 0.5]
        values, deviations = np.full(2, np.nan), np.full(2, np.nan)
        if len(music):
            values, deviations = track.values[music].mean(0), np.sqrt(np.mean(track.uncertainty[music] ** 2, axis=0))
        rows.append((float(track.times_seconds[part].mean()), values, deviations))
    return rows


def clock(seconds: float) -> str:
    """75.4 -> 1:15"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _metric(row: dict, key: str) -> str:
    """A figure of score.evaluate_curve's row of a dimension; a dash for what needs a request that moves."""
    value = row["pearson"] if key == "concordance" and math.isnan(row["pearson"]) else row[key]
    sign = "" if key in ("mae", "rmse", "dtw") else "+"
    return "-" if math.isnan(value) else f"{value:{sign}.{1 if key == 'lag_seconds' else 2}f}"


def _of_reach(score: Score) -> str:
    point, ends = in_reach(score.track.point, *score.reach), np.transpose(score.reach)
    return (", ".join(f"{name} {value:+.2f}" for name, value in zip(DIMENSIONS, point)) + "; pictures show this: the model's "
            + " and ".join(f"{name} of {low:+.2f} to {high:+.2f}" for name, (low, high) in zip(DIMENSIONS, ends)) + " are -1 to 1")


def _point(score: Score) -> str:
    return ", ".join(f"{name} {_plus_minus(*pair)}" for name, *pair in zip(DIMENSIONS, score.track.point, score.uncertainty))


def _plus_minus(value: float, deviation: float) -> str:
    return f"{value:+.2f} ± {deviation:.2f}"


def as_json(scored: Scored) -> dict:
    """JSON values: the Score, its whole track, and what it was compared with."""
    track = scored.score.track
    columns = {name: track.values[:, k] for k, name in enumerate(DIMENSIONS)}
    columns |= {f"{name}_uncertainty": track.uncertainty[:, k] for k, name in enumerate(DIMENSIONS)}
    return json_values({"file": str(scored.path), **scored.score.to_dict(), "remarks": scored.remarks, "asked": scored.asked or None,
                        "prompt": scored.prompt or None, "text_agreement": scored.text_agreement,
                        "track": {"times_seconds": track.times_seconds, **columns, "music": track.music}})


# ---- pictures ------------------------------------------------------------------------------------------------------


def envelope(path: Path) -> np.ndarray:
    """Peaks of a sound file for plot_piece, read in blocks."""
    import soundfile

    meter = EnvelopeMeter()
    with soundfile.SoundFile(path) as file:
        for block in file.blocks(BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True):
            meter.add(block.T)
    return meter.peaks()


def draw(scored: Scored, png: Path, peaks: np.ndarray, **options) -> None:
    """Requested and measured over the waveform. peaks: the file's `envelope`; options: as plot_piece takes them."""
    plot_piece(png, peaks, scored.score.seconds, scored.curve, curve_tempo=scored.tempo, **scored.score.drawn(),
               **{"title": scored.prompt or scored.path.name} | options)


def plot_paths(path: Path, files: Sequence[Path]) -> list[Path]:
    """OUT.png for one file; OUT-<name of the file>.png for several, counted where names meet."""
    if len(files) == 1:
        return [path]
    taken: dict[str, int] = {}
    for file in files:
        taken[file.stem] = taken.get(file.stem, 0) + 1
    counts, paths = dict.fromkeys(taken, 0), []
    for file in files:
        counts[file.stem] += 1
        again = "" if taken[file.stem] == 1 else f"-{counts[file.stem]}"
        paths.append(path.with_name(f"{path.stem}-{file.stem}{again}{path.suffix}"))
    return paths


# ---- the page ------------------------------------------------------------------------------------------------------

STYLE = f"""
:root {{ color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1d2733; --faint: #5b6876; --line: #dfe4ea; --bar: #3d7ea6; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --page: #11161c; --card: #1a2129; --ink: #e6ebf0; --faint: #9dabb9; --line: #2e3844; --bar: #6bb0d8; }}
  img {{ filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen; }}
  .valence::before, .arousal::before {{ filter: brightness(1.3); }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }}
main {{ max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }}
h1 {{ font-size: 1.9rem; line-height: 1.2; margin: 0 0 0.5rem; }}
h2 {{ font-size: 1.25rem; margin: 0; overflow-wrap: anywhere; }}
p {{ margin: 0.4rem 0; max-width: 46rem; }}
.faint {{ color: var(--faint); }}
section {{ background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.25rem 1.5rem; margin-top: 1.5rem; }}
.head {{ display: flex; gap: 1rem; justify-content: space-between; align-items: baseline; flex-wrap: wrap; }}
.score {{ font-size: 1.7rem; font-weight: 650; font-variant-numeric: tabular-nums; }}
.score small {{ font-size: 0.85rem; font-weight: 400; color: var(--faint); }}
img {{ display: block; width: 100%; height: auto; margin: 1rem 0; border-radius: 6px; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; color: var(--faint); padding-bottom: 0.4rem; }}
th, td {{ padding: 0.45rem 0.7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
tr:last-child > * {{ border-bottom: 0; }}
thead th {{ color: var(--faint); font-weight: 500; font-size: 0.9rem; }}
th:first-child, td:first-child, .why {{ text-align: left; }}
th:first-child, td:first-child {{ padding-left: 0; }} th:last-child, td:last-child {{ padding-right: 0; }}
tbody th {{ font-weight: 550; }}
.why {{ white-space: normal; color: var(--faint); font-size: 0.9rem; font-weight: 400; padding-left: 2rem; }}
a {{ color: inherit; text-underline-offset: 3px; }}
.bar {{ display: inline-block; width: 6rem; height: 0.55rem; margin-left: 0.6rem; border-radius: 4px; background: var(--line); }}
.bar i {{ display: block; height: 100%; border-radius: 4px; background: var(--bar); }}
.valence::before, .arousal::before {{ content: ""; display: inline-block; width: 0.7em; height: 0.7em; border-radius: 50%; margin-right: 0.5em; }}
.valence::before {{ background: {VALENCE_COLOR}; }}
.arousal::before {{ background: {AROUSAL_COLOR}; }}
.remark {{ border-left: 3px solid var(--bar); padding-left: 0.8rem; }}
summary {{ cursor: pointer; color: var(--faint); margin-top: 0.8rem; }}
@media (max-width: 40rem) {{
  main {{ padding: 1.5rem 0.75rem 3rem; }} section {{ padding: 1rem; }} .bar, .more, .why {{ display: none; }}
  .name {{ white-space: normal; overflow-wrap: anywhere; }} th, td {{ padding: 0.4rem 0.45rem; }}
}}
@media print {{ section {{ break-inside: avoid; }} }}
"""

GLOSSARY = {
    "r": "Pearson's correlation, -1 to 1: does it rise and fall with the request, at whatever level and range?",
    "CCC": "Lin's concordance, -1 to 1: the same, but level and range count",
    "MAE": "mean absolute error, on the scale from -1 to 1",
    "RMSE": "root mean square error, on the same scale",
    "windowed r": "the mean of r in windows of 10 s: does it follow moment by moment?",
    "lag s": "how late the sound follows, in seconds; 8 means that much or more",
    "DTW error": "mean distance after the best alignment in time within 4 s: the error without that of timing",
}
HOW_TO_READ = """The score is 1 where measured and requested agree exactly, 0 where they agree no better than points drawn at random from
the whole plane, and below 0 where they agree less than that. Figures after ± are one standard deviation, as the predictor states it
for a window of 3 s; the bands in the pictures show the same. Where a piece's model is known, its picture shows what
was measured as a share of what that model reaches, which is what is asked of it; every figure is of what was measured itself. The predictor hears every window with its neighbours within 6 s. A
request that turns faster than that cannot be measured to follow, however well it is played, and the predictor's own errors are in
every figure here."""


def write_html(path: Path, pieces: Sequence[Scored], failed: Sequence[tuple[Path, str]]) -> None:
    """Write one page about all pieces, best first, with their pictures in it; `failed`: files with the sentence on each."""
    pieces = best_first(pieces, lambda scored: scored.score)
    several = f"{len(pieces)} piece" + ("" if len(pieces) == 1 else "s")
    compared = sum(scored.score.evaluation is not None for scored in pieces)
    lead = ("Requested against measured valence (unpleasant to pleasant) and arousal (calm to intense), best first." if compared
            else "Measured valence (unpleasant to pleasant) and arousal (calm to intense).")
    body = [f"<h1>Emotion of {several}</h1><p class='faint'>{lead}</p>", _summary(pieces)]
    body += [_section(number, scored) for number, scored in enumerate(pieces, 1)]
    if failed:
        rows = "".join(f"<p class='remark'>{html.escape(said)}</p>" for _, said in failed)
        body.append(f"<section><h2>Not scored</h2>{rows}</section>")
    body.append(f"<section><h2>How to read this</h2><p>{HOW_TO_READ}</p></section>")
    page = ("<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>Emotion of {several}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n")
    write_atomic(path, page.encode())


def _summary(pieces: Sequence[Scored]) -> str:
    rows = []
    for number, scored in enumerate(pieces, 1):
        score, evaluation = scored.score, scored.score.evaluation
        cells = [_bar(score.adherence) if score.track.is_music else "not music"]
        cells += [_minus("-" if evaluation is None else _metric(evaluation[name], key)) for name in DIMENSIONS for key in ("pearson", "mae")]
        cells += ["–" if math.isnan(value) else _minus(f"{value:+.2f}") for value in score.track.point]
        more = ["", *([" class='more'"] * 4), "", ""]
        rows.append(f"<tr><th scope='row' class='name'><a href='#piece-{number}'>{html.escape(scored.path.name)}</a></th>"
                    + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(more, cells)) + "</tr>")
    heads = "".join(f"<th scope='col'{kind}>{text}</th>" for kind, text in (
        ("", "piece"), ("", "score"), *((" class='more'", f"{name} {metric}") for name in DIMENSIONS for metric in ("r", "MAE")),
        ("", "valence"), ("", "arousal")))
    return ("<section><div class='wide'><table><caption>Summary; valence and arousal are those measured over the whole piece</caption>"
            f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>")


def _section(number: int, scored: Scored) -> str:
    score, name = scored.score, html.escape(scored.path.name)
    parts = [f"<div class='head'><h2 id='piece-{number}'>{name}</h2>"]
    if score.evaluation is not None:
        parts.append(f"<span class='score'>{_minus(f'{score.adherence:.2f}')} <small>score</small></span>")
    parts.append("</div>")
    facts = [f"“{html.escape(scored.prompt)}”"] if scored.prompt else []
    facts += [clock(score.seconds)] + ([f"asked for: {html.escape(scored.asked)}"] if scored.asked else [])
    if not math.isnan(scored.text_agreement):
        facts.append(f"text agreement {_minus(f'{scored.text_agreement:+.2f}')}")
    parts.append(f"<p class='faint'>{' · '.join(facts)}</p>")
    if score.track.is_music:
        parts.append(f"<p>Measured: {_point(score).replace('-', '−')}</p>")
        if score.reach is not None:
            parts.append(f"<p>Of its reach: {_of_reach(score).replace('-', '−')}</p>")
    parts += [f"<p class='remark'>{html.escape(remark)}</p>" for remark in scored.remarks]
    parts.append(_pictures(scored))
    if score.evaluation is not None:
        rows = [(metric, *(_metric(score.evaluation[name], key) for name in DIMENSIONS), GLOSSARY[metric]) for metric, key in METRICS.items()]
        still = f"; a piece that never moves could score {score.evaluation['still']:.2f}" if score.evaluation["still"] < 0.995 else ""
        heads = ("", *(f"<span class='{name}'>{name}</span>" for name in DIMENSIONS), "what it says")
        parts.append(_table(f"Requested against measured over {score.evaluation['seconds']:.4g} s{still}", heads, rows, why=True))
    if score.track.is_music:
        rows = [(clock(seconds), *(_plus_minus(*pair) if not np.isnan(pair[0]) else "not music" for pair in zip(values, deviations)))
                for seconds, values, deviations in over_time(score)]
        parts.append(f"<details><summary>Measured over time, in numbers</summary>{_table('', ('time', *DIMENSIONS), rows)}</details>")
    return f"<section>{''.join(parts)}</section>"


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], why: bool = False) -> str:
    """why: the last column is a remark in words."""
    def kind(column: int) -> str:
        return " class='why'" if why and column == len(heads) - 1 else ""

    head = "".join(f"<th scope='col'{kind(i)}>{text}</th>" if text else "<td></td>" for i, text in enumerate(heads))
    body = ""
    for first, *cells in rows:
        body += f"<tr><th scope='row'>{first}</th>" + "".join(f"<td{kind(i)}>{_minus(cell)}</td>" for i, cell in enumerate(cells, 1)) + "</tr>"
    caption = f"<caption>{caption}</caption>" if caption else ""
    return f"<div class='wide'><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _pictures(scored: Scored) -> str:
    """The same picture twice: wide, and for the width of a phone."""
    peaks, data = envelope(scored.path), []
    with tempfile.TemporaryDirectory() as folder:
        for size in (PAGE_INCHES, PHONE_INCHES):
            draw(scored, Path(folder) / "piece.png", peaks, title="", size_inches=size)
            data.append("data:image/png;base64," + base64.b64encode((Path(folder) / "piece.png").read_bytes()).decode())
    return (f"<picture><source media='(max-width: 40rem)' srcset='{data[1]}'><img src='{data[0]}' alt='{html.escape(_alt(scored))}'></picture>")


def _alt(scored: Scored) -> str:
    """What the picture shows, in a sentence or two."""
    def course(values: np.ndarray) -> str:
        return ", ".join(f"{name} from {v[0]:+.2f} to {v[-1]:+.2f}, lowest {v.min():+.2f}, highest {v.max():+.2f}"
                         for name, v in zip(DIMENSIONS, values.T))

    score = scored.score
    said = [f"Waveform of {scored.path.name}, {clock(score.seconds)} long."]
    if scored.curve is not None:
        said.append(f"Requested: {course(scored.curve.at(np.linspace(0, score.seconds, 500), score.seconds, scored.tempo))}.")
    said.append(f"Measured: {course(score.track.values[score.track.music >= 0.5])}." if score.track.is_music else "Measured: not music.")
    return " ".join(said)


def _bar(adherence: float) -> str:
    if math.isnan(adherence):
        return "–"
    return f"{_minus(f'{adherence:.2f}')}<span class='bar' aria-hidden='true'><i style='width:{100 * min(max(adherence, 0), 1):.0f}%'></i></span>"


def _minus(text: str) -> str:
    """A hyphen before a number, or in its place, as print has it."""
    return "–" if text == "-" else text.replace("-", "−") if text.startswith(("-", "+")) else text
