/**
 * <lara-timeline>: a curve of valence and arousal, edited in two lanes over one time axis. Its value is the JSON text of the curve.
 *
 * What the graph around it knows comes in through `context` (length, tempo, what was measured and recorded) and `follow` (the
 * playing sound).
 */

import * as curves from "./curve.js";
import { arcButton, controls } from "./controls.js";
import { place, placed, setAttributes, setText, ValueElement } from "./element.js";
import { Lanes } from "./lanes.js";
import { say } from "./texts.js";

const { clamp, LANES } = curves;
const COARSE = 0.05, FINE = 0.01, LEAP = 0.25; // steps of the arrow keys, with Shift, and of Page Up and Page Down
const FINE_DRAG = 0.2, CLICK_PIXELS = 3, CLOSEST_VIEW = 0.005, ZOOM = 1.5;
const NO_CONTEXT = { seconds: null, tempo: null, measured: [], recorded: null };
let clipboard = null; // shared by every timeline of the page; in parts of the timeline, so that any duration takes it

export class Timeline extends ValueElement {
  /** `fallback`: the text to begin with; `emotions`: {word: [valence, arousal]}; `presets`: {name: curve}. */
  constructor(fallback, { emotions, presets }) {
    super({ parse: curves.parseCurve, format: curves.formatCurve, fallback, html: controls() });
    Object.assign(this, { emotions, presets, given: NO_CONTEXT, selection: new Set(), cursor: 0, view: [0, 1], mark: 0, pointer: null });
    this.svg = this.root.querySelector("svg.lanes");
    this.lanes = new Lanes(this.svg);
    this.arcs = this.root.querySelector(".arcs");
    this.fields = this.root.querySelector(".fields").querySelectorAll("input");
    this.listen();
    this.value = fallback;
  }

  // ---- what the graph knows ----------------------------------------------------------------------------------------------

  /**
   * {seconds, tempo, beatsPerBar, measured, recorded}: null where not known; `measured` is a list of {times, valence, arousal,
   * seconds, offset}, `recorded` what a DAW has sent: {curve, in beats, text, tempo, recording}.
   */
  set context(given) {
    if (Object.keys(given).every((key) => given[key] === this.given[key])) return;
    this.given = given;
    this.show(this.curve);
  }

  /** Move the playhead with an audio element while it plays. */
  follow(audio) {
    this.sound = audio;
    const step = () => {
      const going = this.sound === audio && this.isConnected && audio.isConnected && !audio.paused;
      const whole = this.given.seconds ?? audio.duration, { unit, secondsPerUnit } = this.axis;
      const perUnit = unit === "normalized" ? whole : secondsPerUnit, seconds = audio.currentTime - (this.given.measured[0]?.offset ?? 0);
      this.lanes.drawPlayhead(going && perUnit && seconds >= 0 ? seconds / perUnit : null); // a piece that was there before is passed over
      if (going) requestAnimationFrame(step);
    };
    step();
  }

  // ---- state -------------------------------------------------------------------------------------------------------------

  /** Seen from ValueElement: a new curve to show. */
  show(curve) {
    if (curve.points.length !== this.curve?.points.length) {
      this.selection = new Set([...this.selection].filter((i) => i < curve.points.length));
      this.cursor = clamp(this.cursor, 0, curve.points.length - 1);
    }
    const { lane } = this.root.activeElement?.dataset ?? {};
    this.curve = curve;
    this.axis = curves.timeAxis(curve, this.given);
    this.draw();
    if (!lane || this.root.activeElement) return;
    const { selection } = this; // the handle with the focus went, and the keys shall not go to the graph
    this.focusPoint(lane);
    this.select(selection);
  }

  get from() {
    return this.view[0] * this.axis.extent;
  }

  get to() {
    return this.view[1] * this.axis.extent;
  }

  get snap() {
    return this.root.querySelector("[name=snap]").value;
  }

  get step() {
    return this.snap === "off" ? null : curves.snapStep(this.axis, this.from, this.to, this.lanes.gridCount, this.snap === "bars");
  }

  select(indices, cursor = this.cursor) {
    this.selection = new Set(indices);
    this.cursor = cursor;
    this.draw();
  }

  toggle(index) {
    this.select(this.selection.has(index) ? [...this.selection].filter((i) => i !== index) : [...this.selection, index]);
  }

  focusPoint(lane, index = this.cursor) {
    this.lanes.handle(lane, index)?.focus({ preventScroll: true });
  }

  /** A finished edit that leaves `indices` selected. */
  change(curve, indices = this.selection, merge = false) {
    this.selection = new Set(indices);
    if (!this.selection.has(this.cursor) && this.selection.size) this.cursor = Math.min(...this.selection);
    this.edit(curve);
    this.commit(merge);
  }

  // ---- pointer -----------------------------------------------------------------------------------------------------------

  listen() {
    const on = (target, names, act) => names.split(" ").forEach((name) => target.addEventListener(name, act));
    on(this.svg, "pointerdown", (event) => this.grab(event));
    on(this.svg, "pointermove", (event) => this.drag(event));
    on(this.svg, "pointerup pointercancel", () => this.release());
    on(this.svg, "pointerleave", () => this.hover(null));
    on(this.svg, "dblclick", (event) => this.doubleClick(event));
    on(this.svg, "wheel", (event) => this.wheel(event));
    on(this, "change", () => this.draw()); // undo and redo can or cannot now
    on(this.svg, "focusin", (event) => this.focused(event.target));
    on(this.root.querySelector(".tools"), "click", (event) => this.tool(event.target.closest("button")?.name));
    on(this.root.querySelector("[name=snap]"), "change", () => this.draw());
    on(this.arcs, "wheel", (event) => event.stopPropagation()); // they scroll
    on(this.arcs, "click", (event) => this.choose(event.target.closest("button")?.name));
    for (const input of this.fields) on(input, "change", () => this.typed(input));
    const scroll = this.root.querySelector(".scroll");
    on(scroll, "pointerdown", (event) => {
      event.stopPropagation();
      scroll.setPointerCapture(event.pointerId);
    });
    on(scroll, "pointermove", (event) => {
      if (scroll.hasPointerCapture(event.pointerId)) this.pan(event.movementX / scroll.getBoundingClientRect().width);
    });
  }

  grab(event) {
    if (event.button !== 0) return;
    event.stopPropagation();
    const box = placed(this.svg), at = place(event, box), extend = event.shiftKey || event.ctrlKey || event.metaKey;
    const { index, lane } = event.target.closest(".handle")?.dataset ?? {};
    this.pressedOn = index; // a double click hears nothing but the surface that captures the pointer
    this.svg.setPointerCapture(event.pointerId);
    const common = { at, box, start: at, curve: this.curve, extend, before: new Set(this.selection) };
    if (index === undefined) {
      this.grabbed = { ...common, marquee: true };
      this.focusPoint(this.lanes.laneAt(at.y));
      return;
    }
    const i = Number(index);
    this.grabbed = { ...common, index: i, lane, dx: 0, dy: 0 };
    if (!this.selection.has(i)) this.select(extend ? [...this.selection, i] : [i], i);
    this.focusPoint(lane, i);
  }

  drag(event) {
    const grabbed = this.grabbed, at = place(event, grabbed?.box ?? placed(this.svg));
    this.pointer = at; // drawn with the points, where they move
    if (!grabbed) return this.hover(at);
    grabbed.moved ||= Math.hypot(at.x - grabbed.start.x, at.y - grabbed.start.y) > CLICK_PIXELS;
    if (!grabbed.marquee) {
      const speed = event.shiftKey && grabbed.moved ? FINE_DRAG : 1;
      grabbed.dx += (at.x - grabbed.at.x) * speed;
      grabbed.dy += (at.y - grabbed.at.y) * speed;
    }
    grabbed.at = at;
    if (!grabbed.moved) return this.hover(at);
    if (!grabbed.marquee) return this.dragPoints(grabbed, event.altKey ? null : this.step);
    this.lanes.drawMarquee(grabbed.start, at);
    this.select([...(grabbed.extend ? grabbed.before : []), ...this.lanes.within(this.curve, grabbed.start, at)]);
  }

  dragPoints({ curve, index, lane, dx, dy }, step) {
    const { width, height } = this.lanes, origin = curve.points[index].t;
    const t = dx ? curves.snapped(origin + (dx / width) * (this.to - this.from), step) - origin : 0;
    this.edit(curves.movePoints(curve, this.selection, { t, [lane]: (-dy / height) * 2 }, this.axis.extent));
  }

  release() {
    const grabbed = this.grabbed;
    this.grabbed = null;
    if (!grabbed) return;
    this.lanes.drawMarquee(null);
    const { moved, marquee, extend, before, index } = grabbed;
    if (!moved && !extend) this.select(marquee ? [] : [index]);
    else if (!moved && before.has(index)) this.toggle(index); // a second click takes it out again
    this.commit();
  }

  doubleClick(event) {
    if (this.pressedOn !== undefined) return this.change(curves.removePoints(this.curve, [Number(this.pressedOn)]), []);
    const at = place(event, placed(this.svg)), lane = this.lanes.laneAt(at.y), value = this.lanes.value(lane, at.y);
    const t = curves.snapped(clamp(this.lanes.t(at.x), this.from, this.to), event.altKey ? null : this.step);
    this.add(t, Math.abs(value) <= 1 ? { [lane]: value } : {}, lane); // on the ruler: where the curve is
  }

  add(t, values, lane) {
    const { curve, index } = curves.addPoint(this.curve, t, values, this.axis.extent);
    this.cursor = index;
    this.change(curve, [index]);
    this.focusPoint(lane);
  }

  wheel(event) {
    const zoom = event.altKey || event.ctrlKey || event.metaKey, slide = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!zoom && !(slide && this.view[1] - this.view[0] < 1)) return; // ComfyUI zooms the graph
    event.preventDefault();
    event.stopPropagation();
    const turn = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.deltaY;
    if (zoom) this.zoom(Math.exp(-turn / 300), this.lanes.t(place(event, placed(this.svg)).x) / this.axis.extent);
    else this.pan((turn / 600) * (this.view[1] - this.view[0]));
  }

  /** Show `factor` times less of the timeline; the part `around` stays where it is. */
  zoom(factor, around = (this.view[0] + this.view[1]) / 2) {
    const [from, to] = this.view, size = clamp((to - from) / factor, CLOSEST_VIEW, 1);
    const start = clamp(around - ((around - from) / (to - from)) * size, 0, 1 - size);
    this.view = [start, start + size];
    this.draw();
  }

  pan(by) {
    const size = this.view[1] - this.view[0], start = clamp(this.view[0] + by, 0, 1 - size);
    this.view = [start, start + size];
    this.draw();
  }

  // ---- keys, buttons and fields ------------------------------------------------------------------------------------------

  pressed(event, command) {
    const target = event.target.closest(".handle");
    if (event.key === "Escape") return this.escape();
    if (!target) return false;
    const { lane } = target.dataset;
    return command ? this.commandOnPoint(event, lane) : this.keyOnPoint(event, lane);
  }

  escape() {
    this.giveUp();
    this.lanes.drawMarquee(null);
    this.showArcs(false);
    this.select([]);
    return true;
  }

  commandOnPoint(event, lane) {
    const { extent } = this.axis, key = event.key.toLowerCase();
    if (key === "a") this.select(this.curve.points.keys());
    else if (key === "c" || key === "x") {
      if (!this.selection.size) return true;
      clipboard = curves.copyPoints(this.curve, this.selection, extent);
      if (key === "x") this.change(curves.removePoints(this.curve, this.selection), []);
    } else if (key === "v") {
      if (!clipboard) return true;
      const { curve, indices } = curves.pastePoints(this.curve, clipboard, curves.snapped(this.mark, this.step), extent);
      this.change(curve, indices);
      this.visit(indices[0], lane);
    } else if (key === "arrowleft" || key === "arrowright") this.walk(key === "arrowleft" ? -1 : 1, lane);
    else return false;
    return true;
  }

  keyOnPoint(event, lane) {
    const { key, shiftKey } = event, { extent } = this.axis, { points } = this.curve, value = shiftKey ? FINE : COARSE;
    const time = (this.step ?? (this.to - this.from) / 50) * (shiftKey ? 0.2 : 1);
    const moves = { ArrowUp: { [lane]: value }, ArrowDown: { [lane]: -value }, PageUp: { [lane]: LEAP }, PageDown: { [lane]: -LEAP },
      ArrowRight: { t: time }, ArrowLeft: { t: -time } };
    const removing = key === "Delete" || key === "Backspace";
    if ((key in moves || removing) && !this.selection.size) this.visit(this.cursor, lane); // nothing changes that was not seen selected
    else if (key in moves) this.change(curves.movePoints(this.curve, this.selection, moves[key], extent), this.selection, event.repeat);
    else if (removing) this.change(curves.removePoints(this.curve, this.selection), []);
    else if (key === "Enter" || key === "Insert") {
      const i = Math.min(this.cursor, points.length - 2);
      this.add(points.length > 1 ? (points[i].t + points[i + 1].t) / 2 : extent, {}, lane);
    } else if (key === "," || key === ".") this.walk(key === "," ? -1 : 1, lane);
    else if (key === "Home" || key === "End") this.visit(key === "Home" ? 0 : points.length - 1, lane);
    else if (key === " ") this.toggle(this.cursor);
    else if (key === "+" || key === "=") this.zoom(ZOOM, points[this.cursor].t / extent);
    else if (key === "-") this.zoom(1 / ZOOM, points[this.cursor].t / extent);
    else if (key === "0") this.zoom(0);
    else return false;
    return true;
  }

  walk(by, lane) {
    this.visit(clamp(this.cursor + by, 0, this.curve.points.length - 1), lane);
  }

  /** Put the cursor on a point, in sight. */
  visit(index, lane) {
    const t = this.curve.points[index].t / this.axis.extent, [from, to] = this.view;
    if (t < from || t > to) this.pan(t - (from + to) / 2);
    this.mark = this.curve.points[index].t;
    this.select(this.selection.has(index) ? this.selection : [index], index);
    this.focusPoint(lane);
  }

  focused(target) {
    const { index } = target.dataset;
    if (index === undefined) return;
    const byKey = !this.grabbed && !this.selection.size;
    this.select(byKey ? [Number(index)] : this.selection, Number(index));
  }

  tool(name) {
    if (curves.INTERPOLATIONS.includes(name)) this.change({ ...this.curve, interpolation: name });
    else if (name === "undo") this.undo();
    else if (name === "redo") this.redo();
    else if (name === "arcs") this.showArcs(this.arcs.hidden);
    else if (name === "take") this.replace(this.given.recorded.curve);
    else if (name === "fit") this.zoom(0);
    else if (name) this.zoom(name === "in" ? ZOOM : 1 / ZOOM);
  }

  showArcs(shown) {
    if (shown && !this.arcs.children.length) for (const [name, curve] of Object.entries(this.presets)) this.arcs.append(arcButton(name, curve));
    const opener = this.root.querySelector("[name=arcs]");
    if (!shown && this.arcs.contains(this.root.activeElement)) opener.focus();
    this.arcs.hidden = !shown;
    setAttributes(opener, { "aria-expanded": shown });
    if (shown) this.arcs.querySelector("button")?.focus();
  }

  choose(name) {
    if (!name) return;
    this.showArcs(false);
    this.replace(this.presets[name]);
  }

  /** Another curve in place of this one. */
  replace(curve) {
    this.view = [0, 1];
    this.change(curve, []);
  }

  typed(input) {
    const point = this.curve.points[this.cursor], { extent } = this.axis;
    const value = input.name === "t" ? curves.parseTime(this.axis, input.value) : input.valueAsNumber;
    if (!Number.isFinite(value)) return this.drawFields(true);
    if (input.name === "t") this.change(curves.movePoints(this.curve, [this.cursor], { t: value - point.t }, extent));
    else {
      const chosen = this.selection.has(this.cursor) ? this.selection : new Set([this.cursor]); // all selected points take the number
      const points = this.curve.points.map((old, i) => (chosen.has(i) ? { ...old, [input.name]: clamp(value, -1, 1) } : old));
      this.change({ ...this.curve, points });
    }
    this.drawFields(true);
  }

  // ---- picture -----------------------------------------------------------------------------------------------------------

  resized() {
    this.hasRoom = this.lanes.measure(); // not at every drawing: asking for a size makes the browser lay out the page at once
    this.draw();
  }

  draw() {
    const { curve, axis, selection, cursor } = this;
    if (this.hasRoom) {
      const { measured, recorded } = this.given;
      this.lanes.draw({ curve, axis, selection, cursor, view: [this.from, this.to], bars: this.snap === "bars", measured, recorded });
      this.hover(this.pointer);
    }
    const [from, to] = this.view, thumb = this.root.querySelector(".thumb");
    Object.assign(thumb.style, { left: `${from * 100}%`, width: `${(to - from) * 100}%` });
    this.root.querySelector(".scroll").classList.toggle("zoomed", to - from < 1);
    for (const name of curves.INTERPOLATIONS) {
      setAttributes(this.root.querySelector(`[name=${name}]`), { "aria-pressed": curve.interpolation === name });
    }
    for (const [name, states] of [["undo", this.history.past], ["redo", this.history.future]]) {
      setAttributes(this.root.querySelector(`[name=${name}]`), { "aria-disabled": !states.length }); // a disabled button would lose the focus
    }
    const take = this.root.querySelector("[name=take]"), { recorded } = this.given;
    take.hidden = !recorded;
    setAttributes(take, { "aria-disabled": recorded?.text === this.text });
    const [, time, bars] = this.root.querySelector("[name=snap]").options;
    setText(time, say(axis.unit === "beats" ? "beats" : axis.secondsPerUnit ? "seconds" : "per cent"));
    bars.disabled = !axis.bar;
    setText(this.root.querySelector("label.t span"), say(axis.unit === "beats" ? "Beat" : "Time"));
    this.drawFields();
  }

  /** `typed`: also the one that is being typed in. */
  drawFields(typed = false) {
    const point = this.curve.points[this.cursor];
    for (const input of this.fields) {
      const text = input.name === "t" ? curves.timeLabel(this.axis, point.t, 0) : point[input.name].toFixed(2);
      if ((typed || this.root.activeElement !== input) && input.value !== text) input.value = text;
    }
  }

  hover(at) {
    this.pointer = at;
    const tell = (...texts) => [...this.root.querySelector(".readout").children].forEach((part, i) => setText(part, texts[i] ?? ""));
    if (!at || !this.hasRoom) {
      this.lanes.drawHover(this.curve, null);
      return tell(say(this.selection.size > 1 ? "{n} points selected" : "Double-click adds a point", { n: this.selection.size }));
    }
    const held = this.curve.points[this.grabbed?.index], t = held?.t ?? clamp(this.lanes.t(at.x), this.from, this.to);
    this.mark = t;
    this.lanes.drawHover(this.curve, this.grabbed ? null : t);
    const [valence, arousal] = LANES.map((lane) => held?.[lane] ?? curves.sampler(this.curve, lane)(t));
    const word = curves.nearestEmotion(this.emotions, valence, arousal);
    const where = curves.timeLabel(this.axis, t, (this.to - this.from) / this.lanes.width);
    tell(`${where}  `, `V ${curves.signed(valence)}`, `  A ${curves.signed(arousal)}`, `  ${say(word)}`);
  }
}

customElements.define("lara-timeline", Timeline);
