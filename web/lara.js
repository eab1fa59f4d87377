/**
 * ComfyUI's door to the widgets: node values go into <lara-va-pad> and <lara-timeline> and come out of them. Twice a second every
 * timeline is told what the graph knows: the length, the tempo, what was measured in the last run, and what a DAW has sent.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { formatCurve, parseCurve } from "./curve.js";
import { ValueElement } from "./element.js";
import { say, speak } from "./texts.js";
import { Timeline } from "./timeline.js";
import { VAPad } from "./va_pad.js";

const BUTTON_HEIGHT = 24;
const KEEP_UP_MS = 500; // ComfyUI has no event for a changed link or number that both its canvases send
const NOTHING_MEASURED = [];
const COLORS = { LARA_MODEL: "#b39ddb", LARA_EMOTION: "#f2a541", LARA_PIECE: "#4db6ac", "LARA_PIECE,AUDIO": "#4db6ac" }; // of sockets and links

// Here and not in getCustomWidgets, for which ComfyUI does not wait: a graph that is opened early would lose its values.
const recordings = new Map(); // by port, as OSC Input tells them

const [words] = await Promise.all([fetch(new URL("./presets.json", import.meta.url)).then((answer) => answer.json()), speak(locale())]);

app.registerExtension({
  name: "lara-gen.widgets",

  getCustomWidgets() {
    return {
      LARA_VA: (node, name, spec) => addWidget(node, name, spec, new VAPad(spec[1].default, words), { minWidth: 260, minHeight: 300 }),
      LARA_CURVE: (node, name, spec) => addWidget(node, name, spec, new Timeline(spec[1].default, words), { minWidth: 420, minHeight: 320 }),
    };
  },

  setup() {
    colorNodes2();
    setInterval(keepUp, KEEP_UP_MS);
    api.addEventListener("executed", () => setTimeout(keepUp)); // after ComfyUI has stored the output
    api.addEventListener("executed", ({ detail }) => offerReport(detail));
    api.addEventListener("lara-recorded", ({ detail }) => keepRecording(detail));
    askForRecordings();
    document.addEventListener("play", (event) => followPlayer(event.target), true); // media events do not bubble
  },
});

function addWidget(node, name, [type], element, { minWidth, minHeight }) {
  const widget = node.addDOMWidget(name, type, element, {
    getValue: () => element.value,
    setValue: (value) => { element.value = value; },
    getMinHeight: () => minHeight,
    hideOnZoom: false, // the shape is worth seeing from afar
  });
  element.classList.add("widget-expands"); // Nodes 2.0: a taller node makes it taller
  leaveToCanvas(element);
  element.addEventListener("change", () => {
    app.canvas?.emitBeforeChange?.(); // makes the edit one step of the graph's own undo
    widget.callback?.(element.value);
    app.canvas?.emitAfterChange?.();
  });
  return { widget, minWidth, minHeight };
}

/** The language of the page, as the user chose it. */
function locale() {
  return app.extensionManager?.setting.get("Comfy.Locale") ?? navigator.language;
}

/** Wheel and middle button move the canvas under the widget, as they do elsewhere. */
function leaveToCanvas(element) {
  element.dataset.captureWheel = "true"; // else Nodes 2.0 take the wheel before the timeline can zoom
  element.addEventListener("wheel", (event) => {
    if (event.defaultPrevented) return;
    event.preventDefault();
    app.canvas?.canvas?.dispatchEvent(new WheelEvent("wheel", event));
  });
  const classic = () => app.canvas && !element.closest("[data-node-id]"); // Nodes 2.0 see to the middle button themselves
  element.addEventListener("pointerdown", (event) => {
    if (classic() && event.button === 1) app.canvas.processMouseDown?.(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (classic() && event.buttons & 4) app.canvas.processMouseMove?.(event);
  });
  element.addEventListener("pointerup", (event) => {
    if (classic() && event.button === 1) app.canvas.processMouseUp?.(event);
  });
}

// ---- what the graph knows --------------------------------------------------------------------------------------------------

function keepUp() {
  for (const colors of [app.canvas?.default_connection_color_byType, app.canvas?.constructor.link_type_colors]) Object.assign(colors ?? {}, COLORS);
  for (const [node, element] of elements(app.graph)) {
    if (!element.isConnected) show(node, element);
    if (element instanceof Timeline) element.context = contextOf(node);
  }
}

/** The nodes of a graph, those in its subgraphs too. */
function nodesOf(graph) {
  return (graph?.nodes ?? []).flatMap((node) => [node, ...nodesOf(node.subgraph)]);
}

/** Pairs of node and element of this pack. */
function elements(graph) {
  return nodesOf(graph).flatMap((node) => (node.widgets ?? []).filter((widget) => widget.element instanceof ValueElement)
    .map((widget) => [node, widget.element]));
}

/** After undo, Nodes 2.0 leave the element of the node that was there before on the page. */
function show(node, element) {
  document.querySelector(`[data-node-id="${node.id}"] ${element.localName}`)?.replaceWith(element);
}

function contextOf(node) {
  const after = downstream(node), music = after.find((other) => numberOf(other, "seconds") > 0), sent = recorded();
  const [beats, unit] = (widgetOf(music, "metre")?.value ?? "4/4").split("/").map(Number);
  return {
    seconds: music ? numberOf(music, "seconds") : null, tempo: (numberOf(music, "tempo") ?? sent?.tempo) || null, beatsPerBar: (beats * 4) / unit,
    measured: after.map(measuredBy).find((tracks) => tracks) ?? NOTHING_MEASURED, recorded: sent,
  };
}

/** What an OSC Input node of this graph has recorded; null where there is none. */
function recorded() {
  const inputs = nodesOf(app.graph).filter((node) => node.type === "LARAOSCInput");
  return inputs.map((node) => recordings.get(numberOf(node, "port"))).find((recording) => recording) ?? null;
}

/** A message of nodes/osc.py: {port, curve (its text), tempo, recording}. */
function keepRecording({ port, curve, ...rest }) {
  const read = parseCurve(curve);
  recordings.set(port, { ...rest, curve: read, text: formatCurve(read) });
  keepUp();
}

async function askForRecordings() {
  const answer = await api.fetchApi("/lara/recorded");
  if (answer.ok) (await answer.json()).forEach(keepRecording);
}

function measuredBy(node) {
  const outputs = app.nodeOutputs ?? {}; // by node id; inside a subgraph the id of the subgraph stands before it
  return (outputs[node.id] ?? outputs[`${node.graph?.id}:${node.id}`])?.lara_measured;
}

/** The nodes that anything from this node flows into, nearest first. */
function downstream(node) {
  const found = [node];
  for (const from of found) {
    for (const to of (from.outputs ?? []).flatMap((_, slot) => from.getOutputNodes(slot) ?? [])) if (!found.includes(to)) found.push(to);
  }
  return found.slice(1);
}

function widgetOf(node, name) {
  return node?.widgets?.find((widget) => widget.name === name);
}

/** The number in a node's widget; null where there is none, or where a link brings it. */
function numberOf(node, name) {
  const value = widgetOf(node, name)?.value, linked = node?.inputs?.some((input, slot) => input.name === name && node.isInputConnected(slot));
  return typeof value === "number" && !linked ? value : null;
}

/** A player of one of the nodes after a timeline moves its playhead. */
function followPlayer(audio) {
  const id = audio.closest("[data-node-id]")?.dataset.nodeId; // where Nodes 2.0 draw the node
  for (const [node, element] of elements(app.graph)) {
    const plays = downstream(node).some((other) => String(other.id) === id || other.widgets?.some((widget) => widget.element?.contains(audio)));
    if (plays) element.follow?.(audio);
  }
}

// ---- sockets and reports ---------------------------------------------------------------------------------------------------

/** Nodes 2.0 take the colour of a socket from a CSS variable; the canvas is given it in keepUp, for a change of theme takes it away. */
function colorNodes2() {
  const style = document.createElement("style"), types = Object.entries(COLORS).filter(([type]) => !type.includes(","));
  style.textContent = `:root { ${types.map(([type, color]) => `--color-datatype-${type}: ${color};`).join(" ")} }`;
  document.head.append(style);
}

/** A button on a node that has saved a report opens it; ComfyUI itself only downloads HTML. */
function offerReport({ node: id, output }) {
  const report = output?.lara_report?.[0], own = String(id).split(":").at(-1); // inside a subgraph the ids of those around it stand before it
  const node = report && nodesOf(app.graph).find((other) => String(other.id) === own && other.type === "LARAScoreEmotion");
  if (!node) return;
  const name = say("Open report");
  let button = node.widgets.find((widget) => widget.name === name);
  if (!button) {
    button = node.addWidget("button", name, null, () => {}, { serialize: false });
    button.serialize = false; // older versions look here
    node.setSize([node.size[0], node.size[1] + BUTTON_HEIGHT]); // the picture keeps its room
  }
  button.callback = () => openReport(report);
}

async function openReport(report) {
  const page = window.open("", "_blank"); // at once, or the browser would block it
  const html = await (await api.fetchApi(`/view?${new URLSearchParams(report)}`)).text();
  if (page) page.location = URL.createObjectURL(new Blob([html], { type: "text/html" }));
}
