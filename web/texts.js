/** The widgets' texts in the language of ComfyUI's page: an English text goes in, what texts.json has for it comes out. */

let table = {};

/** Read the texts of a language such as "de" or "zh-TW"; any that is not in texts.json stays English. */
export async function speak(language) {
  const tables = await (await fetch(new URL("./texts.json", import.meta.url))).json();
  table = tables[language.split("-")[0]] ?? {};
}

/** The text in the user's language; {name} in it becomes values.name. */
export function say(text, values = {}) {
  return (table[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** The name of a lane of a curve, as it is shown. */
export function laneName(lane) {
  return say(lane[0].toUpperCase() + lane.slice(1));
}
