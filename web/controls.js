/** The controls around the lanes of a timeline, as HTML: tools above, fields and readout below, and the arcs to choose from. */

import { LANES, trace } from "./curve.js";
import { svg } from "./element.js";
import { laneName, say } from "./texts.js";

const HELP = "Arrow keys move the selected points, with Shift in small steps. Comma and full stop go to the previous and the next point. "
  + "Enter adds a point, Delete removes the selected ones. Ctrl with A, C, X, V and Z selects all, copies, cuts, pastes and undoes.";

const ICONS = {
  linear: "M2 12L7 4L14 9", smooth: "M2 12C6 12 6 4 9 4S11 9 14 9", hold: "M2 12H6V4H10V9H14",
  undo: "M6 3L3 6L6 9M3 6H10A3.5 3.5 0 0 1 10 13H6", redo: "M10 3L13 6L10 9M13 6H6A3.5 3.5 0 0 0 6 13H10",
  out: "M4 8H12", in: "M4 8H12M8 4V12", fit: "M5 4L2 8L5 12M11 4L14 8L11 12M2 8H14",
};

const icon = (name) => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[name]}"></path></svg>`;
const button = (name, label) => `
  <button type="button" name="${name}" title="${say(label)}" aria-label="${say(label)}">${icon(name)}</button>`;
const field = (name, label, attributes) => `
  <label class="${name}"><span>${label}</span><input name="${name}" aria-label="${label}" ${attributes}></label>`;

/** Fields for the values of both lanes. */
export const laneFields = () => LANES.map((lane) => field(lane, laneName(lane), 'type="number" min="-1" max="1" step="0.05"')).join("");

/** The HTML of a timeline. */
export const controls = () => `
<div class="tools" role="toolbar" aria-label="${say("Timeline")}">
  <button type="button" name="arcs" aria-expanded="false" title="${say("Ready-made emotion arcs")}">${say("Arcs")}</button>
  <button type="button" name="take" title="${say("Replace the points with the curve that the DAW has sent")}" hidden>${say("Take over")}</button>
  <span class="group" role="group" aria-label="${say("Shape between the points")}">
    ${button("linear", "Straight lines")}${button("smooth", "Smooth, without overshoot")}${button("hold", "Hold until the next point")}
  </span>
  <label class="snap"><span>${say("Snap")}</span><select name="snap" aria-label="${say("Snap to")}">
    <option value="off">${say("off")}</option><option value="time">${say("seconds")}</option>
    <option value="bars">${say("bars")}</option></select></label>
  <span class="space"></span>
  <span class="group">${button("undo", "Undo (Ctrl+Z)")}${button("redo", "Redo (Ctrl+Shift+Z)")}</span>
  <span class="group">${button("out", "Zoom out (−)")}${button("fit", "Show all (0)")}${button("in", "Zoom in (+), or Alt and the wheel")}</span>
</div>
<div class="plot"><svg class="lanes" role="application" aria-label="${say("Emotion curve")}" aria-describedby="help"></svg>
  <div class="arcs" role="group" aria-label="${say("Emotion arcs")}" hidden></div>
</div>
<div class="scroll" aria-hidden="true"><div class="thumb"></div></div>
<div class="fields">
  ${field("t", say("Time"), 'type="text" inputmode="decimal" spellcheck="false"')}${laneFields()}
  <output class="readout"><span></span><span class="valence"></span><span class="arousal"></span><span></span></output>
</div>
<p id="help" class="unseen">${say(HELP)}</p>`;

/** A button that shows a ready-made curve. */
export function arcButton(name, curve) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", name });
  const picture = svg(made, "svg", { viewBox: "0 -13 96 26", "aria-hidden": "true" });
  for (const lane of LANES) {
    const d = "M" + trace(curve, lane, 0, 1, 48).map(([t, value]) => `${t * 96} ${-value * 12}`).join("L");
    svg(picture, "path", { class: `line ${lane}`, d });
  }
  made.append(say(name.replaceAll("-", " ")));
  return made;
}
