// Keyboard and buttons: each action once, the keys that call it, and the help that lists them.
//
//   act(name, button)   does an action;   build()   listens to keys and fills the help

import { data } from "./data.js";
import { view, set } from "./view.js";
import { el } from "./dom.js";
import { goTo } from "./timeline.js";
import { closeMenu, openExport } from "./menu.js";
import { clear } from "./reference.js";
import { openReference } from "./referencedialog.js";

const help = document.getElementById("help");
const SPANS = ["auto", "window", "recent", "run", "reset"];
const SCALES = ["counts", "rate", "area"];
const next = (list, now) => list[(list.indexOf(now) + 1) % list.length];
const dark = () => (view.theme ? view.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);

const ACTIONS = {
  pause: () => goTo(view.at ? 0 : data.newest),
  live: () => goTo(0),
  reset: () => set({ reset: data.at, span: "reset" }),
  span: () => (next(SPANS, view.span) === "reset" && !view.reset ? set({ reset: data.at, span: "reset" }) : set({ span: next(SPANS, view.span) })),
  scale: () => set({ scale: next(SCALES, view.scale) }),
  normalise: () => set({ scale: view.scale === "area" ? "counts" : "area" }),
  log: () => set({ log: !view.log }),
  theme: () => set({ theme: dark() ? "light" : "dark" }),
  help: () => (help.open ? help.close() : help.showModal()),
  reference: openReference,
  "no-reference": clear,
  export: button => openExport(button ?? document.querySelector("[data-action=export]")),
  skip: () => document.getElementById("main").focus(),
  back: () => goTo(data.neighbour(data.at, -1)),
  forth: () => goTo(data.neighbour(data.at, 1)),
  back10: () => goTo(data.neighbour(data.at, -10)),
  forth10: () => goTo(data.neighbour(data.at, 10)),
  escape() {
    if (closeMenu()) return;
    if (view.wire) set({ wire: "" });
    else if (view.at) goTo(0);
  },
};

export function act(name, button) {
  ACTIONS[name]?.(button);
}

const KEYS = [
  ["?", "help", "This help"],
  ["g", "glance", "At a glance"],
  ["1 – 9", null, "The tabs, in their order"],
  ["←  →", "back", "Look a window back or forth (with shift: ten)"],
  ["space", "pause", "Pause, and go on"],
  ["l  Esc", "live", "Back to live (Esc first closes what is open)"],
  ["s", "span", "Span: auto, this window, last minutes, whole run, since reset"],
  ["r", "reset", "Reset: begin “since reset” now"],
  ["c", "scale", "Counts, rates, normalised"],
  ["n", "normalise", "Normalised to area, and back"],
  ["y", "log", "Logarithmic y axis"],
  ["f", "reference", "Reference to compare with"],
  ["e", "export", "Export: PNG, CSV, JSON, link"],
  ["t", "theme", "Light or dark"],
];
const PLOT_KEYS = [
  ["Tab", "To the next plot or control"],
  ["←  →", "Read out bin by bin (with shift: ten; Home, End)"],
  ["+  −  0", "Zoom in, out, the whole axis. With the mouse: drag, or double click"],
  ["Enter", "Choose: a wire opens its panel, a point in time is looked at"],
];
const DIRECT = { "?": "help", " ": "pause", l: "live", s: "span", r: "reset", c: "scale", n: "normalise", y: "log", f: "reference", e: "export", t: "theme", Escape: "escape" };

export function build() {
  const table = (caption, rows) => el("table", {}, el("caption", {}, caption), el("tbody", {}, ...rows.map(([keys, words]) => el("tr", {},
    el("th", { scope: "row" }, ...keys.split("  ").flatMap((k, i) => [i ? " " : "", el("kbd", {}, k)])), el("td", {}, words)))));
  help.append(el("div", { class: "dialog-head" }, el("h2", { id: "help-title" }, "Help"), el("button", { type: "button", on: { click: () => help.close() } }, "Close")),
    el("div", { class: "columns" }, table("Keys", KEYS.map(([k, , words]) => [k, words])), el("div", {}, table("Keys in a plot", PLOT_KEYS),
      el("p", {}, "Rates and occupancy show this window; shapes that need triggers show the last minutes. The span switch overrides all of them. Each plot says its span and how many triggers or hits it holds; below each, “Numbers” has its table."),
      el("p", {}, "The address holds the whole view: whoever opens it sees the same picture. ", el("a", { href: "/api" }, "All numbers are also at /api"), "."))));
  help.addEventListener("click", e => { if (e.target === help) help.close(); });

  document.addEventListener("keydown", e => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) {
      if (e.key === "?" && help.open) help.close();
      return;
    }
    const at = e.target, tag = at.tagName;
    const field = tag === "SELECT" || tag === "TEXTAREA" || (tag === "INPUT" && at.type !== "range" && at.type !== "checkbox");
    if (field && e.key !== "Escape") return;
    let action = DIRECT[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (e.key === " " && (tag === "BUTTON" || tag === "SUMMARY" || (tag === "INPUT" && at.type === "checkbox"))) return; // theirs
    if (e.key === "ArrowLeft") action = e.shiftKey ? "back10" : "back";
    if (e.key === "ArrowRight") action = e.shiftKey ? "forth10" : "forth";
    if (e.key === "g") set({ tab: "glance" });
    else if (/^[1-9]$/.test(e.key)) {
      const tab = document.querySelectorAll("#tabs a")[Number(e.key) - 1];
      if (tab) set({ tab: tab.dataset.tab });
    } else if (action) act(action);
    else return;
    e.preventDefault();
  });
}
