// The frame that every plot is drawn into: a <figure> with its title, an SVG with axes and ticks, a cursor read-out, zoom,
// a note line and the table of its numbers. What is drawn inside is the plot modules' (steps, trend, wiremap, box, efficiency).
//
//   const f = frame(host, {
//     id,        "occupancy:1"; becomes data-plot
//     height,    px of the SVG (default 220), or "fill": as CSS makes .plot-area
//     title,     instead of the model's title; "" for none
//     about,     a sentence on what the plot shows, beside the title
//     zoomKey,   frames with the same key zoom together; default: the model's x.zoomKey, else id
//     onZoom,    (key, [lo, hi] or null) after the viewer zoomed here
//     onPick,    (what) by click, Enter or a second tap; what: the plot module's head comment says
//     onMenu,    (frame, button): puts a "⋯" button in the head
//   })
//   draw(f, model)      of the plot's module. Sets f.figure.model. Nodes are updated in place; a frame without width (a hidden
//                       tab) is drawn when it gets one.
//   f.figure, f.svg, f.model, f.small, f.redraw(), f.destroy(), f.setZoom([lo, hi] or null), f.zoomKey, f.tableOf()
//
//   zooms.get(key), zooms.set(key, range or null), zooms.all() → {key: [lo, hi]}, zooms.load({…}), zooms.on(callback) → off
//
// Keys while a plot has the focus: ← → (shift: 10) Home End move the cursor, ↑ ↓ too where there are rows, + − zoom,
// 0 the whole axis, Enter picks, Esc takes the cursor away. They do not reach the page. Mouse: drag or ctrl + wheel zoom,
// shift + wheel moves along, double click zooms in and back. Touch: a tap or a sideways drag reads out, a double tap zooms.
//
// What a model has (all optional but id and title):
//   {id, title, x: {label, unit, lo, hi, step, kind, zoomKey, zoom}, y: {label, log, …}, sets: [{name, role, c, edges, counts,
//    values, errors, under, over}], marks, note, few: true where numbers are too few, empty: text, summary: for screen readers,
//    hold: false: the y axis takes this model's range at once, without memory (for exports)}
//
// Colours come from the page's custom properties only; see plots.css.

import { fixed } from "../format.js";

const NS = "http://www.w3.org/2000/svg";

// ---------------------------------------------------------------- nodes

export function svg(tag, attrs) {
  const node = document.createElementNS(NS, tag);
  if (attrs) set(node, attrs);
  return node;
}

// set writes attributes that differ. A value of null takes the attribute away.
export function set(node, attrs) {
  for (const key in attrs) {
    const value = attrs[key];
    if (value === null || value === undefined) node.removeAttribute(key);
    else if (node.getAttribute(key) !== String(value)) node.setAttribute(key, value);
  }
  return node;
}

export function text(node, string) {
  if (node.textContent !== string) node.textContent = string;
  return node;
}

const hide = (node, yes) => { if (node.hidden !== yes) node.hidden = yes; };

// pool makes the parent have exactly n children of the tag, keeps those it has, and returns them.
export function pool(parent, tag, n) {
  while (parent.childNodes.length > n) parent.lastChild.remove();
  while (parent.childNodes.length < n) parent.append(svg(tag));
  return parent.childNodes;
}

const html = (tag, className, ...children) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
};

// ---------------------------------------------------------------- ticks

const power10 = v => Math.floor(Math.log10(v) + 1e-12);

// niceStep is the least of 1, 2, 5 × 10^k (or of kind's steps) that makes at most n steps of the length.
export function niceStep(length, n, kind) {
  const raw = length / Math.max(1, n);
  if (!(raw > 0)) return 1;
  if (kind === "channel") {
    for (const s of [1, 2, 4, 8, 16, 32, 64, 128]) if (s >= raw * 0.999) return s;
  }
  const p = 10 ** power10(raw);
  const step = [1, 2, 5, 10].find(s => s * p >= raw * 0.999) * p;
  return kind === "integer" || kind === "channel" ? Math.max(1, Math.round(step)) : step;
}

export function ticks(lo, hi, n, kind) {
  const step = niceStep(hi - lo, n, kind);
  const out = [];
  for (let k = Math.ceil(lo / step - 1e-9); k * step <= hi + step * 1e-9; k++) out.push(k === 0 ? 0 : Number((k * step).toPrecision(14)));
  return { step, values: out };
}

// tickText writes a tick so that all of an axis have the same unit and decimals.
export function tickText(value, step, largest, k = 1e4) {
  const [unit, name] = largest >= 1e9 ? [1e9, "G"] : largest >= 1e6 ? [1e6, "M"] : largest >= k ? [1e3, "k"] : [1, ""];
  if (value === 0) return "0";
  let decimals = 0;
  while (decimals < 9 && Math.abs(Math.round(step / unit * 10 ** decimals) - step / unit * 10 ** decimals) > 1e-6) decimals++;
  return fixed(value / unit, decimals) + name;
}

// logTicks: decades, with 2 and 5 where there are few of them; minor: all 2 … 9.
export function logTicks(lo, hi, n) {
  const first = Math.floor(Math.log10(lo)), last = Math.ceil(Math.log10(hi));
  const decades = last - first;
  const every = Math.max(1, Math.ceil(decades / Math.max(2, n)));
  const factors = decades * 3 <= n ? [1, 2, 5] : [1];
  const major = [], minor = [];
  for (let p = first; p <= last; p++) {
    for (let m = 1; m < 10; m++) {
      const v = m * 10 ** p;
      if (v < lo * 0.999 || v > hi * 1.001) continue;
      if (factors.includes(m) && (p - first) % every === 0) major.push(v);
      else minor.push(v);
    }
  }
  return { major, minor };
}

const TOPS = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
const niceTop = v => {
  if (!(v > 0)) return 1;
  const p = 10 ** power10(v);
  return Number((TOPS.find(t => t * p >= v * 0.9999) * p).toPrecision(12));
};
const LOGS = [1, 2, 5, 10];
const logTop = v => {
  const p = 10 ** power10(v);
  return Number((LOGS.find(t => t * p >= v * 0.9999) * p).toPrecision(12));
};
const logBottom = v => {
  const p = 10 ** power10(v);
  return Number(([5, 2, 1].find(t => t * p <= v * 1.0001) * p).toPrecision(12));
};

// ---------------------------------------------------------------- zoom, shared by key

const frames = new Set();
const ranges = new Map();
const listeners = new Set();

export const zooms = {
  get: key => ranges.get(key) ?? null,
  all: () => Object.fromEntries(ranges),
  set(key, range) {
    const old = ranges.get(key) ?? null;
    if (old === range || (old && range && old[0] === range[0] && old[1] === range[1])) return;
    if (range) ranges.set(key, [range[0], range[1]]);
    else ranges.delete(key);
    for (const f of frames) if (f.zoomKey === key) f.redraw();
    for (const call of listeners) call(key, range);
  },
  load(all) {
    for (const key of [...ranges.keys()]) if (!(key in all)) zooms.set(key, null);
    for (const key in all) zooms.set(key, all[key]);
  },
  on(call) {
    listeners.add(call);
    return () => listeners.delete(call);
  },
};

// ---------------------------------------------------------------- the frame

let serial = 0;
let pen = null; // a canvas context that measures text
const widths = new Map();

export function frame(host, options = {}) {
  return new Frame(host, options);
}

class Frame {
  constructor(host, options) {
    this.host = host;
    this.options = options;
    this.serial = ++serial;
    this.model = null;
    this.width = this.height = 0;
    this.left = 0;      // the widest left margin so far: it does not shrink, so the plot does not shift
    this.held = { key: "", top: 0, bottom: 0 };
    this.at = null;     // index under the cursor
    this.reader = null; // {n, find(px, py), show(i), pick(i), and maybe start, first, last, rows, move(i, key, step), follow(i)}, of the plot's module, new at each draw
    this.scale = null;  // {x0, x1, lo, hi, full: [lo, hi], step} of the x axis, for zoom

    this.title = html("span", "plot-title");
    this.about = html("span", "plot-about", options.about ?? "");
    if (options.about) this.title.title = this.about.title = options.about; // in full where it is cut or not shown
    this.reset = html("button", "plot-button plot-reset");
    this.reset.type = "button";
    this.reset.textContent = "whole axis";
    this.reset.hidden = true;
    this.reset.addEventListener("click", () => { this.setZoom(null); this.area.focus({ preventScroll: true }); });
    this.tools = html("span", "plot-tools", this.reset);
    if (options.onMenu) {
      const menu = html("button", "plot-button plot-menu");
      menu.type = "button";
      menu.textContent = "⋯";
      menu.addEventListener("click", () => options.onMenu(this, menu));
      this.menu = menu;
      this.tools.append(menu);
    }
    this.head = html("figcaption", "plot-head", this.title, this.about, this.tools);

    this.svg = svg("svg", { role: "img", class: "plot-svg", focusable: "false" });
    this.defs = svg("defs");
    const hatch = svg("pattern", { id: `hatch-${this.serial}`, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    hatch.append(svg("rect", { width: 5, height: 5, class: "hatch-ground" }), svg("line", { x1: 0, y1: 0, x2: 0, y2: 5, class: "hatch-line" }));
    this.defs.append(hatch);
    this.svg.append(this.defs);
    this.layers = {};
    for (const name of ["back", "grid", "data", "axis", "marks", "cursor"]) {
      this.layers[name] = svg("g", { class: "l-" + name });
      this.svg.append(this.layers[name]);
    }
    this.readout = html("div", "plot-readout");
    this.readout.hidden = true;
    this.say = html("div", "plot-say");
    this.say.setAttribute("aria-live", "polite");
    this.area = html("div", "plot-area", this.svg, this.readout, this.say);
    this.area.tabIndex = 0;
    this.area.setAttribute("role", "application");
    this.area.setAttribute("aria-roledescription", "plot");
    if (typeof options.height === "number") this.area.style.height = options.height + "px";
    else if (options.height !== "fill") this.area.style.height = "220px";

    this.note = html("p", "plot-note");
    this.body = html("div", "plot-table");
    const summary = html("summary", "", "Numbers");
    this.details = html("details", "numbers", summary, this.body);
    this.details.addEventListener("toggle", () => this.fillTable());
    this.foot = html("div", "plot-foot", this.note, this.details);

    this.figure = html("figure", "plot", this.head, this.area, this.foot);
    this.figure.dataset.plot = options.id ?? "";
    this.figure.frame = this;
    host.append(this.figure);

    this.listen();
    this.watch = new ResizeObserver(() => {
      if (this.model && (this.area.clientWidth !== this.width || this.area.clientHeight !== this.height)) this.redraw();
    });
    this.watch.observe(this.area);
    frames.add(this);
  }

  destroy() {
    this.watch.disconnect();
    frames.delete(this);
    this.figure.remove();
  }

  get zoomKey() {
    return this.options.zoomKey ?? this.model?.x?.zoomKey ?? this.options.id ?? this.model?.id;
  }

  redraw() {
    if (this.model && this.painter) this.painter(this, this.model);
  }

  // ------------------------------------------------------------ drawing

  // begin takes the model, writes what is outside of the SVG, and returns whether there is room to draw.
  begin(model, painter, table) {
    this.model = model;
    this.painter = painter;
    this.makeTable = table;
    this.figure.model = model;
    set(this.figure, { "data-plot": this.options.id ?? model.id });
    const title = this.options.title ?? model.title ?? "";
    text(this.title, title);
    hide(this.title, title === "");
    hide(this.head, title === "" && !this.menu);
    text(this.note, model.note ?? "");
    set(this.note, { title: model.note || null }); // in full where it is cut
    this.note.classList.toggle("few", Boolean(model.few));
    this.figure.classList.toggle("empty", Boolean(model.empty));
    set(this.svg, { "aria-label": model.summary ?? title });
    const whole = (model.title || model.id) + (model.chamber ? ` of chamber ${model.chamber}` : "");
    const zoom = model.x?.zoom === false ? "" : ", plus and minus zoom";
    set(this.area, { "aria-label": `${whole}: arrow keys read out${zoom}` });
    if (this.menu) set(this.menu, { "aria-label": `Menu of ${whole}` });
    set(this.reset, { "aria-label": `whole axis of ${whole}` });
    if (this.details.open) this.fillTable();
    const w = this.area.clientWidth, h = this.area.clientHeight;
    if (w < 40 || h < 30) return false;
    if (w !== this.width || h !== this.height) {
      this.width = w;
      this.height = h;
      this.left = 0;
      set(this.svg, { width: w, height: h, viewBox: `0 0 ${w} ${h}` });
    }
    this.small = h < 175 || w < 400;
    this.figure.classList.toggle("small", this.small);
    this.px = this.small ? 10 : 11;
    return true;
  }

  // group is a <g> of a layer by name, made when first asked for.
  group(layer, name) {
    const key = layer + " " + name;
    this.groups ??= new Map();
    if (!this.groups.has(key)) {
      const g = svg("g", { class: name });
      this.layers[layer].append(g);
      this.groups.set(key, g);
    }
    return this.groups.get(key);
  }

  // one is the single node of a group of its own.
  one(layer, name, tag) {
    return pool(this.group(layer, name), tag, 1)[0];
  }

  measure(string, px = this.px) {
    const key = px + string;
    let w = widths.get(key);
    if (w === undefined) {
      pen ??= document.createElement("canvas").getContext("2d");
      this.family ??= getComputedStyle(this.figure).fontFamily || "sans-serif";
      pen.font = `${px}px ${this.family}`;
      w = pen.measureText(string).width;
      if (widths.size > 4000) widths.clear();
      widths.set(key, w);
    }
    return w;
  }

  // cut shortens a text to fit.
  cut(string, room) {
    if (this.measure(string) <= room) return string;
    let n = string.length;
    while (n > 0 && this.measure(string.slice(0, n) + "…") > room) n--;
    return n > 0 ? string.slice(0, n).trimEnd() + "…" : "";
  }

  // range is what is shown of the full x axis: the zoom, kept inside.
  range(lo, hi) {
    const zoom = zooms.get(this.zoomKey);
    let shown = [lo, hi];
    if (zoom) {
      const a = Math.max(lo, Math.min(zoom[0], hi)), b = Math.max(lo, Math.min(zoom[1], hi));
      if (b > a) shown = [a, b];
    }
    hide(this.reset, shown[0] === lo && shown[1] === hi);
    this.full = [lo, hi];
    return shown;
  }

  // yRange: the y axis of values up to max (log: from min > 0), with memory: it grows at once and shrinks when the values need
  // less than 60 % of it. key: whatever makes it another axis (scale, log, zoom).
  yRange(model, max, { min = 0, log = false, key = "", least = 0 } = {}) {
    const held = this.held;
    const forget = model.hold === false || held.key !== key;
    if (log) {
      const top = logTop(Math.max(max * 1.25, min * 10, 1e-12)), bottom = logBottom(min > 0 ? min * 0.6 : top / 1000);
      if (forget || top > held.top || top < held.top / 4) held.top = top;
      if (forget || bottom < held.bottom || bottom > held.bottom * 4) held.bottom = bottom;
      if (!(held.bottom < held.top)) held.bottom = held.top / 10;
    } else {
      const top = Math.max(niceTop(max * 1.05), least);
      if (forget || top > held.top || max * 1.05 < held.top * 0.6) held.top = top;
      held.bottom = 0;
    }
    held.key = key;
    return [held.bottom, held.top];
  }

  // axes draws both axes, the grid, labels, under- and overflow, the legend and the text of an empty plot. spec:
  //   x: {lo, hi, label, kind, ticks: [{at, text}] (else made), format}, y: {lo, hi, log, label, kind, format}
  //   under, over: counts or undefined; legend: [{name, c, kind}]; panel: {lo, hi, ticks, label} the ratio panel below;
  //   head: px kept free above; strong: [text, pale text, state, a shorter pale text for where there is no room] at the top left
  // It returns {x0, x1, y0 (top), y1 (bottom), x(v), y(v), panel: {y0, y1, y(v)}}.
  axes(spec) {
    const { x, y } = spec;
    const small = this.small, px = this.px;
    const W = this.width, H = this.height;
    const labelled = Boolean(x.label) || spec.under !== undefined;
    const top = (y.label || spec.legend?.length ? px + (small ? 8 : 11) : 6) + (spec.head ?? 0);
    const bottom = (x.bare ? 4 : px + 7) + (labelled ? px + (small ? 5 : 7) : 0);
    let y1 = H - bottom, y0 = top;
    let panel = null;
    if (spec.panel) {
      const h = Math.round(Math.max(30, Math.min(84, (y1 - y0) * 0.28)));
      panel = { y0: y1 - h, y1 };
      y1 -= h + 9;
    }
    // y ticks first: their width makes the left margin
    const yn = Math.max(2, Math.floor((y1 - y0) / (small ? 26 : 36)));
    let yTicks, minor = [];
    if (y.log) {
      const t = logTicks(y.lo, y.hi, Math.max(2, Math.floor((y1 - y0) / (px + 8))));
      minor = t.minor;
      yTicks = t.major.map(v => ({ at: v, text: y.format ? y.format(v) : logText(v) }));
    } else {
      let t = ticks(y.lo, y.hi, yn, y.kind);
      if (t.values.length < 3) t = ticks(y.lo, y.hi, yn * 2, y.kind);
      const largest = Math.max(Math.abs(y.lo), Math.abs(y.hi));
      yTicks = t.values.map(v => ({ at: v, text: y.format ? y.format(v, t.step) : tickText(v, t.step, largest) }));
    }
    let need = Math.max(small ? 24 : 34, ...yTicks.map(t => this.measure(t.text) + 9));
    if (panel) need = Math.max(need, this.measure("1.5") + 9);
    if (this.model.hold !== false) this.left = need = Math.max(this.left, Math.ceil(need));
    const x0 = Math.ceil(need) + 0.5, x1 = W - (small ? 8 : 10) - 0.5;
    y0 = Math.round(y0) + 0.5;
    y1 = Math.round(y1) + 0.5;

    const sx = (x1 - x0) / (x.hi - x.lo || 1);
    const X = v => x0 + (v - x.lo) * sx;
    let Y;
    if (y.log) {
      const a = Math.log(y.lo), s = (y1 - y0) / (Math.log(y.hi) - a);
      Y = v => (v > y.lo ? y1 - (Math.log(v) - a) * s : y1);
    } else {
      const s = (y1 - y0) / (y.hi - y.lo || 1);
      Y = v => y1 - (v - y.lo) * s;
    }
    const crisp = v => Math.round(v - 0.5) + 0.5;

    // grid and y axis
    const lines = [], dashes = [];
    for (const t of yTicks) if (Math.abs(Y(t.at) - y1) > 1) lines.push(`M${x0} ${crisp(Y(t.at))}H${x1}`);
    for (const v of minor) if (Y(v) < y1 - 1) dashes.push(`M${x0 - 3} ${crisp(Y(v))}H${x0}`);
    set(this.one("grid", "grid", "path"), { d: lines.join("") || "M0 0" });
    const labels = pool(this.group("axis", "y-ticks"), "text", yTicks.length);
    yTicks.forEach((t, i) => text(set(labels[i], { x: x0 - 6, y: round(Y(t.at) + px * 0.34), "text-anchor": "end" }), t.text));

    // x axis
    let xTicks = x.ticks;
    if (!xTicks) {
      const probe = tickText(x.hi, niceStep(x.hi - x.lo, 6, x.kind), Math.max(Math.abs(x.lo), Math.abs(x.hi)), 1e5);
      const room = Math.max(small ? 36 : 48, this.measure(x.format ? x.format(x.hi, niceStep(x.hi - x.lo, 6, x.kind)) : probe) + (small ? 12 : 18));
      const t = ticks(x.lo, x.hi, Math.floor((x1 - x0) / room), x.kind);
      const largest = Math.max(Math.abs(x.lo), Math.abs(x.hi));
      xTicks = t.values.map(v => ({ at: v, text: x.format ? x.format(v, t.step) : tickText(v, t.step, largest, 1e5) }));
    }
    const base = panel ? panel.y1 : y1;
    const stems = [`M${x0} ${y1}H${x1}`, `M${x0} ${y0}V${y1}`];
    if (!x.bare) for (const t of xTicks) {
      stems.push(`M${crisp(X(t.at))} ${y1}v4`);
      if (panel) stems.push(`M${crisp(X(t.at))} ${base + 0.5}v4`);
    }
    const xLabels = pool(this.group("axis", "x-ticks"), "text", x.bare ? 0 : xTicks.length);
    if (!x.bare) xTicks.forEach((t, i) => {
      const half = this.measure(t.text) / 2, at = X(t.at);
      const shift = at + half > W - 1 ? W - 1 - half : at - half < 1 ? 1 + half : at;
      text(set(xLabels[i], { x: round(shift), y: Math.round(base + px + 5), "text-anchor": "middle" }), t.text);
    });

    // the ratio panel
    const ratioLabels = this.group("axis", "panel-ticks");
    if (panel) {
      panel.y0 = Math.round(panel.y0) + 0.5;
      panel.y1 = Math.round(panel.y1) + 0.5;
      const p = spec.panel, s = (panel.y1 - panel.y0) / (p.hi - p.lo);
      panel.y = v => panel.y1 - (Math.max(p.lo, Math.min(p.hi, v)) - p.lo) * s;
      panel.lo = p.lo;
      panel.hi = p.hi;
      const inner = panel.y1 - panel.y0 > p.ticks.length * 14 ? p.ticks : [1];
      const nodes = pool(ratioLabels, "text", inner.length);
      inner.forEach((v, i) => text(set(nodes[i], { x: x0 - 6, y: round(panel.y(v) + px * 0.34), "text-anchor": "end" }), fixed(v, inner.every(Number.isInteger) ? 0 : 1)));
      stems.push(`M${x0} ${panel.y1}H${x1}`, `M${x0} ${panel.y0}V${panel.y1}`);
      set(this.one("grid", "unity", "path"), { d: `M${x0} ${crisp(panel.y(1))}H${x1}` });
      text(set(this.one("axis", "panel-label", "text"), { x: x0 + 4, y: round(panel.y0 + px - 2) }), p.label);
    } else {
      pool(ratioLabels, "text", 0);
      pool(this.group("grid", "unity"), "path", 0);
      pool(this.group("axis", "panel-label"), "text", 0);
    }
    set(this.one("axis", "axes", "path"), { d: stems.join("") + dashes.join("") });

    // labels
    const strong = pool(this.group("axis", "strong"), "text", spec.strong ? 2 : 0);
    let free = 2;
    if (spec.strong) {
      const [a, long, state, short = long] = spec.strong;
      text(set(strong[0], { x: 2, y: px + 1, class: "value " + (state || "") }), a);
      const gap = Math.ceil(this.measure(a, px + 2) * 1.06) + 10;
      const pale = gap + this.measure(long) + 16 + this.measure(y.label ?? "") < x1 ? long : this.cut(short, x1 - gap);
      text(set(strong[1], { x: gap, y: px + 1 }), pale);
      free = gap + this.measure(pale) + 16;
    }
    // the unit of y: above its axis, or right where something stands there
    const yLabel = this.one("axis", "y-label", "text");
    if (spec.strong) text(set(yLabel, { x: round(x1), y: px, "text-anchor": "end" }), !spec.legend?.length && free + this.measure(y.label ?? "") < x1 ? y.label ?? "" : "");
    else text(set(yLabel, { x: 2, y: px, "text-anchor": "start" }), y.label ?? "");
    const row = H - 4;
    const under = this.overflow("under", spec.under, small ? "◂ " : "under ", "", 1, row);
    const over = this.overflow("over", spec.over, small ? "" : "over ", small ? " ▸" : "", W - 1, row);
    let label = x.label ?? "";
    const room = W - 2 - 2 * Math.max(under, over, 0) - 12;
    if (this.measure(label) > room && x.short !== undefined) label = x.short;
    text(set(this.one("axis", "x-label", "text"), { x: round(Math.min((x0 + x1) / 2, W - 8)), y: row, "text-anchor": "middle" }), label);

    // legend, from the right
    const legend = spec.legend ?? [];
    const names = pool(this.group("axis", "legend-names"), "text", legend.length);
    const keys = pool(this.group("axis", "legend-keys"), "path", legend.length);
    let right = x1;
    for (let i = legend.length - 1; i >= 0; i--) {
      const item = legend[i];
      text(set(names[i], { x: round(right), y: px, "text-anchor": "end" }), item.name);
      right -= this.measure(item.name) + 5;
      set(keys[i], { d: `M${round(right - 14)} ${px - 3.5}H${round(right)}`, class: `key ${item.c ?? ""} ${item.kind ?? ""}` });
      right -= 14 + 12;
    }

    // an empty plot says so
    text(set(this.one("marks", "empty-text", "text"), { x: round((x0 + x1) / 2), y: round((y0 + y1) / 2), "text-anchor": "middle" }), this.model.empty || "");

    this.scale = { x0, x1, y0, y1: base, lo: x.lo, hi: x.hi, step: this.model.x?.step ?? 0 };
    return { x0, x1, y0, y1, x: X, y: Y, panel, crisp };
  }

  // overflow draws a number at an end of the axis, in a small box when it is not 0, and returns its width.
  overflow(name, count, before, after, at, row) {
    const g = this.group("axis", name);
    if (count === undefined || count === null) {
      pool(g, "text", 0);
      return 0;
    }
    if (!g.firstChild) {
      g.append(svg("rect", { rx: 2 }), svg("text"), svg("title"));
      g.lastChild.textContent = name === "under" ? "underflow: below the axis" : "overflow: above the axis";
    } else if (g.childNodes.length < 3) {
      g.replaceChildren(svg("rect", { rx: 2 }), svg("text"), svg("title"));
    }
    const label = before + (count < 1e5 ? fixed(count, 0) : shortCount(count)) + after;
    const w = Math.ceil(this.measure(label)) + 8;
    const left = name === "under" ? at : at - w;
    set(g, { class: name + (count > 0 ? " some" : "") });
    set(g.childNodes[0], { x: Math.round(left) + 0.5, y: row - this.px + 0.5, width: w - 1, height: this.px + 3 });
    text(set(g.childNodes[1], { x: round(left + w / 2), y: row, "text-anchor": "middle" }), label);
    return w;
  }

  // end shows the cursor again, where it was, with the new numbers.
  end(reader) {
    this.reader = reader;
    if (this.at !== null) {
      if (!reader || this.at >= reader.n) this.hide();
      else this.show(this.at, false);
    }
  }

  // ------------------------------------------------------------ the numbers

  tableOf() {
    return this.makeTable ? this.makeTable(this.model) : null;
  }

  fillTable() {
    if (!this.details.open || !this.model || !this.makeTable) return;
    const t = this.makeTable(this.model);
    let node = this.body.firstChild;
    if (!node) {
      node = html("table", "", html("caption"), html("thead", "", html("tr")), html("tbody"));
      this.body.append(node);
      this.body.tabIndex = 0;
      this.body.setAttribute("role", "group");
    }
    set(this.body, { "aria-label": t.caption });
    text(node.caption, t.caption);
    cells(node.tHead.rows[0], t.head, "th");
    for (const th of node.tHead.rows[0].cells) set(th, { scope: "col" });
    const body = node.tBodies[0];
    while (body.rows.length > t.rows.length) body.lastChild.remove();
    while (body.rows.length < t.rows.length) body.append(document.createElement("tr"));
    t.rows.forEach((row, i) => cells(body.rows[i], row, "td"));
  }

  // ------------------------------------------------------------ cursor

  show(i, aloud) {
    const r = this.reader;
    if (!r || i === null || i < 0 || i >= r.n) return this.hide();
    const s = r.show(i);
    if (!s) return this.hide();
    this.at = i;
    const g = this.group("cursor", "here");
    if (!g.firstChild) g.append(svg("rect"), svg("path"));
    if (s.rect) {
      set(g.childNodes[0], { x: round(s.rect[0]), y: round(s.rect[1]), width: round(Math.max(1, s.rect[2])), height: round(Math.max(1, s.rect[3])), class: s.outline ? "outline" : "band", visibility: null });
    } else set(g.childNodes[0], { visibility: "hidden" });
    set(g.childNodes[1], { d: s.path ?? "M0 0" });
    const box = this.readout;
    while (box.childNodes.length > s.lines.length) box.lastChild.remove();
    while (box.childNodes.length < s.lines.length) box.append(html("div"));
    s.lines.forEach((line, k) => text(box.childNodes[k], line));
    box.hidden = false;
    const w = box.offsetWidth, h = box.offsetHeight, gap = 10;
    let left = s.x + gap;
    if (left + w > this.width - 2) left = s.x - gap - w;
    left = Math.max(2, Math.min(left, this.width - w - 2));
    let topAt = s.y === undefined ? 4 : s.y - h - gap;
    if (topAt < 2) topAt = s.below !== undefined ? s.below + gap : 2;
    box.style.transform = `translate(${Math.round(left)}px, ${Math.round(topAt)}px)`;
    if (aloud) text(this.say, s.lines.join(", "));
  }

  hide() {
    this.at = null;
    this.readout.hidden = true;
    const g = this.group("cursor", "here");
    if (g.firstChild) {
      set(g.childNodes[0], { visibility: "hidden" });
      set(g.childNodes[1], { d: "M0 0" });
    }
  }

  pick(i) {
    if (!this.options.onPick || !this.reader?.pick || i === null || i < 0) return;
    const what = this.reader.pick(i);
    if (what !== undefined && what !== null) this.options.onPick(what);
  }

  // ------------------------------------------------------------ zoom

  get zoomable() {
    return Boolean(this.scale) && this.model?.x?.zoom !== false;
  }

  setZoom(range) {
    if (!this.zoomable) return;
    if (range) {
      const [lo, hi] = this.full;
      const least = Math.min(hi - lo, (this.scale.step || (hi - lo) / 1e6) * 2);
      let [a, b] = range[0] < range[1] ? range : [range[1], range[0]];
      if (b - a < least) {
        const middle = (a + b) / 2;
        [a, b] = [middle - least / 2, middle + least / 2];
      }
      if (a < lo) [a, b] = [lo, Math.min(hi, b + lo - a)];
      if (b > hi) [a, b] = [Math.max(lo, a - (b - hi)), hi];
      range = a <= lo && b >= hi ? null : [tidy(a, b - a), tidy(b, b - a)];
    }
    const key = this.zoomKey;
    zooms.set(key, range);
    this.options.onZoom?.(key, range);
  }

  // zoomBy: factor < 1 zooms in; about: px.
  zoomBy(factor, about) {
    if (!this.zoomable) return;
    const { x0, x1, lo, hi } = this.scale;
    const share = about === undefined ? 0.5 : Math.max(0, Math.min(1, (about - x0) / (x1 - x0)));
    const middle = lo + (hi - lo) * share, length = (hi - lo) * factor;
    this.setZoom([middle - length * share, middle + length * (1 - share)]);
  }

  panBy(share) {
    if (!this.zoomable) return;
    const { lo, hi } = this.scale;
    const [a, b] = this.full;
    let d = (hi - lo) * share;
    d = Math.max(a - lo, Math.min(b - hi, d));
    if (d) this.setZoom([lo + d, hi + d]);
  }

  valueAt(px) {
    const { x0, x1, lo, hi } = this.scale;
    return lo + (hi - lo) * Math.max(0, Math.min(1, (px - x0) / (x1 - x0)));
  }

  // ------------------------------------------------------------ events

  listen() {
    const area = this.area;
    let drag = null; // {from, pointer, moved, shown}
    const place = e => {
      const r = this.svg.getBoundingClientRect();
      return [e.clientX - r.left, e.clientY - r.top];
    };
    const select = (a, b) => {
      const { x0, x1, y0, y1 } = this.scale;
      const from = Math.max(x0, Math.min(a, b)), to = Math.min(x1, Math.max(a, b));
      set(this.one("cursor", "selection", "rect"), { x: round(from), y: y0, width: round(Math.max(0, to - from)), height: y1 - y0, visibility: null });
    };
    const unselect = () => set(this.one("cursor", "selection", "rect"), { visibility: "hidden" });

    area.addEventListener("pointerdown", e => {
      if (e.button !== 0 || !this.reader) return;
      const [x, y] = place(e);
      drag = { from: x, pointer: e.pointerId, moved: false, touch: e.pointerType === "touch", shown: this.at };
      if (drag.touch) this.show(this.reader.find(x, y), false);
      else area.setPointerCapture(e.pointerId);
    });
    area.addEventListener("pointermove", e => {
      if (!this.reader) return;
      const [x, y] = place(e);
      if (drag && e.pointerId === drag.pointer && !drag.touch) {
        if (Math.abs(x - drag.from) > 4 && this.zoomable) drag.moved = true;
        if (drag.moved) {
          select(drag.from, x);
          return;
        }
      }
      const i = this.reader.find(x, y);
      if (i === null || i < 0) this.hide();
      else if (i !== this.at) this.show(i, false);
    });
    area.addEventListener("pointerup", e => {
      if (!drag || e.pointerId !== drag.pointer) return;
      const d = drag, [x, y] = place(e);
      drag = null;
      if (d.moved) {
        unselect();
        // to whole bins, where they can be seen
        const step = this.scale.step, bin = v => (step > 0 && step * 200 > this.scale.hi - this.scale.lo ? this.full[0] + Math.round((v - this.full[0]) / step) * step : v);
        this.setZoom([bin(this.valueAt(Math.min(d.from, x))), bin(this.valueAt(Math.max(d.from, x)))]);
        return;
      }
      const i = this.reader ? this.reader.find(x, y) : null;
      if (!d.touch || i === d.shown) this.pick(i);
    });
    area.addEventListener("pointercancel", () => { drag = null; unselect(); });
    area.addEventListener("pointerleave", e => { if (!drag && e.pointerType !== "touch") this.hide(); });
    area.addEventListener("blur", () => this.hide());
    area.addEventListener("dblclick", e => {
      if (!this.zoomable || this.options.onPick) return;
      if (zooms.get(this.zoomKey)) this.setZoom(null);
      else this.zoomBy(0.25, place(e)[0]);
    });
    area.addEventListener("wheel", e => {
      if (!this.zoomable || !(e.ctrlKey || e.metaKey || e.shiftKey)) return;
      if (e.shiftKey && !this.reset.hidden) {
        e.preventDefault();
        this.panBy((e.deltaX || e.deltaY) / 1000);
      } else if (!e.shiftKey) {
        e.preventDefault();
        this.zoomBy(Math.exp(Math.max(-1, Math.min(1, e.deltaY / 300))), place(e)[0]);
      }
    }, { passive: false });
    area.addEventListener("keydown", e => this.key(e));
  }

  key(e) {
    if (e.altKey || e.metaKey || (e.ctrlKey && !["+", "-", "="].includes(e.key))) return;
    if (e.ctrlKey) return; // the browser's own zoom
    const r = this.reader;
    let used = true;
    const step = e.shiftKey ? 10 : 1;
    switch (e.key) {
      case "ArrowLeft":
      case "ArrowRight":
      case "ArrowUp":
      case "ArrowDown":
      case "Home":
      case "End": {
        if (!r || !r.n) break;
        const vertical = e.key === "ArrowUp" || e.key === "ArrowDown";
        if (vertical && !r.rows) { used = false; break; }
        let i = this.at;
        if (e.key === "Home") i = r.first ?? 0;
        else if (e.key === "End") i = r.last ?? r.n - 1;
        else if (i === null) i = r.start ?? r.first ?? 0;
        else if (r.move) i = r.move(i, e.key, step);
        else i = Math.max(0, Math.min(r.n - 1, i + (e.key === "ArrowLeft" ? -step : step)));
        if (r.follow) r.follow(i); // brings it into the zoom
        this.show(i, true);
        break;
      }
      case "+":
      case "=":
        this.zoomBy(0.5, this.cursorX());
        break;
      case "-":
      case "_":
        this.zoomBy(2, this.cursorX());
        break;
      case "0":
        this.setZoom(null);
        break;
      case "Enter":
        if (this.at === null || !this.options.onPick) used = false;
        else this.pick(this.at);
        break;
      case "Escape":
        if (this.at === null) used = false;
        else this.hide();
        break;
      default:
        used = false;
    }
    if (used) {
      e.preventDefault();
      e.stopPropagation();
    }
  }

  cursorX() {
    if (this.at === null || !this.reader) return undefined;
    return this.reader.show(this.at)?.x;
  }
}

// tidy cuts a number to what can be seen of it in an axis of that length: zooms stand in the URL.
const tidy = (v, length) => {
  const unit = 10 ** Math.floor(Math.log10(length / 2000));
  return Number((Math.round(v / unit) * unit).toPrecision(12));
};
export const round = v => Math.round(v * 10) / 10;
const shortCount = v => tickText(Number(v.toPrecision(3)), 10 ** (power10(v) - 2), v);
const logText = v => (v >= 1e4 || v === 0 ? tickText(v, v, v) : v >= 1 ? fixed(v, 0) : v >= 1e-4 ? String(Number(v.toPrecision(1))) : v.toExponential(0).replace("-", "\u2212"));

function cells(row, values, tag) {
  while (row.cells.length > values.length) row.lastChild.remove();
  while (row.cells.length < values.length) row.append(document.createElement(tag));
  values.forEach((v, i) => text(row.cells[i], v === null || v === undefined ? "" : String(v)));
}
