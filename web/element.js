/**
 * What the two widgets share: an element that shows and edits one JSON text. The text of the node goes in through `value`;
 * the edited text comes out of `value`, with a "change" event after each finished edit.
 *
 * A text that cannot be read is shown as a message over the default, and `value` gives it back untouched until the first edit.
 */

import { BadValue, History } from "./curve.js";
import { say } from "./texts.js";

const REPLACED = "{problem} Shown instead is the default; the node keeps its text until you edit here.";
const STYLE = new URL("./lara.css", import.meta.url).href;

export class ValueElement extends HTMLElement {
  /**
   * `parse` throws on bad text; `format` is its inverse; the text `fallback` is shown where `parse` threw. While the pointer holds
   * something, a subclass has it in `grabbed`.
   */
  constructor({ parse, format, fallback, html }) {
    super();
    Object.assign(this, { parse, format, fallback: parse(fallback) });
    this.root = this.attachShadow({ mode: "open" });
    this.root.innerHTML = `<link rel="stylesheet" href="${STYLE}">${html}<p class="message" role="status" hidden></p>`;
    this.message = this.root.querySelector(".message");
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    for (const name of ["copy", "cut", "paste"]) this.addEventListener(name, (event) => event.stopPropagation()); // ComfyUI's are for nodes
    this.resizes = new ResizeObserver(() => this.resized());
  }

  /** A subclass draws into `this.svg` and redraws in `resized`. */
  connectedCallback() {
    this.resizes.observe(this.svg);
    this.svg.onmousedown = (event) => event.preventDefault(); // the handle keeps the focus that pointerdown gave it
  }

  disconnectedCallback() {
    this.resizes.disconnect();
  }

  /** ComfyUI leaves Ctrl+Z alone only where the focused element calls itself a text area, or editable in newer versions. */
  get type() {
    return "textarea";
  }

  get isContentEditable() {
    return true;
  }

  get value() {
    return this.text;
  }

  /** The text of a loaded node. What could be undone belonged to another text. */
  set value(text) {
    if (text === this.text) return;
    this.history = new History(text);
    this.read(text);
  }

  /** Show `text`, which is the present of the history. */
  read(text) {
    this.text = text;
    this.message.hidden = true;
    let state = this.fallback;
    try {
      state = this.parse(text);
    } catch (error) {
      if (!(error instanceof BadValue)) throw error;
      this.message.textContent = say(REPLACED, { problem: sentence(error.message) });
      this.message.hidden = false;
    }
    this.show(state);
  }

  /** Show `state` and make it the value, as in the middle of a drag; `commit` ends the edit. */
  edit(state) {
    this.text = this.format(state);
    this.message.hidden = true;
    this.show(state);
  }

  commit(merge = false) {
    if (this.text === this.history.present) return;
    this.history.push(this.text, merge);
    this.dispatchEvent(new Event("change"));
  }

  /** The edit under way never was. */
  giveUp() {
    if (!this.grabbed) return;
    this.grabbed = null;
    this.read(this.history.present);
  }

  undo() {
    this.history.undo();
    this.travel();
  }

  redo() {
    this.history.redo();
    this.travel();
  }

  travel() {
    if (this.text === this.history.present) return;
    this.read(this.history.present);
    this.dispatchEvent(new Event("change"));
  }

  onKey(event) {
    const command = event.ctrlKey || event.metaKey, letter = event.key.toLowerCase();
    const typing = event.target.matches("input, select");
    let handled = false;
    if (command && !event.altKey && (letter === "z" || letter === "y") && !typing) {
      if (letter === "y" || event.shiftKey) this.redo();
      else this.undo();
      handled = true;
    } else if (!typing) handled = this.pressed(event, command);
    if (handled) event.preventDefault();
    if (handled || !command) event.stopPropagation(); // single letters and Delete are ComfyUI's shortcuts for nodes
  }
}

/** Where `box` is on the page, and how large ComfyUI draws it: {left, top, scale}. Asking makes the browser lay out the page at once. */
export function placed(box) {
  const { left, top, width } = box.getBoundingClientRect();
  return { left, top, scale: width / box.clientWidth || 1 };
}

/** Pointer position in the pixels of what is `placed`. */
export function place(event, { left, top, scale }) {
  return { x: (event.clientX - left) / scale, y: (event.clientY - top) / scale };
}

/** A new SVG element inside `parent`. */
export function svg(parent, name, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  setAttributes(element, attributes);
  parent.append(element);
  return element;
}

/** Set attributes; those that are as they were cost nothing. */
export function setAttributes(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (element.getAttribute(key) !== String(value)) element.setAttribute(key, value);
  }
}

/** Set the text of an element; the same again costs nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function sentence(text) {
  return text[0].toUpperCase() + text.slice(1) + ".";
}
