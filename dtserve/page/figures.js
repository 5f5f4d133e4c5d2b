// The plots of a tab: which module draws what, for which span by default, and what stands below it.
//
//   const figures = new Figures();
//   figures.add(host, "hist_4", {chamber: 1, height: 240})    kinds: below; more options go to the plot's series()
//   figures.draw()                                            all of them, from data and view
//   figures.list                                              [{kind, where, frame, host}]
//
// spanWords(kind) says the span of a kind in words, for the note of its plot.

import { frame, zooms } from "./plots/frame.js";
import * as steps from "./plots/steps.js";
import * as trend from "./plots/trend.js";
import * as wiremap from "./plots/wiremap.js";
import * as box from "./plots/box.js";
import * as efficiency from "./plots/efficiency.js";
import { chi2, ks } from "./stats.js";
import { data } from "./data.js";
import { view, set, on } from "./view.js";
import { reference } from "./reference.js";
import { el, text } from "./dom.js";
import { duration, fixed, sig } from "./format.js";
import { openMenu } from "./menu.js";
import { goTo } from "./timeline.js";

// span: what "auto" means. Rates need a window; shapes that only triggers fill need minutes (about 1.5 triggers a second).
// about: what the plot shows, for who sees it for the first time.
const KINDS = {
  occupancy: { module: steps, span: "window", about: "Hits of each channel. × dead, ▾ low, ▴ hot: against its layer’s median, over the last minutes" },
  hist_1: { module: steps, span: "window", about: "All hits, by channel in steps of 5" },
  hist_2: { module: steps, span: "recent", about: "Different channels hit in each orbit, added up over time" },
  multiplicity: { module: steps, span: "window", about: "How many channels an orbit hits; a track through all layers hits 4" },
  hist_3: { module: steps, span: "recent", about: "Only hits in an orbit with a scintillator hit: mostly muons" },
  hist_4: { module: steps, span: "recent", about: "Time from the trigger to the hit: a healthy chamber fills a box" },
  drift_layer: { module: steps, span: "recent", about: "The same by layer: all four should look alike" },
  trigger_multiplicity: { module: steps, span: "recent", about: "Wires that a trigger hits; a track through all layers hits 4" },
  efficiency: { module: efficiency, span: "recent", about: "How often the layer has a hit where the three others have one" },
  wiremap: { module: wiremap, span: "window", about: "Rate of each wire, where it is in the chamber. × dead, ▾ low, ▴ hot; a click tells more" },
  box: { module: box, span: "recent", about: "Time from the trigger to the hit: a healthy chamber fills a box as wide as the longest drift; the lines are its fitted edges" },
  bx: { module: steps, span: "recent", about: "When in the orbit (3564 steps of 25 ns) hits come: should be flat" },
  tdc: { module: steps, span: "recent", about: "When within 25 ns (30 steps) hits come: should be flat, but for the ends" },
  other: { module: steps, span: "window" },
  rate: { module: trend, rows: true },
  rates: { module: trend, rows: true, about: "Hits a second, window by window" },
  triggers: { module: trend, rows: true, about: "Orbits a second with a scintillator hit" },
};

export const spanOf = kind => (view.span === "auto" ? KINDS[kind]?.span ?? kind : view.span);

// spanWords: a kind of plot, or a span itself.
export function spanWords(kind) {
  switch (KINDS[kind] ? spanOf(kind) : kind) {
    case "window": return view.at ? "one window" : "this window";
    case "recent": return `last ${duration(data.recentSeconds)}`;
    case "run": return "whole run";
    default: return "since reset";
  }
}

export class Figures {
  constructor() {
    this.list = [];
  }

  add(host, kind, { height, title, menu = true, onPick, ...options }) {
    const id = options.fpga !== undefined ? `${kind}:${options.fpga}` : options.path !== undefined ? `${kind}:${options.path}`
      : options.chamber !== undefined ? `${kind}:${options.chamber}` : `trend:${kind}`;
    const f = frame(host, {
      id, height, title, about: KINDS[kind].about, onPick: onPick ?? (KINDS[kind].rows ? goTo : pickWire),
      onMenu: menu ? (plot, button) => openMenu(button, plot) : undefined,
    });
    const compared = el("p", { class: "compared", hidden: true, title: "Against the reference: χ² of the two histograms, bins merged to 5 expected counts; Kolmogorov–Smirnov distance, whose p is approximate for binned data" });
    f.figure.append(compared);
    this.list.push({ kind, options, title, frame: f, compared });
    return f;
  }

  destroy() {
    for (const item of this.list) item.frame.destroy();
  }

  draw() {
    for (const item of this.list) {
      if (item.frame.figure.offsetParent === null) continue; // not shown
      if (KINDS[item.kind].rows) drawTrend(item);
      else drawView(item);
    }
  }
}

function drawTrend({ kind, options, title, frame: f }) {
  const picked = data.get(view.span === "auto" ? "recent" : view.span)?.Span;
  trend.draw(f, trend.series(kind === "rate" ? data.recentTrend() : data.shownTrend(), {
    ...options, quantity: kind, title, log: view.log && kind !== "rate", alarms: data.state.Alarms.filter(a => !a.Cleared),
    cursor: view.at || undefined, picked: picked && (view.span === "reset" || view.at) ? [picked.From, picked.To] : undefined,
  }));
}

function drawView({ kind, options, title, frame: f, compared }) {
  const { module } = KINDS[kind];
  let v = data.get(spanOf(kind));
  if (!v) return;
  if (kind === "wiremap" || kind === "occupancy") v = judged(v);
  const ref = reference.view;
  const model = module.series(v, {
    ...options, quantity: kind, title, log: view.log, scale: kind === "wiremap" && view.scale === "counts" ? "rate" : view.scale, // the map is in Hz
    reference: ref, ratio: Boolean(ref) && kind !== "box", span: spanWords(kind),
  });
  module.draw(f, model);
  text(compared, ref && !options.plain ? comparison(model) : "");
  compared.hidden = compared.textContent === "";
}

// judged gives a view the verdicts on its wires of the last minutes: a single window has too few hits for one.
const judgedViews = new WeakMap();
function judged(v) {
  const recent = data.get("recent");
  if (!recent) return v;
  let known = judgedViews.get(v);
  if (known?.by !== recent) {
    known = { by: recent, view: { ...v, Chambers: v.Chambers.map((c, i) => ({ ...c, Wires: recent.Chambers[i]?.Wires })) } };
    judgedViews.set(v, known);
  }
  return known.view;
}

// comparison is the line below a plot that has a reference.
function comparison(model) {
  const a = model.sets.find(s => s.role === "data"), b = model.sets.find(s => s.role === "reference");
  if (!a || !b || !Array.isArray(a.counts) || model.layers) return "";
  const c = chi2(a.counts, b.counts), k = ks(a.counts, b.counts);
  if (!c.ndf) return "too few counts to compare with the reference";
  return `χ² ${fixed(c.chi2, 1)} / ${c.ndf}, p ${p(c.p, "")} · KS ${sig(k.d, 2)}, p ${p(k.p, "≈ ")} approx.`;
}

const p = (v, sign) => (v < 1e-4 ? "< 0.0001" : sign + sig(v, 2));

const pickWire = what => {
  if (what.channel !== undefined) set({ wire: `${what.chamber}:${what.channel}` });
};

// Zooms are part of the view.
zooms.on(() => set({ zoom: zooms.all() }));
on(changed => { if (changed.includes("zoom")) zooms.load(view.zoom); });
