// The state of the view ↔ the URL's hash. Whatever changes what is seen is in here, so a link shows the same picture.
//
//   view.tab      "glance", "chamber-1" …, "electronics", "ledger", "alarms", "source", "other"
//   view.span     "auto" | "window" | "recent" | "run" | "reset"
//   view.recent   seconds of "recent"; 0: as the server has it
//   view.at       id of the window that is looked at; 0: live. A paused view is one that looks at a window.
//   view.held     id of the newest window when the view was paused: what came later is not shown
//   view.run      name of the run that window is of, so that a link to another server's window is noticed
//   view.reset    id of the newest window when the viewer reset; 0: never
//   view.scale    "counts" | "rate" | "area"; view.log: logarithmic y
//   view.zoom     {key: [lo, hi]}
//   view.ref      digest of the reference; "": none
//   view.theme    "" (as the system) | "light" | "dark"
//   view.wire     "CHAMBER:CHANNEL" of the wire panel; "": closed
//
//   set({…})      changes some of it and writes the hash;   on(call) → call(changed keys) after each change
//   link({…})     the address of this view, with some of it changed

const DEFAULTS = { tab: "glance", span: "auto", recent: 0, at: 0, held: 0, run: "", reset: 0, scale: "counts", log: false, zoom: {}, ref: "", theme: "", wire: "" };
const SPANS = ["auto", "window", "recent", "run", "reset"];
const SCALES = ["counts", "rate", "area"];
const REMEMBERED = { reset: "dtserve.reset", theme: "dtserve.theme", recent: "dtserve.recent" }; // the viewer's own, also without a link

export const view = { ...DEFAULTS };
const listeners = new Set();

export const on = call => listeners.add(call);

export function set(patch) {
  const changed = Object.keys(patch).filter(key => !same(view[key], patch[key]));
  if (!changed.length) return;
  for (const key of changed) {
    view[key] = patch[key];
    if (REMEMBERED[key]) remember(REMEMBERED[key], patch[key]);
  }
  history.replaceState(null, "", hash(view) || location.pathname + location.search);
  for (const call of listeners) call(changed);
}

export const link = (patch = {}) => location.origin + location.pathname + hash({ ...view, ...patch });
export const hashFor = patch => hash({ ...view, ...patch }) || "#";

// start reads the hash, and again whenever it is changed by hand or by a link.
export function start() {
  for (const key in REMEMBERED) {
    const value = recall(REMEMBERED[key]);
    if (value !== null) view[key] = key === "theme" ? String(value) : Number(value) || 0;
  }
  Object.assign(view, parse(location.hash, { ...view }));
  addEventListener("hashchange", () => {
    const next = { ...DEFAULTS, theme: view.theme, ...parse(location.hash, view) };
    const changed = Object.keys(DEFAULTS).filter(key => !same(view[key], next[key]));
    Object.assign(view, next);
    for (const call of listeners) call(changed);
  });
}

function hash(v) {
  const out = [];
  const add = (key, value) => out.push(key + "=" + encodeURIComponent(value).replaceAll("%3A", ":").replaceAll("%2C", ","));
  if (v.tab !== DEFAULTS.tab) add("tab", v.tab);
  for (const key of ["span", "scale", "theme", "ref", "wire"]) if (v[key] !== DEFAULTS[key]) add(key, v[key]);
  for (const key of ["recent", "at", "reset"]) if (v[key]) add(key, v[key]);
  if (v.at && v.held) add("held", v.held);
  if (v.at && v.run) add("run", v.run);
  if (v.log) add("log", 1);
  const zooms = Object.entries(v.zoom).map(([key, [lo, hi]]) => `${encodeURIComponent(key)}~${round(lo)}~${round(hi)}`);
  if (zooms.length) add("zoom", zooms.sort().join(","));
  return out.length ? "#" + out.join("&") : "";
}

function parse(string, remembered) {
  const q = new URLSearchParams(string.replace(/^#/, ""));
  const whole = key => {
    const n = Number(q.get(key));
    return Number.isSafeInteger(n) && n > 0 ? n : 0;
  };
  const v = {};
  if (/^(glance|chamber-\d+|electronics|ledger|alarms|source|other)$/.test(q.get("tab") ?? "")) v.tab = q.get("tab");
  if (SPANS.includes(q.get("span"))) v.span = q.get("span");
  if (SCALES.includes(q.get("scale"))) v.scale = q.get("scale");
  if (["light", "dark"].includes(q.get("theme"))) v.theme = q.get("theme");
  if (/^[0-9a-f]{16}$/.test(q.get("ref") ?? "")) v.ref = q.get("ref");
  if (/^\d+:\d+$/.test(q.get("wire") ?? "")) v.wire = q.get("wire");
  v.at = whole("at");
  v.held = whole("held");
  v.run = q.get("run") ?? "";
  v.recent = whole("recent") || (string ? 0 : remembered.recent); // a link says all of what is seen
  v.reset = whole("reset") || remembered.reset;
  v.log = q.get("log") === "1";
  v.zoom = {};
  for (const part of (q.get("zoom") ?? "").split(",")) {
    const [key, lo, hi] = part.split("~");
    const name = plain(key);
    if (name && Number(hi) > Number(lo)) v.zoom[name] = [Number(lo), Number(hi)];
  }
  return v;
}

// plain undoes encodeURIComponent; "" for what it did not make.
function plain(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

const round = v => Number(v.toPrecision(10));
const same = (a, b) => (typeof a === "object" ? JSON.stringify(a) === JSON.stringify(b) : a === b);

// What the browser remembers of the viewer. A browser that forbids it forgets.
export function remember(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch { /* private mode */ }
}
export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}
