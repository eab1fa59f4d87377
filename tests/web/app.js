// Stands in for ComfyUI's scripts/app.js in tests/test_web.py: a graph of nodes that can hold DOM widgets, drawn at any zoom.
import { api } from "./api.js";

const SPECS = {
  LARAEmotionVA: { va: ["LARA_VA", { default: '{"valence": 0, "arousal": 0}' }] },
  LARAEmotionCurve: { curve: ["LARA_CURVE", {
    default: '{"unit": "normalized", "interpolation": "linear", "points": [{"t": 0, "valence": 0.2, "arousal": -0.4}]}',
  }] },
};

class Node {
  constructor(graph, id, type) {
    Object.assign(this, { graph, id, type, widgets: [], inputs: [], outputs: [{ links: [] }] });
  }

  getOutputNodes(slot) {
    return this.outputs[slot].links.map((link) => this.graph.getNodeById(this.graph.links[link].target_id));
  }

  isInputConnected(slot) {
    return this.inputs[slot].link !== null;
  }

  addDOMWidget(name, type, element, options) {
    const widget = { name, type, element, options, node: this, get value() { return options.getValue(); }, set value(v) { options.setValue(v); } };
    this.widgets.push(widget);
    return widget;
  }
}

export const app = {
  graph: { nodes: [], links: {}, getNodeById: (id) => app.graph.nodes.find((node) => node.id === id) },
  nodeOutputs: {},
  extensionManager: { setting: { get: () => new URLSearchParams(location.search).get("language") } },
  checked: 0, // how often an edit was reported to the graph's undo
  canvas: { emitBeforeChange() {}, emitAfterChange() { app.checked += 1; } },
  registerExtension(extension) {
    app.ready = (async () => {
      app.constructors = await extension.getCustomWidgets(app);
      await extension.setup(app);
    })();
  },
};

/** A node on the page: `size` in unscaled pixels, `zoom` of the canvas; its values come from `value`, as from a workflow. */
function addNode(type, { size = [560, 360], zoom = 1, value } = {}) {
  const node = new Node(app.graph, app.graph.nodes.length + 1, type);
  app.graph.nodes.push(node);
  for (const [name, spec] of Object.entries(SPECS[type] ?? {})) {
    const { widget } = app.constructors[spec[0]](node, name, spec, app);
    if (value !== undefined) widget.value = value;
    const box = document.createElement("div");
    box.className = "node";
    Object.assign(box.style, { width: `${size[0]}px`, height: `${size[1]}px`, transform: `scale(${zoom})`, transformOrigin: "0 0" });
    box.append(widget.element);
    document.body.append(box);
  }
  return node;
}

function addMusicNode(from, numbers) {
  const node = addNode("LARAGenerateMusic"), link = Object.keys(app.graph.links).length + 1;
  node.widgets = Object.entries(numbers).map(([name, value]) => ({ name, value }));
  app.graph.links[link] = { target_id: node.id };
  from.outputs[0].links.push(link);
  return node;
}

/** Removing a node takes its element off the page, as ComfyUI does. */
function removeNode(node) {
  for (const { element } of node.widgets) element?.closest(".node")?.remove();
  app.graph.nodes.splice(app.graph.nodes.indexOf(node), 1);
}

function executed(node, output) {
  app.nodeOutputs[node.id] = output;
  api.dispatchEvent(new CustomEvent("executed", { detail: { node: node.id, output } }));
}

/** What nodes/osc.py tells the page while a pass is recorded. */
function recorded(message) {
  api.dispatchEvent(new CustomEvent("lara-recorded", { detail: message }));
}

function clearGraph() {
  for (const node of [...app.graph.nodes]) removeNode(node);
  Object.assign(app, { nodeOutputs: {}, checked: 0 });
  app.graph.links = {};
  document.body.className = "dark";
}

Object.assign(window, { clearGraph, app, addNode, addMusicNode, removeNode, executed, recorded });
