/**
 * <lara-va-pad>: one mood on the valence and arousal plane (Russell's circumplex). Its value is the JSON text
 * {"valence": v, "arousal": a}, both in [-1, 1]. Drag, arrow keys, typed numbers and emotion words set it.
 */

import { clamp, formatVA, LANES, nearestEmotion, parseVA, signed } from "./curve.js";
import { laneFields } from "./controls.js";
import { place, placed, setAttributes, svg, ValueElement } from "./element.js";
import { say } from "./texts.js";

const COARSE = 0.05, FINE = 0.01, LEAP = 0.25; // steps of the arrow keys, with Shift, and of Page Up and Page Down
const FINE_DRAG = 0.2;
const CENTRE = { valence: 0, arousal: 0 };
const MARGIN = 20, WORD_HEIGHT = 12, LETTER_WIDTH = 5.3;
// Named first; the other words follow where there is room.
const LANDMARKS = ["happy", "excited", "tense", "angry", "sad", "calm", "bored", "astonished", "tender", "melancholic", "mysterious",
  "triumphant", "peaceful", "fearful", "hopeful", "depressed", "sleepy"];

const html = () => `
<div class="plot"><svg class="pad" role="application" aria-label="${say("Mood: valence and arousal")}">
  <defs>
    <linearGradient id="pleasant" class="valence"><stop offset="0" stop-opacity="0"/><stop offset="1" stop-opacity=".25"/></linearGradient>
    <linearGradient id="intense" class="arousal" gradientTransform="rotate(-90 .5 .5)">
      <stop offset="0" stop-opacity="0"/><stop offset="1" stop-opacity=".25"/>
    </linearGradient>
  </defs>
  <g class="scene"></g>
  <g class="words"></g>
  <path class="guide valence"></path><path class="guide arousal"></path>
  <g class="handle" tabindex="0" role="slider" aria-roledescription="${say("two-way slider")}" aria-valuemin="-1" aria-valuemax="1"
     aria-keyshortcuts="ArrowUp ArrowDown ArrowLeft ArrowRight 0">
    <circle class="hit" r="14"></circle><circle class="knob" r="7"></circle><text class="near" text-anchor="middle"></text>
  </g>
</svg></div>
<div class="fields">
  ${laneFields()}
  <label class="mood"><span>${say("Mood")}</span>
    <select name="mood" aria-label="${say("Nearest emotion word; choose one to go there")}"></select></label>
</div>`;

export class VAPad extends ValueElement {
  /** `fallback`: the text to begin with; `emotions`: {word: [valence, arousal]}. */
  constructor(fallback, { emotions }) {
    super({ parse: parseVA, format: formatVA, fallback, html: html() });
    this.emotions = emotions;
    this.svg = this.root.querySelector("svg");
    this.handle = this.root.querySelector(".handle");
    this.mood = this.root.querySelector("select");
    const choices = Object.keys(emotions).map((word) => new Option(say(word), word));
    this.mood.append(...choices.sort((a, b) => a.text.localeCompare(b.text)));
    this.listen();
    this.value = fallback;
  }

  listen() {
    this.svg.addEventListener("pointerdown", (event) => this.grab(event));
    this.svg.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) this.svg.addEventListener(name, () => this.release());
    this.svg.addEventListener("dblclick", () => this.moveTo(CENTRE));
    this.mood.addEventListener("change", () => this.moveToWord(this.mood.value));
    for (const lane of LANES) {
      const input = this.root.querySelector(`input[name=${lane}]`);
      input.addEventListener("change", () => {
        if (input.value.trim() === "" || !Number.isFinite(input.valueAsNumber)) this.show(this.point);
        else this.moveTo({ ...this.point, [lane]: input.valueAsNumber });
      });
    }
  }

  // ---- edits ---------------------------------------------------------------------------------------------------------

  moveTo(point, merge = false) {
    this.edit(tidy(point));
    this.commit(merge);
  }

  moveToWord(word) {
    const [valence, arousal] = this.emotions[word];
    this.moveTo({ valence, arousal });
  }

  grab(event) {
    if (event.button !== 0) return;
    event.stopPropagation();
    this.svg.setPointerCapture(event.pointerId);
    this.handle.focus({ preventScroll: true });
    const box = placed(this.svg), at = place(event, box), word = event.target.dataset.word;
    if (word) return this.moveToWord(word); // a click on a word means the word
    const onKnob = this.handle.contains(event.target);
    this.grabbed = { at, box, free: onKnob ? { ...this.point } : this.pointAt(at) };
    if (!onKnob) this.edit(tidy(this.grabbed.free));
    this.svg.classList.add("dragging");
  }

  drag(event) {
    if (!this.grabbed) return;
    const { free, at: before, box } = this.grabbed, at = place(event, box), speed = event.shiftKey ? FINE_DRAG : 1;
    free.valence += ((at.x - before.x) / this.radius) * speed;
    free.arousal -= ((at.y - before.y) / this.radius) * speed;
    this.grabbed.at = at;
    this.edit(tidy(free));
  }

  release() {
    this.grabbed = null;
    this.svg.classList.remove("dragging");
    this.commit();
  }

  pressed(event, command) {
    if (command || event.altKey) return false;
    if (event.key === "Escape") this.giveUp();
    const step = event.shiftKey ? FINE : COARSE;
    const moves = {
      ArrowRight: { valence: step }, ArrowLeft: { valence: -step }, ArrowUp: { arousal: step }, ArrowDown: { arousal: -step },
      PageUp: { arousal: LEAP }, PageDown: { arousal: -LEAP }, End: { valence: LEAP }, Home: { valence: -LEAP },
    };
    if (event.key === "0") this.moveTo(CENTRE);
    else if (event.key in moves) {
      const { valence = 0, arousal = 0 } = moves[event.key];
      this.moveTo({ valence: this.point.valence + valence, arousal: this.point.arousal + arousal }, event.repeat);
    } else return false;
    return true;
  }

  // ---- picture -------------------------------------------------------------------------------------------------------

  pointAt({ x, y }) {
    return { valence: (x - this.centre.x) / this.radius, arousal: (this.centre.y - y) / this.radius };
  }

  at({ valence, arousal }) {
    return { x: this.centre.x + valence * this.radius, y: this.centre.y - arousal * this.radius };
  }

  resized() {
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (!width || !height) return;
    this.radius = Math.max(Math.min(width, height) / 2 - MARGIN, 10);
    this.centre = { x: width / 2, y: height / 2 };
    this.drawScene();
    this.drawWords();
    this.show(this.point);
  }

  drawScene() {
    const scene = this.root.querySelector(".scene"), { x, y } = this.centre, r = this.radius;
    scene.replaceChildren();
    const square = { x: x - r, y: y - r, width: 2 * r, height: 2 * r, rx: 6 };
    svg(scene, "rect", { class: "paper", ...square });
    svg(scene, "rect", { class: "tint", ...square, fill: "url(#pleasant)" });
    svg(scene, "rect", { class: "tint", ...square, fill: "url(#intense)" });
    for (const part of [0.5, 1]) svg(scene, "circle", { class: "grid", cx: x, cy: y, r: r * part });
    svg(scene, "path", { class: "axis", d: `M${x - r} ${y}H${x + r}M${x} ${y - r}V${y + r}` });
    const ends = [["valence", "unpleasant", x - r, y + 4, -90], ["valence", "pleasant", x + r, y + 4, 90],
      ["arousal", "intense", x, y - r - 6, 0], ["arousal", "calm", x, y + r + 14, 0]];
    for (const [lane, text, left, top, turn] of ends) {
      const shift = turn ? `translate(${left + Math.sign(turn) * 8} ${y}) rotate(${turn})` : `translate(${left} ${top})`;
      svg(scene, "text", { class: `end ${lane}`, transform: shift, "text-anchor": "middle" }).textContent = say(text);
    }
  }

  drawWords() {
    const group = this.root.querySelector(".words"), taken = [], places = new Set();
    group.replaceChildren();
    for (const word of new Set([...LANDMARKS, ...Object.keys(this.emotions)])) {
      const [valence, arousal] = this.emotions[word] ?? [], key = `${valence} ${arousal}`;
      if (valence === undefined || places.has(key)) continue; // a synonym stands where its word stands
      places.add(key);
      const { x, y } = this.at({ valence, arousal }), half = width(say(word)) / 2 + 3;
      const box = { left: x - half, right: x + half, top: y - WORD_HEIGHT / 2 - 4, bottom: y + WORD_HEIGHT / 2 + 8 };
      const fits = box.left > this.centre.x - this.radius && box.right < this.centre.x + this.radius;
      if (!fits || taken.some((other) => overlap(box, other))) continue;
      taken.push(box);
      svg(group, "circle", { class: "dot", cx: x, cy: y, r: 1.8, "data-word": word });
      svg(group, "text", { x, y: y + 12, "text-anchor": "middle", "data-word": word }).textContent = say(word);
    }
  }

  show(point) {
    this.point = point;
    const { valence, arousal } = point, word = nearestEmotion(this.emotions, valence, arousal);
    for (const lane of LANES) this.root.querySelector(`input[name=${lane}]`).value = point[lane].toFixed(2);
    this.mood.value = word;
    setAttributes(this.handle, {
      "aria-label": say("Mood"), "aria-valuenow": valence, "aria-valuetext":
        say("valence {valence}, arousal {arousal}, near {word}", { valence: signed(valence), arousal: signed(arousal), word: say(word) }),
    });
    if (!this.radius) return; // nothing to draw on yet
    const { x, y } = this.at(point), { x: cx, y: cy } = this.centre;
    setAttributes(this.handle, { transform: `translate(${x} ${y})` });
    const near = this.root.querySelector(".near");
    near.textContent = say(word);
    const low = arousal > 0.85, top = y + (low ? 10 : -24), half = width(near.textContent) / 2 + 6;
    setAttributes(near, { y: low ? 22 : -13 });
    const box = { left: x - half, right: x + half, top, bottom: top + WORD_HEIGHT + 4 };
    for (const text of this.root.querySelectorAll(".words text")) {
      const across = Number(text.getAttribute("x")), base = Number(text.getAttribute("y")), half = width(text.textContent) / 2;
      const under = overlap(box, { left: across - half, right: across + half, top: base - WORD_HEIGHT + 2, bottom: base });
      setAttributes(text, { class: under ? "under" : "" }); // the mood's own word stands there
    }
    setAttributes(this.root.querySelector(".guide.valence"), { d: `M${cx} ${y}H${x}` });
    setAttributes(this.root.querySelector(".guide.arousal"), { d: `M${x} ${cy}V${y}` });
  }
}

function tidy({ valence, arousal }) {
  const near = (value) => clamp(Math.round(value * 1000) / 1000 + 0, -1, 1);
  return { valence: near(valence), arousal: near(arousal) };
}

/** About how wide a word is drawn: Chinese characters are twice as wide as letters. */
function width(word) {
  return [...word].reduce((sum, letter) => sum + (letter > "\u2e80" ? 10 : LETTER_WIDTH), 0);
}

function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

customElements.define("lara-va-pad", VAPad);
