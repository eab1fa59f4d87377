"""Plot: one picture of a piece. Sound peaks, the requested curve and the measured track go in; a PNG comes out.

`EnvelopeMeter` gathers the peaks while a piece streams past, at constant memory; `plot_piece` draws them behind valence and
arousal over time. `plot_scatter` and `plot_arcs` draw many pieces at once.
"""
from __future__ import annotations

import io
import math
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from .affect import Curve, write_atomic

VALENCE_COLOR, AROUSAL_COLOR = "#d95f0e", "#2166ac"  # orange and blue: told apart by every kind of colour vision
WAVEFORM_COLOR, JOINT_COLOR, INK, FAINT_INK = "#dde3ea", "#9aa5b1", "#24303c", "#66727f"
GROUP_COLORS = ("#1b9e77", "#7570b3", "#e6ab02", "#e7298a", "#666666", "#a6761d")
SIZE_INCHES, DOTS_PER_INCH = (12.0, 5.0), 130
MAX_DRAWN_BINS = 3000  # about two to a pixel; more costs time and shows nothing


class EnvelopeMeter:
    """Lowest and highest sample per bin of a stream of any length, in memory for `max_bins` bins.

    A bin starts as one sample; whenever the bins run out, neighbours merge and every bin is twice as long. So a long piece
    always has between max_bins / 2 and max_bins bins, all of one length but the last, which is still filling.
    """

    def __init__(self, max_bins: int = 4096):
        if isinstance(max_bins, bool) or not isinstance(max_bins, int) or max_bins < 2 or max_bins % 2:
            raise ValueError(f"max_bins is {max_bins!r}: use an even whole number of at least 2")
        self.samples_per_bin = 1
        self.samples_seen = 0
        self._low = np.full(max_bins, np.inf, dtype=np.float32)
        self._high = np.full(max_bins, -np.inf, dtype=np.float32)

    def add(self, samples: np.ndarray) -> None:
        """Take the next chunk `[C, T]` of floating-point sound; the channels share one envelope."""
        samples = np.asarray(samples)
        if samples.ndim != 2 or samples.shape[0] == 0 or samples.dtype.kind != "f":
            raise ValueError(
                f"samples has shape {samples.shape} and type {samples.dtype}: use floating-point sound as [channels, samples]"
            )
        count = samples.shape[1]
        if count == 0:
            return
        low, high = samples.min(axis=0), samples.max(axis=0)  # [C, T] -> [T]
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError("samples holds NaN or infinity: only finite sound has an envelope")
        while self.samples_seen + count > self.samples_per_bin * len(self._low):
            self._merge_neighbours()
        first = self.samples_seen // self.samples_per_bin
        last = (self.samples_seen + count - 1) // self.samples_per_bin
        starts = np.arange(first, last + 1) * self.samples_per_bin - self.samples_seen
        starts[0] = 0  # the first bin may have begun in an earlier chunk
        bins = slice(first, last + 1)
        self._low[bins] = np.minimum(self._low[bins], np.minimum.reduceat(low, starts))
        self._high[bins] = np.maximum(self._high[bins], np.maximum.reduceat(high, starts))
        self.samples_seen += count

    def peaks(self) -> np.ndarray:
        """`[N, 2]` float32: lowest and highest sample of each bin so far; `[0, 2]` before the first sample."""
        count = -(-self.samples_seen // self.samples_per_bin)
        return np.stack([self._low[:count], self._high[:count]], axis=-1)

    def _merge_neighbours(self) -> None:
        half = len(self._low) // 2
        self._low[:half] = np.minimum(self._low[0::2], self._low[1::2])
        self._high[:half] = np.maximum(self._high[0::2], self._high[1::2])
        self._low[half:], self._high[half:] = np.inf, -np.inf
        self.samples_per_bin *= 2


def plot_piece(
    path_png: str | os.PathLike,
    envelope: np.ndarray,
    duration_seconds: float,
    requested: Curve | None,
    *,
    curve_tempo: float | Callable[[np.ndarray], np.ndarray] | None = None,
    measured: tuple[np.ndarray, np.ndarray] | None = None,
    uncertainty: np.ndarray | None = None,
    measured_as: str = "measured",
    joints_seconds: Sequence[float] = (),
    title: str = "",
    tempo: tuple[np.ndarray, np.ndarray] | None = None,
    size_inches: tuple[float, float] = SIZE_INCHES,
) -> Path:
    """Draw a piece into `path_png` and return the path; a viewer never sees half a file.

    `envelope`: `[N, 2]` lowest and highest sample of N equal bins over the whole piece, or `[N]` peaks. `requested` is asked
    for `requested.at(times, duration_seconds, curve_tempo)`, so a curve in beats needs `curve_tempo`; None: nothing was asked.
    `measured`: times `[M]` in seconds and valence, arousal `[M, 2]`; NaN leaves a gap. `uncertainty`: one standard deviation of
    them, `[M, 2]`, a pale band. `measured_as`: what the legend calls it. `joints_seconds`: where segments meet;
    they are numbered from 0. `tempo`: times `[P]` in seconds and beats per minute `[P]`, each holding until the next, drawn
    as a strip underneath. The legend and the ticks follow the width of `size_inches`.
    Raises ValueError on shapes or numbers that cannot be drawn, and OSError where the file cannot be written.
    """
    path = Path(path_png)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path_png is {str(path)!r}: use a name that ends in .png")
    if not isinstance(duration_seconds, numbers.Real) or not 0 < duration_seconds < math.inf:
        raise ValueError(f"duration_seconds is {duration_seconds!r}: use a positive number of seconds")
    envelope = _checked_envelope(envelope)
    joints = _finite("joints_seconds", joints_seconds, (None,))
    measured = None if measured is None else _track("measured", measured, (None, 2))
    if uncertainty is not None:
        _, uncertainty = _track("measured", (measured[0], uncertainty), (None, 2))
    tempo = None if tempo is None else _track("tempo", tempo, (None,))
    drawn_seconds = np.linspace(0.0, duration_seconds, 2000)
    asked = None if requested is None else requested.at(drawn_seconds, duration_seconds, curve_tempo)  # [F, 2]

    figure = _blank(size_inches)
    if tempo is None:
        lanes, strip = figure.add_subplot(), None
    else:
        lanes, strip = figure.subplots(2, 1, sharex=True, height_ratios=[6, 1])
    _draw_waveform(lanes, envelope, duration_seconds)
    _draw_joints([lanes] if strip is None else [lanes, strip], joints, duration_seconds)
    _draw_affect(lanes, drawn_seconds, asked, measured, uncertainty, measured_as)
    if strip is not None:
        _draw_tempo(strip, *tempo, duration_seconds)
    _style_time_axis(lanes if strip is None else strip, duration_seconds, most_ticks=size_inches[0] * 14 / SIZE_INCHES[0])
    # The title heads the legend, because the layout would set a figure title and an outside legend on top of each other.
    legend = figure.legend(
        *lanes.get_legend_handles_labels(), loc="outside upper left", ncols=4 if size_inches[0] >= SIZE_INCHES[0] / 2 else 2, frameon=False, fontsize=9, labelcolor=INK,
        handlelength=2.6, borderaxespad=0.2, title=_one_line(title) or None, title_fontsize=13, alignment="left",
    )
    legend.get_title().set(parse_math=False, color=INK)  # a title may hold dollar signs

    _save(figure, path)
    return path


def plot_scatter(path_png: str | os.PathLike, systems: Mapping[str, tuple[np.ndarray, np.ndarray, Sequence[str]]]) -> None:
    """What was requested across, what was measured up: a column of two panels for each system, a colour for each group.

    `systems`: name -> requested `[N, 2]`, measured `[N, 2]` (valence, arousal), and the group of each of the N pieces.
    """
    groups = list(dict.fromkeys(group for _, _, own in systems.values() for group in own))
    figure = _blank((1.2 + 3.1 * len(systems), 6.6))
    panels = figure.subplots(2, len(systems), sharex=True, sharey=True, squeeze=False)
    for column, (name, (asked, got, own)) in enumerate(systems.items()):
        for row, dimension in enumerate(("valence", "arousal")):
            axes = panels[row, column]
            axes.plot([-1, 1], [-1, 1], color=JOINT_COLOR, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            for index, group in enumerate(groups):
                mine = np.array([g == group for g in own])
                axes.scatter(asked[mine, row], got[mine, row], s=16, alpha=0.75, linewidth=0, color=GROUP_COLORS[index % len(GROUP_COLORS)],
                             label=group, zorder=2)
            _style_square(axes)
            if row == 0:
                axes.set_title(_one_line(name), fontsize=11, color=INK)
            if column == 0:
                axes.set_ylabel(f"{dimension} measured", fontsize=10, color=INK)
            axes.set_xlabel(f"{dimension} requested", fontsize=9, color=INK)
    if len(groups) > 1:
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False, fontsize=9, labelcolor=INK)
    _save(figure, path_png)


def plot_arcs(path_png: str | os.PathLike, arcs: Mapping[str, tuple[Curve, Sequence[tuple[np.ndarray, np.ndarray]]]], title: str) -> None:
    """A small panel for each arc: the curve requested, thick, and the tracks measured, thin.

    `arcs`: name -> its curve, and tracks: times `[M]` as shares of the piece, 0 to 1, and values `[M, 2]`.
    """
    columns = min(4, len(arcs))
    lines = -(-len(arcs) // columns)
    figure = _blank((3.1 * columns, 0.6 + 2.1 * lines))
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat
    share = np.linspace(0, 1, 400)
    for axes, (name, (curve, tracks)) in zip(panels, arcs.items()):
        asked = curve.at(share, 1.0, 1.0)
        for dimension, color in enumerate((VALENCE_COLOR, AROUSAL_COLOR)):
            label = ("valence", "arousal")[dimension]
            axes.plot(share, asked[:, dimension], color=color, linewidth=2.4, alpha=0.85, label=f"{label} requested")
            for number, (times, values) in enumerate(tracks):
                axes.plot(times, np.clip(values[:, dimension], -1, 1), color=color, linewidth=0.9, linestyle=(0, (3, 1)),
                          alpha=max(0.25, 1 / len(tracks)), label=f"{label} measured" if number == 0 else None)
        axes.set(xlim=(0, 1), ylim=(-1.05, 1.05), xticks=[0, 0.5, 1], yticks=[-1, 0, 1])
        axes.axhline(0, color=JOINT_COLOR, linewidth=0.6)
        axes.set_title(_one_line(name), fontsize=9, color=INK)
        _style_frame(axes)
    for axes in panels:
        axes.set_axis_off()
    legend = figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False, fontsize=9,
                           labelcolor=INK, title=_one_line(title), title_fontsize=12, alignment="left")
    legend.get_title().set(parse_math=False, color=INK)
    _save(figure, path_png)


# ---- parts of the picture --------------------------------------------------------------------------------------------


def _blank(size_inches: tuple[float, float]):
    # The object API keeps no global state, so this is safe inside a server and needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inches, dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path: str | os.PathLike) -> None:
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    write_atomic(path, png.getvalue())


def _draw_waveform(axes, envelope: np.ndarray, duration_seconds: float) -> None:
    if len(envelope) == 0:
        return
    per_bin = -(-len(envelope) // MAX_DRAWN_BINS)
    starts = np.arange(0, len(envelope), per_bin)
    low = np.minimum.reduceat(envelope[:, 0], starts)
    high = np.maximum.reduceat(envelope[:, 1], starts)
    loudest = max(float(np.abs(envelope).max()), 1e-3)  # silence stays a line
    edges = np.append(starts, len(envelope)) * (duration_seconds / len(envelope))
    low, high = (np.append(side, side[-1]) * (0.92 / loudest) for side in (low, high))
    axes.fill_between(edges, low, high, step="post", linewidth=0, color=WAVEFORM_COLOR, zorder=0)  # stairs() doubles the time of a plot


def _draw_joints(all_axes, joints: np.ndarray, duration_seconds: float) -> None:
    joints = np.unique(joints[(joints > 0) & (joints < duration_seconds)])
    alpha = min(1.0, 40 / max(len(joints), 1))  # a hundred joints are a texture, not a fence
    for axes in all_axes:
        for joint in joints:
            axes.axvline(joint, color=JOINT_COLOR, linewidth=0.7, linestyle=(0, (4, 3)), alpha=alpha, zorder=1)
    edges = np.concatenate([[0.0], joints, [duration_seconds]])
    if len(joints) and np.diff(edges).min() > 0.02 * duration_seconds:  # else the numbers would run into one another
        for index, (left, right) in enumerate(zip(edges, edges[1:])):
            all_axes[0].text(
                (left + right) / 2, 1.0, f"segment {index}" if len(joints) < 8 else str(index), fontsize=8, color=FAINT_INK,
                ha="center", va="bottom", transform=all_axes[0].get_xaxis_transform(),
            )


def _draw_affect(axes, seconds: np.ndarray, asked: np.ndarray | None, measured, uncertainty: np.ndarray | None, measured_as: str) -> None:
    for column, (name, color) in enumerate((("valence", VALENCE_COLOR), ("arousal", AROUSAL_COLOR))):
        if asked is not None:
            axes.plot(seconds, asked[:, column], color=color, linewidth=2.4, label=f"{name} requested", zorder=3)
        if measured is not None and len(measured[0]):
            times, values = measured
            few = {"linewidth": 1.3, "linestyle": (0, (3, 1.5)), "marker": "o", "markersize": 3.5, "markerfacecolor": "white"}
            many = {"linewidth": 0.9, "alpha": 0.75}  # dashes and dots of hundreds of windows would be a smear
            style = few if len(times) <= 80 else many
            within = np.clip(values[:, column], -1, 1)
            axes.plot(times, within, color=color, label=f"{name} {measured_as}", zorder=4, **style)
            if uncertainty is not None:
                low, high = (values[:, column] + sign * uncertainty[:, column] for sign in (-1, 1))
                axes.fill_between(times, low, high, color=color, alpha=0.13, linewidth=0, zorder=2)
    axes.axhline(0, color=JOINT_COLOR, linewidth=0.6, zorder=1)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
    axes.set_ylabel("valence, arousal", fontsize=10, color=INK)
    _style_frame(axes)


def _draw_tempo(axes, times: np.ndarray, bpm: np.ndarray, duration_seconds: float) -> None:
    times, bpm = np.append(times, max(duration_seconds, times[-1])), np.append(bpm, bpm[-1])
    axes.step(times, bpm, where="post", color=INK, linewidth=1.4)
    slowest, fastest = float(bpm.min()), float(bpm.max())
    middle, half = (slowest + fastest) / 2, max((fastest - slowest) / 2, 5.0)
    axes.set_ylim(middle - 1.4 * half, middle + 1.4 * half)
    axes.set_yticks([round(middle)] if fastest - slowest < 5 else [round(slowest), round(fastest)])
    axes.set_ylabel("bpm", fontsize=10, color=INK)
    _style_frame(axes)


def _style_frame(axes) -> None:
    axes.tick_params(labelsize=9, colors=FAINT_INK, labelcolor=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(JOINT_COLOR)


def _style_square(axes) -> None:
    axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), xticks=[-1, 0, 1], yticks=[-1, 0, 1], aspect="equal")
    _style_frame(axes)


def _style_time_axis(axes, duration_seconds: float, most_ticks: float) -> None:
    steps = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
    step = next((step for step in steps if duration_seconds / step <= most_ticks), duration_seconds / 10)
    ticks = np.arange(math.floor(duration_seconds / step + 1e-9) + 1) * step
    axes.set_xlim(0, duration_seconds)
    axes.set_xticks(ticks, [_clock(tick, step) for tick in ticks])
    axes.set_xlabel("time (m:ss)", fontsize=10, color=INK)


def _clock(seconds: float, step: float = 1.0) -> str:
    """Minutes and seconds, with as many decimals as the step between ticks needs: 75 -> 1:15, 0.25 -> 0:00.25."""
    decimals = 0 if step >= 1 else 1 if step >= 0.1 else 2
    minutes, rest = divmod(round(seconds * 10**decimals), 60 * 10**decimals)
    width = 2 if decimals == 0 else 3 + decimals
    return f"{minutes}:{rest / 10**decimals:0{width}.{decimals}f}"


def _one_line(title: str) -> str:
    title = " ".join(str(title).split())
    return title if len(title) <= 100 else title[:99] + "…"


# ---- checks ----------------------------------------------------------------------------------------------------------


def _checked_envelope(envelope) -> np.ndarray:
    array = np.asarray(envelope, dtype=np.float64)
    if array.ndim == 1:
        array = np.stack([-np.abs(array), np.abs(array)], axis=-1)
    return _finite("envelope", array, (None, 2))


def _track(name: str, track, shape: tuple[int | None, ...]) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(track, (tuple, list)) or len(track) != 2:
        raise ValueError(f"{name} is of type {type(track).__name__}: use a pair (times in seconds, values)")
    times = _finite(f"{name} times", track[0], (None,))
    values = np.asarray(track[1], dtype=np.float64)
    gaps = np.isnan(values) if name == "measured" else np.zeros(values.shape, dtype=bool)
    _finite(f"{name} values", np.where(gaps, 0.0, values), shape)
    if len(times) != len(values):
        raise ValueError(f"{name} has {len(times)} times and {len(values)} values: give one value for each time")
    if (np.diff(times) < 0).any():
        raise ValueError(f"{name} times go backwards: sort them")
    if name == "tempo" and (len(values) == 0 or (values <= 0).any()):
        raise ValueError("tempo needs at least one time and positive beats per minute: leave it out if unknown")
    return times, values


def _finite(name: str, values, shape: tuple[int | None, ...]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape))
    if not fits or not np.isfinite(array).all():
        wanted = "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"
        raise ValueError(f"{name} has shape {list(array.shape)}: use finite numbers of shape {wanted}")
    return array
