// Export of what is seen: pictures (PNG), tables (CSV) and data (JSON). Nothing leaves the browser but as a download.
//
//   await figurePNG(figure, {name, heading})   one plot with its title and note
//   await viewPNG(root, {name, heading})       all plots under root that are seen, where they stand; heading: lines of text above
//   figureCSV(figure, {name})                  the numbers of a plot (its table)
//   viewCSV(root, {name})                      those of all plots under root, one after the other
//   json(object, {name})                       any object
//   csv({caption, head, rows}) → text          RFC 4180, with the caption as a comment line
//   picture(figures, {heading, ground}) → an <svg> of them that needs no style sheet (for tests)
//   save(blob, name)
// name: without an ending. All return the file's name.
//
// An SVG as an image sees no style sheet, so each node's computed style is written into attributes first.

import { svg } from "./plots/frame.js";

const STYLE = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "opacity", "paint-order", "shape-rendering", "visibility", "font-family", "font-size", "font-weight", "font-style"];
const TEXT = new Set(["text", "tspan"]);
const DEFAULTS = { "fill-opacity": "1", "stroke-opacity": "1", "stroke-dasharray": "none", "stroke-linejoin": "miter", "stroke-linecap": "butt", opacity: "1", "paint-order": "normal", "shape-rendering": "auto", visibility: "visible", "font-style": "normal" };

// inline copies an SVG node with its computed style as attributes. What is hidden or only answers the pointer stays away.
function inline(node) {
  if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.textContent);
  if (node.nodeType !== Node.ELEMENT_NODE) return null;
  const tag = node.tagName;
  if (tag === "title" || (node.classList?.contains("l-cursor"))) return null;
  const style = getComputedStyle(node);
  if (style.display === "none") return null;
  const copy = svg(tag);
  for (const a of node.attributes) if (a.name !== "class" && a.name !== "style" && a.name !== "role" && !a.name.startsWith("aria-")) copy.setAttribute(a.name, a.value);
  if (tag === "stop") return copy;
  if (tag !== "svg" && tag !== "g" && tag !== "defs" && tag !== "linearGradient" && tag !== "pattern") {
    for (const key of STYLE) {
      if (key.startsWith("font") && !TEXT.has(tag)) continue;
      const value = style.getPropertyValue(key);
      if (value && value !== DEFAULTS[key]) copy.setAttribute(key, value.startsWith("url(") ? local(value) : value);
    }
  }
  for (const child of node.childNodes) {
    const c = inline(child);
    if (c) copy.append(c);
  }
  return copy;
}

// local turns url("https://page/#id") into url(#id).
const local = value => value.replace(/url\(["']?[^)"']*#([^)"']+)["']?\)/, "url(#$1)");

const seen = figure => figure.getClientRects().length > 0 && figure.querySelector("svg.plot-svg") !== null;
const plots = root => [...root.querySelectorAll("figure[data-plot]")].filter(seen);

function words(string, x, y, { size = 12, weight = "400", fill, family }) {
  const node = svg("text", { x, y, "font-size": size, "font-weight": weight, fill, "font-family": family });
  node.textContent = string;
  return node;
}

export function picture(figures, { heading = [], ground } = {}) {
  const style = getComputedStyle(figures[0] ?? document.body);
  const ink = style.color, family = style.fontFamily;
  const token = name => style.getPropertyValue(name).trim();
  const surface = ground || token("--surface") || "#ffffff";
  const soft = token("--ink-2") || ink;
  const boxes = figures.map(f => f.getBoundingClientRect());
  const left = Math.min(...boxes.map(b => b.left)), top = Math.min(...boxes.map(b => b.top));
  const margin = 16, lines = [heading].flat().filter(Boolean), head = lines.length ? lines.length * 18 + 8 : 0;
  let width = 0, height = 0;
  const out = svg("svg", { xmlns: "http://www.w3.org/2000/svg" });
  const back = svg("rect", { x: 0, y: 0, fill: surface });
  out.append(back);
  lines.forEach((line, i) => out.append(words(line, margin, margin + 12 + i * 18, { size: i ? 12 : 14, weight: i ? "400" : "600", fill: i ? soft : ink, family })));
  figures.forEach((figure, i) => {
    const b = boxes[i], x = b.left - left + margin, y = b.top - top + margin + head;
    const plot = figure.querySelector("svg.plot-svg"), area = plot.getBoundingClientRect();
    const title = figure.querySelector(".plot-title"), note = figure.querySelector(".plot-note");
    if (title && !title.hidden && title.getClientRects().length) out.append(words(title.textContent, x, y + 15, { size: 13, weight: "600", fill: ink, family }));
    const copy = inline(plot);
    copy.setAttribute("x", x + area.left - b.left);
    copy.setAttribute("y", y + area.top - b.top);
    out.append(copy);
    const below = [note, ...figure.querySelectorAll(".compared:not([hidden])")].filter(n => n?.textContent);
    below.forEach((n, k) => out.append(words(n.textContent, x, y + area.bottom - b.top + 14 + k * 17, { size: 12, fill: soft, family })));
    width = Math.max(width, x + b.width + margin);
    height = Math.max(height, y + area.bottom - b.top + 4 + below.length * 17 + margin);
  });
  width = Math.ceil(Math.max(width, 200));
  height = Math.ceil(Math.max(height, 60));
  for (const node of [out, back]) { node.setAttribute("width", width); node.setAttribute("height", height); }
  out.setAttribute("viewBox", `0 0 ${width} ${height}`);
  return out;
}

async function png(figures, options) {
  if (!figures.length) throw new Error("there is no plot to export");
  const drawing = picture(figures, options);
  const width = Number(drawing.getAttribute("width")), height = Number(drawing.getAttribute("height"));
  const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(drawing)], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const factor = Math.min(2, 16000 / Math.max(width, height)); // sharp, within what a canvas can hold
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(width * factor);
    canvas.height = Math.round(height * factor);
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
    if (!blob) throw new Error("the browser made no picture");
    return save(blob, fileName(options.name ?? "dtserve") + ".png");
  } finally {
    URL.revokeObjectURL(url);
  }
}

export const figurePNG = (figure, options = {}) => png([figure], { name: figure.dataset.plot, ...options });
export const viewPNG = (root, options = {}) => png(plots(root), options);

// csv writes a table. Cells that a spreadsheet would take for a formula are quoted with a leading apostrophe: text may come
// from the input.
export function csv(table) {
  const cell = v => {
    if (typeof v === "number") return String(v);
    let s = String(v ?? "");
    if (/^[=+\-@\t\r]/.test(s)) s = "'" + s;
    return /[",\r\n]/.test(s) ? `"${s.replaceAll('"', '""')}"` : s;
  };
  const lines = [table.head, ...table.rows].map(row => row.map(cell).join(","));
  if (table.caption) lines.unshift("# " + table.caption.replace(/[\r\n]+/g, " "));
  return lines.join("\r\n") + "\r\n";
}

export function figureCSV(figure, { name } = {}) {
  const table = figure.frame.tableOf();
  return save(new Blob([csv(table)], { type: "text/csv;charset=utf-8" }), fileName(name ?? figure.dataset.plot) + ".csv");
}

export function viewCSV(root, { name = "dtserve" } = {}) {
  const text = plots(root).map(f => csv(f.frame.tableOf())).join("\r\n");
  return save(new Blob([text], { type: "text/csv;charset=utf-8" }), fileName(name) + ".csv");
}

export function json(object, { name = "dtserve" } = {}) {
  return save(new Blob([JSON.stringify(object, null, 1) + "\n"], { type: "application/json" }), fileName(name) + ".json");
}

// fileName keeps what every file system takes.
const fileName = name => String(name).replace(/[^\p{L}\p{N}._-]+/gu, "_").replace(/^[._]+|_+$/g, "").slice(0, 120) || "dtserve";

export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.hidden = true;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  return name;
}
