/**
 * The picture of a timeline: two lanes, valence over arousal, under one ruler. A curve and what surrounds it go in; SVG comes out,
 * and pointer positions become times and values. It keeps nothing that is not on the screen and edits nothing.
 */

import { clamp, gridLines, LANES, sampler, signed, timeLabel, trace } from "./curve.js";
import { setAttributes, svg } from "./element.js";
import { laneName, say } from "./texts.js";

const LEFT = 30, RIGHT = 12, RULER = 18, GAP = 10, BOTTOM = 4;
const GRID_PIXELS = 56; // room for a label
const MOST_HANDLES = 1000; // more could not be told apart and would slow the page; such a curve is shown and replaced, not edited
const MARKS = { valence: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z", arousal: "M0-6.2L6.2 0L0 6.2L-6.2 0Z" }; // told apart without colour

export class Lanes {
  constructor(root) {
    this.svg = root;
    this.ruler = svg(root, "g", { class: "ruler", "aria-hidden": "true" });
    this.lanes = Object.fromEntries(LANES.map((lane) => [lane, this.makeLane(lane)]));
    this.guide = svg(root, "path", { class: "hover" });
    this.playhead = svg(root, "path", { class: "playhead" });
    this.marquee = svg(root, "rect", { class: "marquee" });
  }

  makeLane(lane) {
    const group = svg(this.svg, "g", { class: `lane ${lane}`, role: "group", "aria-label": laneName(lane) });
    const part = (name, type) => svg(group, name, { class: type });
    const made = { group, paper: part("rect", "paper"), grid: part("path", "grid"), zero: part("path", "axis") };
    made.labels = ["+1", "0", "−1"].map((text) => {
      const label = svg(group, "text", { class: "scale", "text-anchor": "end" });
      label.textContent = text;
      return label;
    });
    made.name = part("text", "name");
    made.name.textContent = laneName(lane);
    made.legend = svg(group, "text", { class: "legend", "text-anchor": "end" });
    // A nested <svg> clips to the lane where handles may still overlap its edge.
    made.clip = svg(group, "svg", { overflow: "hidden" });
    Object.assign(made, { area: svg(made.clip, "path", { class: "area" }), recorded: svg(made.clip, "path", { class: "recorded" }),
      measured: svg(made.clip, "path", { class: "measured" }),
      line: svg(made.clip, "path", { class: "line" }), dot: svg(group, "circle", { class: "dot", r: 3 }) });
    made.handles = svg(group, "g");
    return made;
  }

  // ---- geometry --------------------------------------------------------------------------------------------------------

  /** Read the size of the surface; false where there is none. */
  measure() {
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (width <= LEFT + RIGHT || height <= RULER + GAP + BOTTOM + 20) return false;
    this.width = width - LEFT - RIGHT;
    this.height = (height - RULER - GAP - BOTTOM) / 2;
    return true;
  }

  x(t) {
    return LEFT + ((t - this.from) / (this.to - this.from)) * this.width;
  }

  t(x) {
    return this.from + ((x - LEFT) / this.width) * (this.to - this.from);
  }

  top(lane) {
    return RULER + (lane === "arousal" ? this.height + GAP : 0);
  }

  y(lane, value) {
    return this.top(lane) + ((1 - value) / 2) * this.height;
  }

  value(lane, y) {
    return 1 - ((y - this.top(lane)) / this.height) * 2;
  }

  laneAt(y) {
    return y < RULER + this.height + GAP / 2 ? "valence" : "arousal";
  }

  /** The most grid lines that find room. */
  get gridCount() {
    return Math.max(Math.floor(this.width / GRID_PIXELS), 2);
  }

  // ---- drawing ---------------------------------------------------------------------------------------------------------

  /** Everything. `view`: [from, to] in the curve's unit; `selection`: a Set of indices; `cursor`: the index that Tab reaches. */
  draw({ curve, axis, view, bars, measured, recorded, selection, cursor }) {
    [this.from, this.to] = view;
    const behind = [...Object.values(axis), ...view, bars, measured, recorded, this.width, this.height];
    const same = this.behind?.every((part, i) => part === behind[i]); // in a drag it is
    this.behind = behind;
    if (!same) this.drawGrid(axis, bars);
    for (const lane of LANES) {
      if (!same) this.drawBehind(lane, axis, measured, recorded);
      this.drawLine(lane, curve);
      this.drawHandles(lane, curve, axis, selection, cursor);
    }
  }

  drawGrid(axis, bars) {
    const lines = gridLines(axis, this.from, this.to, this.gridCount, bars);
    this.ruler.replaceChildren();
    let columns = "";
    for (const { t, label } of lines) {
      const x = this.x(t);
      svg(this.ruler, "text", { x: clamp(x, LEFT + 8, LEFT + this.width - 8), y: 12, "text-anchor": "middle" }).textContent = label;
      columns += `M${x} 0v${this.height}`;
    }
    for (const lane of LANES) {
      const { paper, grid, zero, labels, name, clip } = this.lanes[lane], top = this.top(lane);
      const box = { x: LEFT, y: top, width: this.width, height: this.height };
      setAttributes(paper, { ...box, rx: 4 });
      setAttributes(clip, box);
      setAttributes(grid, { d: columns, transform: `translate(0 ${top})` });
      setAttributes(zero, { d: `M${LEFT} ${this.y(lane, 0)}h${this.width}` });
      labels.forEach((label, i) => setAttributes(label, { x: LEFT - 6, y: this.y(lane, 1 - i) + [9, 4, -1][i] }));
      setAttributes(name, { x: LEFT + 7, y: top + 14 });
    }
  }

  drawLine(lane, curve) {
    const { line, area } = this.lanes[lane];
    const points = trace(curve, lane, this.from, this.to, Math.ceil(this.width / 3));
    const d = "M" + points.map(([t, value]) => this.place(lane, t, value)).join("L");
    line.setAttribute("d", d);
    area.setAttribute("d", `${d}V${this.height / 2}H0Z`);
  }

  /** What was measured and what was recorded, and what each is called. */
  drawBehind(lane, axis, measured, recorded) {
    const made = this.lanes[lane], heard = this.measuredPath(lane, axis, measured), sent = this.recordedPath(lane, axis, recorded);
    setAttributes(made.measured, { d: heard });
    setAttributes(made.recorded, { d: sent });
    setAttributes(made.legend, { x: LEFT + this.width - 7, y: this.top(lane) + 13 });
    const names = [sent && (recorded.recording ? `● ${say("recording")}` : `─ ${say("recorded")}`), heard && `┄ ${say("measured")}`];
    made.legend.textContent = names.filter((name) => name).join("   ");
  }

  /** A recorded curve is in beats of the song; without any length it fills the timeline. */
  recordedPath(lane, axis, recorded) {
    if (!recorded) return "";
    const { points } = recorded.curve, last = points.at(-1).t || 1;
    const beat = axis.bar ? axis.bar / axis.beatsPerBar : axis.secondsPerUnit ? 60 / recorded.tempo / axis.secondsPerUnit : axis.extent / last;
    const places = points.map((point) => this.place(lane, point.t * beat, point[lane]));
    return `M${places.join("L")}${points.length > 1 ? "" : "h3"}`;
  }

  /** A place of the lane as its paths have it. */
  place(lane, t, value) {
    return `${(this.x(t) - LEFT).toFixed(2)} ${(this.y(lane, value) - this.top(lane)).toFixed(2)}`;
  }

  measuredPath(lane, axis, measured) {
    let d = "";
    for (const track of measured) {
      const secondsPerUnit = axis.unit === "normalized" ? track.seconds : axis.secondsPerUnit; // a changed duration keeps the shape
      if (!secondsPerUnit) continue;
      const hop = track.times[1] - track.times[0];
      track.times.forEach((seconds, i) => {
        const joined = i > 0 && seconds - track.times[i - 1] < 2.5 * hop; // what is not music is left out and makes a gap
        d += (joined ? "L" : "M") + this.place(lane, seconds / secondsPerUnit, clamp(track[lane][i], -1, 1));
      });
    }
    return d;
  }

  drawHandles(lane, curve, axis, selection, cursor) {
    const group = this.lanes[lane].handles, handles = group.children, { points } = curve;
    const count = points.length > MOST_HANDLES ? 0 : points.length;
    while (handles.length > count) group.lastChild.remove();
    while (handles.length < count) this.makeHandle(lane, handles.length);
    points.slice(0, count).forEach((point, i) => {
      const x = this.x(point.t).toFixed(2), y = this.y(lane, point[lane]).toFixed(2), selected = selection.has(i);
      const label = timeLabel(axis, point.t, 0), key = `${x} ${y} ${label} ${selected} ${i === cursor} ${count}`;
      if (handles[i].key === key) return; // of a hundred handles a drag moves two
      handles[i].key = key;
      const away = point.t < this.from || point.t > this.to; // out of sight, but the focus can stay
      setAttributes(handles[i], {
        transform: `translate(${x} ${y})`, class: `handle${selected ? " selected" : ""}${away ? " away" : ""}`,
        tabindex: i === cursor ? 0 : -1, "aria-valuenow": point[lane],
        "aria-label": say("{lane} of point {i} of {n}", { lane: laneName(lane), i: i + 1, n: count }),
        "aria-valuetext": say(`{value} at {time}${selected ? ", selected" : ""}`, { value: signed(point[lane]), time: label }),
      });
    });
  }

  makeHandle(lane, index) {
    const handle = svg(this.lanes[lane].handles, "g", { role: "slider", "aria-valuemin": -1, "aria-valuemax": 1, "data-index": index });
    handle.dataset.lane = lane;
    svg(handle, "circle", { class: "hit", r: 12 });
    svg(handle, "path", { class: "mark", d: MARKS[lane] });
  }

  handle(lane, index) {
    return this.lanes[lane].handles.children[index];
  }

  /** The line under the pointer and its dots on the curves; null takes them away. */
  drawHover(curve, t) {
    const shown = t !== null && t >= this.from && t <= this.to;
    this.drawUpright(this.guide, shown ? t : null);
    for (const lane of LANES) {
      const { dot } = this.lanes[lane];
      setAttributes(dot, shown ? { display: "inline", cx: this.x(t), cy: this.y(lane, sampler(curve, lane)(t)) } : { display: "none" });
    }
  }

  drawPlayhead(t) {
    this.drawUpright(this.playhead, t !== null && t >= this.from && t <= this.to ? t : null);
  }

  drawUpright(path, t) {
    setAttributes(path, { d: t === null ? "" : `M${this.x(t).toFixed(1)} ${RULER - 4}V${RULER + 2 * this.height + GAP}` });
  }

  /** The rectangle of a selection between two places; null takes it away. */
  drawMarquee(a, b) {
    setAttributes(this.marquee, a === null ? { width: 0, height: 0 } : {
      x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y),
    });
  }

  /** Indices of the points with a handle, in either lane, inside the rectangle between two places. */
  within(curve, a, b) {
    const [left, right] = [Math.min(a.x, b.x), Math.max(a.x, b.x)], [high, low] = [Math.min(a.y, b.y), Math.max(a.y, b.y)];
    return curve.points.flatMap((point, i) => {
      const x = this.x(point.t);
      const inside = LANES.some((lane) => this.y(lane, point[lane]) >= high && this.y(lane, point[lane]) <= low);
      return x >= left && x <= right && inside ? [i] : [];
    });
  }
}
