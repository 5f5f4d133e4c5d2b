// Making and changing nodes. All text is text: nothing here takes HTML.
//
//   el("p", {class: "note", hidden: true, on: {click: f}, data: {tab: "x"}}, "text", node, …) → element
//   text(node, "…"), attr(node, {…}), show(node, bool)     change what differs, so that nothing flickers
//   fill(node, list, make, update)                          as many children as the list has, made once, updated in place
//   scrollTable("caption", ["head", …], {unseen}) → {node, body}   a table that scrolls where there is no room; unseen: its caption
//   icon("ok") → svg                                        the page's few icons, 16 × 16
//   copy(text) → Promise<bool>                              to the clipboard

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const key in props) {
    const value = props[key];
    if (value === undefined || value === null || value === false) continue;
    if (key === "on") for (const event in value) node.addEventListener(event, value[event]);
    else if (key === "data") Object.assign(node.dataset, value);
    else if (key === "class") node.className = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter(c => c !== null && c !== undefined && c !== false));
  return node;
}

export function text(node, string) {
  const s = String(string ?? "");
  if (node.textContent !== s) node.textContent = s;
  return node;
}

export function attr(node, attrs) {
  for (const key in attrs) {
    const value = attrs[key];
    if (value === null || value === undefined || value === false) node.removeAttribute(key);
    else if (node.getAttribute(key) !== String(value)) node.setAttribute(key, value === true ? "" : value);
  }
  return node;
}

export function show(node, visible) {
  if (node.hidden === Boolean(visible)) node.hidden = !visible;
  return node;
}

export function fill(parent, list, make, update) {
  while (parent.children.length > list.length) parent.lastElementChild.remove();
  while (parent.children.length < list.length) parent.append(make(parent.children.length));
  list.forEach((item, i) => update(parent.children[i], item, i));
}

// cells makes a table row hold these texts.
export function cells(row, values, tag = "td") {
  fill(row, values, () => document.createElement(tag), (cell, value) => text(cell, value));
}

export function scrollTable(caption, head, { unseen = false } = {}) {
  const body = el("tbody");
  return { body, node: el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", { class: unseen ? "unseen" : null }, caption), el("thead", {}, el("tr", {}, ...head.map(h => el("th", { scope: "col" }, h)))), body)) };
}

const PATHS = {
  ok: ["M3 8.5l3.5 3.5L13 4.5"],
  alarm: ["M8 2l6.5 11.5h-13z", "M8 6.5v3.2", "M8 11.6v.3"],
  warning: ["M8 2l6.5 11.5h-13z", "M8 6.5v3.2", "M8 11.6v.3"],
  watch: ["M8 2l6.5 11.5h-13z", "M8 6.5v3.2", "M8 11.6v.3"],
  unknown: ["M5.6 6a2.4 2.4 0 1 1 3.4 2.2c-.7.4-1 .8-1 1.6", "M8 12.2v.3"],
  live: ["M8 3.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9z"],
  paused: ["M5.5 3v10", "M10.5 3v10"],
  stale: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z", "M8 5v3.2l2.2 1.6"],
  ended: ["M4 4h8v8H4z"],
  disconnected: ["M3 3l10 10", "M13 3L3 13"],
  waiting: ["M4.5 2.5h7", "M4.5 13.5h7", "M5.5 2.5c0 3 5 4 5 5.5s-5 2.5-5 5.5", "M10.5 2.5c0 3-5 4-5 5.5s5 2.5 5 5.5"],
  play: ["M5 3l8 5l-8 5z"],
  theme: ["M8 2.5a5.5 5.5 0 1 0 0 11z", "M8 2.5a5.5 5.5 0 0 1 0 11"],
  export: ["M8 2.5v7.5", "M4.8 7l3.2 3.2L11.2 7", "M3 13.5h10"],
  help: ["M5.6 6a2.4 2.4 0 1 1 3.4 2.2c-.7.4-1 .8-1 1.6", "M8 12.2v.3"],
  close: ["M4 4l8 8", "M12 4l-8 8"],
  copy: ["M5.5 5.5h8v8h-8z", "M10.5 5.5v-3h-8v8h3"],
};
const FILLED = new Set(["live", "play", "ended"]);
const NS = "http://www.w3.org/2000/svg";

export function icon(name) {
  const node = document.createElementNS(NS, "svg");
  for (const [k, v] of [["viewBox", "0 0 16 16"], ["width", "16"], ["height", "16"], ["aria-hidden", "true"], ["focusable", "false"]]) node.setAttribute(k, v);
  setIcon(node, name);
  return node;
}

export function setIcon(node, name) {
  if (node.dataset.icon === name) return;
  node.dataset.icon = name;
  node.setAttribute("class", "icon" + (FILLED.has(name) ? " filled" : ""));
  node.replaceChildren(...(PATHS[name] ?? []).map(d => {
    const path = document.createElementNS(NS, "path");
    path.setAttribute("d", d);
    return path;
  }));
}

export async function copy(string) {
  try {
    await navigator.clipboard.writeText(string);
    return true;
  } catch {
    // without https the clipboard is closed; an invisible text field still works
    const area = el("textarea", { class: "offscreen", "aria-hidden": "true" });
    area.value = string;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
