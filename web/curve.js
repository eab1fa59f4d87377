/**
 * Curves of valence and arousal as the widgets edit them: JSON text and pointer positions in, curves, numbers and labels out.
 *
 * Pure functions without a page around them. A curve is {unit, interpolation, points: [{t, valence, arousal}]}, exactly what
 * lara_core.affect.Curve reads; every function returns a new one. What `sampler` gives is what `Curve.at` gives, so that what is
 * drawn is what is generated.
 */

export const LANES = ["valence", "arousal"];
export const INTERPOLATIONS = ["linear", "smooth", "hold"];
const UNITS = ["seconds", "beats", "normalized"];
const MAX_POINTS = 100000, MAX_T = 1e9, MIN_STEP = 1e-9; // the limits of lara_core.affect
const EDIT_STEP = 1e-4; // no edit brings two points closer than this part of the timeline
const COMMON_TIME = 4; // beats in a bar where nothing says otherwise; a beat is a quarter note

/** A value that cannot be used; the message says in one sentence what is wrong and what is allowed. */
export class BadValue extends Error {}

// ---- text ------------------------------------------------------------------------------------------------------------

/** A curve from its JSON text; throws BadValue, one sentence that says what is wrong and what is allowed. */
export function parseCurve(text) {
  const source = parseJson(text, "the curve");
  checkFields(source, ["unit", "interpolation", "points"], "the curve");
  const unit = source.unit === "normalised" ? "normalized" : source.unit;
  checkChoice(unit, UNITS, "the unit");
  checkChoice(source.interpolation, INTERPOLATIONS, "the interpolation");
  if (!Array.isArray(source.points)) throw new BadValue(`points is ${shown(source.points)}: use a list of objects with t, valence and arousal`);
  if (source.points.length === 0) throw new BadValue("the curve has no points: give at least one with t, valence and arousal");
  if (source.points.length > MAX_POINTS) throw new BadValue(`the curve has more than ${MAX_POINTS} points: thin it out`);
  source.points.forEach((point, index) => {
    const what = `points[${index}]`;
    checkFields(point, ["t", ...LANES], what);
    checkRange(point.t, 0, unit === "normalized" ? 1 : MAX_T, `${what} t`);
    for (const lane of LANES) checkRange(point[lane], -1, 1, `${what} ${lane}`);
    if (index > 0 && point.t - source.points[index - 1].t < MIN_STEP) {
      throw new BadValue(`${what} has t ${point.t}, not after the point before it: sort the points by t and keep one for each t`);
    }
  });
  return { unit, interpolation: source.interpolation, points: source.points };
}

/** The JSON text of a curve. */
export function formatCurve({ unit, interpolation, points }) {
  return JSON.stringify({ unit, interpolation, points: points.map(({ t, valence, arousal }) => ({ t, valence, arousal })) });
}

/** {valence, arousal} from its JSON text; throws BadValue, one sentence. */
export function parseVA(text) {
  const source = parseJson(text, "the mood");
  checkFields(source, LANES, "the mood");
  for (const lane of LANES) checkRange(source[lane], -1, 1, lane);
  return source;
}

export function formatVA({ valence, arousal }) {
  return JSON.stringify({ valence, arousal });
}

function parseJson(text, what) {
  if (typeof text !== "string") throw new BadValue(`${what} is ${shown(text)}: use JSON text`);
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new BadValue(`${what} is not JSON (${text.slice(0, 60)})`);
  }
}

function checkFields(value, names, what) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new BadValue(`${what} is ${shown(value)}: use an object with ${names.join(", ")}`);
  }
  for (const name of names) if (!Object.hasOwn(value, name)) throw new BadValue(`${what} lacks ${name}: give ${names.join(", ")}`);
  for (const name of Object.keys(value)) {
    if (!names.includes(name)) throw new BadValue(`${what} has the unknown field ${shown(name)}: use only ${names.join(", ")}`);
  }
}

function checkChoice(value, choices, what) {
  if (!choices.includes(value)) throw new BadValue(`${what} is ${shown(value)}: use one of ${choices.join(", ")}`);
}

function checkRange(value, low, high, what) {
  if (typeof value !== "number" || !(value >= low && value <= high)) {
    throw new BadValue(`${what} is ${shown(value)}: use a number from ${low} to ${high}`);
  }
}

function shown(value) {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 60 ? text : text.slice(0, 57) + "...";
}

// ---- sampling ----------------------------------------------------------------------------------------------------------

/** A function from t (in the curve's unit) to the value of a lane: the arithmetic of lara_core.affect.Curve.at, step by step. */
export function sampler(curve, lane) {
  const t = curve.points.map((point) => point.t), y = curve.points.map((point) => point[lane]);
  if (curve.interpolation === "hold") return (x) => y[Math.max(lastNotAfter(t, x), 0)];
  const slopes = curve.interpolation === "smooth" && t.length > 2 ? monotoneSlopes(t, y) : null;
  return (x) => {
    if (x <= t[0]) return y[0];
    if (x >= t.at(-1)) return y.at(-1);
    const i = lastNotAfter(t, x), h = t[i + 1] - t[i];
    if (!slopes) return ((y[i + 1] - y[i]) / h) * (x - t[i]) + y[i];
    const u = (x - t[i]) / h, v = 1 - u;
    const value = y[i] * (1 + 2 * u) * (v * v) + y[i + 1] * (u * u) * (3 - 2 * u) + h * u * v * (slopes[i] * v - slopes[i + 1] * u);
    return clamp(value, Math.min(y[i], y[i + 1]), Math.max(y[i], y[i + 1]));
  };
}

/** Index of the last of the sorted t that is not after x; -1 where x is before all. */
function lastNotAfter(t, x) {
  let low = 0, high = t.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (t[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Slopes of the monotone cubic (Fritsch and Butland 1984), as lara_core.affect._monotone_cubic has them. */
function monotoneSlopes(t, y) {
  const n = t.length, h = [], delta = [];
  for (let i = 0; i + 1 < n; i++) {
    h.push(t[i + 1] - t[i]);
    delta.push((y[i + 1] - y[i]) / h[i]);
  }
  const slopes = new Array(n).fill(0);
  for (let i = 1; i + 1 < n; i++) {
    const w1 = 2 * h[i] + h[i - 1], w2 = h[i] + 2 * h[i - 1];
    if (delta[i - 1] * delta[i] > 0) slopes[i] = (w1 + w2) / (w1 / delta[i - 1] + w2 / delta[i]);
  }
  slopes[0] = endSlope(h[0], h[1], delta[0], delta[1]);
  slopes[n - 1] = endSlope(h[n - 2], h[n - 3], delta[n - 2], delta[n - 3]);
  return slopes;
}

function endSlope(h0, h1, delta0, delta1) {
  const slope = ((2 * h0 + h1) * delta0 - h0 * delta1) / (h0 + h1);
  if (slope * delta0 <= 0) return 0;
  if (delta0 * delta1 < 0 && Math.abs(slope) > 3 * Math.abs(delta0)) return 3 * delta0;
  return slope;
}

/** The line to draw from t `from` to `to`: [[t, value], ...], exact at every breakpoint and with `steps` samples between. */
export function trace(curve, lane, from, to, steps) {
  const at = sampler(curve, lane), inside = curve.points.filter(({ t }) => t > from && t < to), line = [[from, at(from)]];
  let previous = line[0][1];
  const samples = curve.interpolation === "smooth" ? steps : 0;
  const stops = Array.from({ length: samples }, (_, i) => from + ((to - from) * (i + 1)) / (samples + 1));
  for (const point of inside) stops.push(point.t);
  stops.sort((a, b) => a - b);
  for (const t of [...stops, to]) {
    const value = at(t);
    if (curve.interpolation === "hold" && value !== previous) line.push([t, previous]);
    line.push([t, value]);
    previous = value;
  }
  return line;
}

// ---- editing -----------------------------------------------------------------------------------------------------------

/** A point added at t, on the curve in every lane that `values` does not name: {curve, index}. Too near another: that one. */
export function addPoint(curve, t, values, extent) {
  const place = clamp(t, 0, extent);
  const near = curve.points.findIndex((point) => Math.abs(point.t - place) < EDIT_STEP * extent);
  if (near >= 0) return { curve, index: near };
  const point = { t: rounded(place, 6) };
  for (const lane of LANES) point[lane] = rounded(clamp(values[lane] ?? sampler(curve, lane)(place), -1, 1), 3);
  const points = [...curve.points, point].sort((a, b) => a.t - b.t);
  return { curve: { ...curve, points }, index: points.indexOf(point) };
}

/** The points at `indices` moved by {t, valence, arousal}; they stop at the edges and before the points that stay. */
export function movePoints(curve, indices, by, extent) {
  const moving = new Set(indices), points = curve.points, gap = EDIT_STEP * extent;
  let dt = by.t ?? 0;
  for (const i of moving) {
    const left = i === 0 ? 0 : moving.has(i - 1) ? -Infinity : points[i - 1].t + gap;
    const right = i === points.length - 1 ? extent : moving.has(i + 1) ? Infinity : points[i + 1].t - gap;
    dt = clamp(dt, Math.min(left - points[i].t, 0), Math.max(right - points[i].t, 0));
  }
  dt = rounded(dt, 6); // the move and not the places, so that points of a file that lie closer than this stay apart
  return {
    ...curve,
    points: points.map((point, i) => {
      if (!moving.has(i)) return point;
      const moved = { ...point, t: clamp(rounded(point.t + dt, 12), 0, extent) };
      for (const lane of LANES) if (by[lane]) moved[lane] = clamp(rounded(point[lane] + by[lane], 3), -1, 1);
      return moved;
    }),
  };
}

/** Without the points at `indices`; a curve keeps at least one point, so the first stays where all would go. */
export function removePoints(curve, indices) {
  const gone = new Set(indices);
  const points = curve.points.filter((_, i) => !gone.has(i));
  return { ...curve, points: points.length ? points : curve.points.slice(0, 1) };
}

/** What paste needs: the points at `indices`, with t counted from the first of them in parts of the timeline. */
export function copyPoints(curve, indices, extent) {
  const points = [...indices].sort((a, b) => a - b).map((i) => curve.points[i]);
  return points.map((point) => ({ ...point, t: (point.t - points[0].t) / extent }));
}

/** Copied points set down from t on, in place of what lay under them: {curve, indices}. They move left where they would not fit. */
export function pastePoints(curve, copied, t, extent) {
  const start = clamp(t, 0, Math.max(extent - copied.at(-1).t * extent, 0));
  const pasted = copied.map((point) => ({ ...point, t: rounded(clamp(start + point.t * extent, 0, extent), 12) }));
  const gap = EDIT_STEP * extent, first = pasted[0].t - gap, last = pasted.at(-1).t + gap;
  const points = [...curve.points.filter((point) => point.t <= first || point.t >= last), ...pasted].sort((a, b) => a.t - b.t);
  return { curve: { ...curve, points }, indices: pasted.map((point) => points.indexOf(point)) };
}

/** States one can go back to and forward again; equal states are one. */
export class History {
  constructor(present) {
    this.past = [];
    this.present = present;
    this.future = [];
  }

  /** The next state. `merge`: it takes the place of the present one, as when a key is held down. */
  push(state, merge = false) {
    if (state === this.present) return;
    if (!merge || this.past.length === 0) this.past.push(this.present);
    if (this.past.length > 200) this.past.shift();
    this.present = state;
    this.future = [];
  }

  undo() {
    if (this.past.length === 0) return;
    this.future.push(this.present);
    this.present = this.past.pop();
  }

  redo() {
    if (this.future.length === 0) return;
    this.past.push(this.present);
    this.present = this.future.pop();
  }
}

// ---- the time axis -------------------------------------------------------------------------------------------------------

/**
 * The time axis of a curve where the piece lasts `seconds` at `tempo` quarter notes a minute (either may be null: not known) with
 * `beatsPerBar` quarter notes in a bar: {unit, extent, secondsPerUnit, bar, beatsPerBar}. `extent` is the end of the axis and `bar`
 * a bar, both in the curve's unit; null: not known.
 */
export function timeAxis(curve, { seconds, tempo, beatsPerBar = COMMON_TIME }) {
  const last = curve.points.at(-1).t;
  const secondsPerUnit = { normalized: seconds, seconds: 1, beats: tempo ? 60 / tempo : null }[curve.unit];
  const bar = curve.unit === "beats" ? beatsPerBar : tempo && secondsPerUnit ? (beatsPerBar * 60) / tempo / secondsPerUnit : null;
  const whole = seconds && secondsPerUnit ? seconds / secondsPerUnit : 0;
  const extent = curve.unit === "normalized" ? 1 : Math.max(whole, last) || COMMON_TIME;
  return { unit: curve.unit, extent, secondsPerUnit, bar, beatsPerBar };
}

const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600]; // seconds
const ROUND_STEPS = [1, 2, 5].map((n) => [n / 1000, n / 100, n / 10, n, n * 10, n * 100, n * 1000]).flat().sort((a, b) => a - b);

/** Step of the grid in the curve's unit, where at most `count` steps shall fit between `from` and `to`; `bars`: a grid of bars. */
export function gridStep(axis, from, to, count, bars) {
  if (bars && axis.bar) {
    const smallest = (to - from) / count / axis.bar, beat = 1 / axis.beatsPerBar;
    return axis.bar * (smallest <= beat ? beat : 2 ** Math.max(Math.ceil(Math.log2(smallest)), 0));
  }
  const scale = gridScale(axis), smallest = ((to - from) * scale) / count;
  const steps = axis.unit !== "beats" && axis.secondsPerUnit ? STEPS : ROUND_STEPS;
  return (steps.find((step) => step >= smallest) ?? smallest) / scale;
}

/** What the axis counts (seconds where known, else beats or per cent) in one unit of the curve. */
function gridScale({ unit, secondsPerUnit }) {
  return unit === "beats" ? 1 : secondsPerUnit ?? 100;
}

/** What a pointer snaps to: whole seconds (beats, per cent) or whole bars, and finer where the grid is. Parameters as in gridStep. */
export function snapStep(axis, from, to, count, bars) {
  const whole = bars && axis.bar ? axis.bar : 1 / gridScale(axis);
  return Math.min(whole, gridStep(axis, from, to, count, bars));
}

/** Grid lines between `from` and `to`: [{t, label}], at most `count` of them. */
export function gridLines(axis, from, to, count, bars) {
  const step = gridStep(axis, from, to, count, bars), lines = [];
  for (let i = Math.ceil(from / step - 1e-6); i * step <= to + step * 1e-6; i++) {
    lines.push({ t: i * step, label: bars && axis.bar ? barLabel(axis, i * step) : timeLabel(axis, i * step, step) });
  }
  return lines;
}

/** The grid line nearest to t; t itself where `step` is null. */
export function snapped(t, step) {
  return step ? Math.round(t / step) * step : t;
}

function barLabel({ bar, beatsPerBar }, t) {
  const beats = Math.round((t / bar) * beatsPerBar), beat = beats % beatsPerBar;
  return `${Math.floor(beats / beatsPerBar) + 1}` + (beat ? `.${beat + 1}` : "");
}

/** t in words: m:ss where the seconds are known, else beats or per cent; with the decimals that `step` needs. */
export function timeLabel(axis, t, step) {
  const scale = gridScale(axis);
  const decimals = decimalsFor(step * scale), value = t * scale;
  if (axis.unit === "beats") return `${value.toFixed(decimals)}`;
  if (!axis.secondsPerUnit) return `${value.toFixed(decimals)} %`;
  const whole = Math.round(value * 10 ** decimals), minute = 60 * 10 ** decimals;
  const rest = ((whole % minute) / 10 ** decimals).toFixed(decimals);
  return `${Math.floor(whole / minute)}:${rest.padStart(decimals ? decimals + 3 : 2, "0")}`;
}

/** t from what someone typed: m:ss or a number in what `timeLabel` shows (seconds, beats or per cent); NaN where it is neither. */
export function parseTime(axis, text) {
  const match = /^\s*(?:(\d+):)?(\d*\.?\d+)\s*(?:%|s)?\s*$/.exec(text.replace(",", "."));
  const scale = gridScale(axis);
  return match ? (Number(match[1] ?? 0) * 60 + Number(match[2])) / scale : NaN;
}

function decimalsFor(step) {
  return step >= 0.999 ? 0 : step >= 0.0999 ? 1 : 2;
}

// ---- words and numbers ---------------------------------------------------------------------------------------------------

/** The emotion word nearest to a place, as lara_core.affect.nearest_emotion finds it; `emotions` is {word: [valence, arousal]}. */
export function nearestEmotion(emotions, valence, arousal) {
  let nearest = "", least = Infinity;
  for (const [word, place] of Object.entries(emotions)) {
    const distance = (place[0] - valence) ** 2 + (place[1] - arousal) ** 2;
    if (distance < least) [nearest, least] = [word, distance];
  }
  return nearest;
}

/** A value with its sign, as a musician reads it: +0.45, −0.30, 0.00. */
export function signed(value) {
  const text = Math.abs(value).toFixed(2);
  return text === "0.00" ? text : (value > 0 ? "+" : "−") + text;
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function rounded(value, decimals) {
  return Number(value.toFixed(decimals)) + 0; // + 0 turns -0 into 0
}
