// Step histograms: every histogram of a chamber or an FPGA, with under- and overflow, reference overlay and ratio.
//
//   series(view, o) → model. view: expanded View. o:
//     quantity   "occupancy", "hist_1", "hist_2", "hist_3", "hist_4", "multiplicity", "drift_layer", "trigger_multiplicity",
//                "bx", "tdc", "other"
//     chamber    1 …; fpga: 0 … for bx and tdc; path: for other (or index in view.Other)
//     scale      "counts" (default), "rate" (Hz, by the span's live time), "area" (shares; all sets have area 1)
//     log        logarithmic y
//     reference  expanded View or null; ratio: true draws data / reference below, with errors
//     span       words for the span in the note ("this window", "last 10 min"); default: its length
//     title, hold (false: no memory of the y axis), config (default view.Config)
//   model: edges, sets [{name, role: "data" | "layer" | "reference", c, edges, counts, values, errors, under, over, total,
//     factor}], ratio {values, errors} where asked for, grey [[lo, hi], …], marks [{x, kind, text}], and what frame.js lists.
//   draw(frame, model); table(model)
//   onPick(what): {chamber, channel} (occupancy), else {edges: [lo, hi], counts}
//
// More bins than pixels are drawn added up in groups (the y label says so); model and table keep all of them.

import { set, pool, text, round } from "./frame.js";
import { without } from "../say.js";
import { int, fixed, sig, short, pm, hz, count as countText, plural, duration, percent, ORBIT } from "../format.js";

// ---------------------------------------------------------------- what there is to draw

const KINDS = {
  occupancy: { title: "Occupancy by channel", of: "Occupancy", channels: true, what: "hits" },
  hist_1: { title: "Hist_1 · hits by TDC_CHANNEL", of: "Hist_1", binned: true, what: "hits" },
  hist_2: { title: "Hist_2 · active channels by orbit", of: "Hist_2", what: "active channels" },
  hist_3: { title: "Hist_3 · muon radiography", of: "Hist_3", binned: true, what: "hits", triggers: true },
  hist_4: { title: "Hist_4 · drift time", of: "Hist_4", what: "hits", triggers: true, drift: true },
  drift_layer: { title: "Drift time by layer", of: "Drift_Layer", what: "hits", triggers: true, drift: true },
  multiplicity: { title: "Multiplicity", of: "Multiplicity", what: "orbits", whole: "active channels of the chamber in an orbit" },
  trigger_multiplicity: { title: "Trigger multiplicity", of: "Trigger_Multiplicity", what: "triggers", triggers: true, whole: "wires with 0 ≤ drift < 500 ns" },
};

export function series(view, o = {}) {
  const config = o.config ?? view.Config;
  const q = o.quantity;
  if (q === "bx" || q === "tdc") return electronics(view, o, config);
  if (q === "other") return other(view, o);
  const kind = KINDS[q];
  if (!kind) throw new Error(`no such quantity: ${q}`);
  const n = o.chamber;
  const c = view.Chambers?.[n - 1];
  const where = config?.Map?.Chambers?.[n - 1];
  const color = "c" + ((n - 1) % 4 + 1);
  const model = {
    id: `${q}:${n}`, title: o.title ?? kind.title, chamber: n, quantity: q, what: kind.what,
    x: { label: "", unit: "", zoomKey: "" }, y: { log: Boolean(o.log) }, scale: o.scale ?? "counts",
    sets: [], marks: [], grey: [], note: "", empty: "", hold: o.hold,
  };
  const ref = o.reference?.Chambers?.[n - 1];
  if (!c || c[kind.of] === undefined) {
    model.edges = [0, 1];
    model.x = { label: "", lo: 0, hi: 1, zoom: false };
    model.empty = "not in these result lines";
    return finish(model, view, o, kind, c);
  }

  if (kind.channels) {
    const first = where?.First ?? 0, last = where?.Last ?? first + 63;
    const pick = list => Array.from({ length: last - first + 1 }, (_, i) => list[(first + i) % 64] ?? 0);
    model.edges = Array.from({ length: last - first + 2 }, (_, i) => first + i - 0.5); // a channel's bin has its number in the middle
    model.x = { label: "TDC_CHANNEL", unit: "", kind: "channel", step: 1, zoomKey: `channel:${n}` };
    model.per = "channel";
    model.first = first;
    model.sets.push({ name: `chamber ${n}`, role: "data", c: color, counts: pick(c[kind.of]) });
    if (ref?.[kind.of]) model.sets.push({ name: "reference", role: "reference", c: "ref", counts: pick(ref[kind.of]) });
    model.describe = i => {
      const channel = first + i, k = channel % 64, map = config?.Map;
      return [`TDC_CHANNEL ${channel}`, map?.Layer ? `layer ${map.Layer[k]} · wire ${map.Wire[k]}` : ""].filter(Boolean);
    };
    model.pick = i => ({ chamber: n, channel: first + i });
    if (typeof c.Wires === "string") {
      for (let i = 0; i <= last - first; i++) {
        const letter = c.Wires[(first + i) % 64];
        if (letter === "d" || letter === "h" || letter === "l") model.marks.push({ x: first + i, i, kind: VERDICT[letter], text: `TDC_CHANNEL ${first + i} is ${VERDICT[letter]}` });
      }
    }
  } else if (kind.binned) {
    const h = c[kind.of];
    model.edges = h.Edges;
    const width = even(h.Edges);
    model.x = { label: "TDC_CHANNEL", unit: "", step: width || 1, kind: "integer", zoomKey: `channel:${n}` };
    model.per = width ? plural(width, "channel") : "bin";
    model.sets.push(histSet(h, `chamber ${n}`, color));
    addReference(model, ref?.[kind.of]);
    const first = where?.First ?? 0, last = where?.Last ?? Infinity;
    model.grey = stretches(h.Edges, i => h.Edges[i + 1] <= first || h.Edges[i] > last);
    model.greyText = `not chamber ${n}`;
    model.describe = i => {
      const a = h.Edges[i], b = h.Edges[i + 1] - 1;
      const own = Math.min(b, last) - Math.max(a, first) + 1;
      return [`TDC_CHANNEL ${a}${b > a ? "–" + b : ""}`,
        own <= 0 ? `no channels of chamber ${n}` : own < b - a + 1 ? `${own} of ${b - a + 1} are chamber ${n}'s` : ""].filter(Boolean);
    };
  } else if (q === "hist_2") {
    const h = c.Hist_2, inTime = g => ({ ...g, Edges: g.Edges.map(e => Number((e * ORBIT).toPrecision(15))) });
    const scaled = inTime(h);
    model.edges = scaled.Edges;
    const width = even(h.Edges);
    model.x = { label: "detector time (s)", short: "time (s)", unit: "s", step: width * ORBIT, zoomKey: "hist_2:time" };
    model.binWidth = width * ORBIT;
    model.perBin = duration;
    model.average = o.scale === "rate";
    model.sets.push(histSet(scaled, `chamber ${n}`, color));
    if (ref?.Hist_2) addReference(model, inTime(ref.Hist_2));
    model.describe = (i, j) => [`${fixed(model.edges[i], 1)} – ${fixed(model.edges[j + 1], 1)} s`, `orbits ${int(h.Edges[i])} – ${int(h.Edges[j + 1])}`];
  } else if (kind.drift) {
    const edges = c.Hist_4?.Edges ?? Array.from({ length: c.Drift_Layer[0].length + 1 }, (_, i) => i * 10);
    const width = even(edges);
    model.edges = edges;
    model.x = { label: "drift time (ns)", unit: "ns", step: width || 1, zoomKey: "drift" };
    model.per = width ? `${short(width)} ns` : "bin";
    if (q === "hist_4") {
      model.sets.push(histSet(c.Hist_4, `chamber ${n}`, color));
      addReference(model, ref?.Hist_4);
    } else {
      c.Drift_Layer.forEach((counts, i) => model.sets.push({ name: `layer ${i + 1}`, role: "layer", c: `c${i + 1} l${i + 1}`, counts }));
    }
    model.describe = i => [`${short(edges[i])} – ${short(edges[i + 1])} ns`];
  } else {
    // by a whole number: multiplicities
    const from = q === "multiplicity" ? 1 : 0;
    const list = c[kind.of], other = ref?.[kind.of];
    let most = q === "multiplicity" ? 8 : list.length - 1;
    if (q === "multiplicity") {
      for (let k = 0; k < 65; k++) if (list[k] || other?.[k]) most = Math.max(most, k);
      most = [8, 12, 16, 24, 32, 48, 64].find(m => m >= most);
    }
    model.edges = Array.from({ length: most - from + 2 }, (_, i) => from + i - 0.5);
    model.x = { label: kind.whole, short: q === "multiplicity" ? "active channels" : "wires", unit: "", kind: "integer", step: 1, zoomKey: q };
    model.per = "";
    const last = list.length - 1;
    if (q === "trigger_multiplicity") model.x.format = k => (k === last ? `≥${last}` : String(k));
    model.sets.push({ name: `chamber ${n}`, role: "data", c: color, counts: list.slice(from, most + 1) });
    if (other) model.sets.push({ name: "reference", role: "reference", c: "ref", counts: other.slice(from, most + 1) });
    model.describe = i => {
      const k = from + i;
      return [q === "multiplicity" ? plural(k, "active channel") : `${k === last ? "≥ " + last : k} ${k === 1 ? "wire" : "wires"} hit`];
    };
  }
  return finish(model, view, o, kind, c);
}

export const VERDICT = { d: "dead", h: "hot", l: "low", "?": "unknown", o: "ok" };

function electronics(view, o, config) {
  const q = o.quantity, f = view.FPGAs?.find(g => g.FPGA === o.fpga);
  const ref = o.reference?.FPGAs?.find(g => g.FPGA === o.fpga);
  const model = {
    id: `${q}:${o.fpga}`, title: o.title ?? (q === "bx" ? `BX_COUNTER · FPGA ${o.fpga}` : `TDC_MEAS · FPGA ${o.fpga}`), fpga: o.fpga, quantity: q, what: "hits",
    y: { log: Boolean(o.log) }, scale: o.scale ?? "counts", sets: [], marks: [], grey: [], note: "", empty: "", hold: o.hold,
  };
  const kind = { what: "hits" };
  if (!f || !(q === "bx" ? f.BX : f.TDC)) {
    model.edges = [0, 1];
    model.x = { label: "", lo: 0, hi: 1, zoom: false };
    model.empty = "not in these result lines";
    return finish(model, view, o, kind, null);
  }
  if (q === "bx") {
    const width = even(f.BX.Edges);
    model.edges = f.BX.Edges;
    model.x = { label: "BX_COUNTER (25 ns)", short: "BX", unit: "BX", step: width || 1, zoomKey: "bx", kind: "integer" };
    model.per = width ? `${width} BX` : "bin";
    model.sets.push(histSet(f.BX, `FPGA ${o.fpga}`, "accent"));
    addReference(model, ref?.BX);
    model.describe = i => [`BX ${f.BX.Edges[i]} – ${f.BX.Edges[i + 1] - 1}`];
  } else {
    model.edges = Array.from({ length: 33 }, (_, i) => i - 0.5);
    model.x = { label: "TDC_MEAS (25/30 ns)", short: "TDC_MEAS", unit: "", step: 1, zoomKey: "tdc", kind: "channel" };
    model.per = "TDC count";
    model.sets.push({ name: `FPGA ${o.fpga}`, role: "data", c: "accent", counts: f.TDC });
    if (ref?.TDC) model.sets.push({ name: "reference", role: "reference", c: "ref", counts: ref.TDC });
    model.describe = i => [`TDC_MEAS ${i}`];
  }
  return finish(model, view, o, kind, { Count: f.Hits });
}

function other(view, o) {
  const h = o.path !== undefined ? view.Other?.find(x => x.Path === o.path) : view.Other?.[o.index ?? 0];
  const path = h?.Path ?? o.path ?? "";
  const model = {
    id: `other:${path}`, title: o.title ?? path, quantity: "other", what: "counts", y: { log: Boolean(o.log) }, scale: o.scale ?? "counts",
    sets: [], marks: [], grey: [], note: "", empty: "", hold: o.hold, edges: h?.Edges ?? [0, 1],
    x: { label: "value", zoomKey: `other:${path}`, step: h ? even(h.Edges) : 0 },
  };
  if (!h) model.empty = "not in these result lines";
  else {
    const width = even(h.Edges);
    model.per = width ? short(width) : "bin";
    model.sets.push(histSet(h, path, "accent"));
    addReference(model, o.reference?.Other?.find(x => x.Path === path));
    model.describe = i => [`${sig(h.Edges[i], 6)} – ${sig(h.Edges[i + 1], 6)}`];
  }
  return finish(model, view, o, { what: "counts" }, null);
}

// ---------------------------------------------------------------- parts of a model

const histSet = (h, name, c) => ({ name, role: "data", c, counts: h.Counts, under: h.Underflow, over: h.Overflow });

function addReference(model, h) {
  if (!h) return;
  const same = h.Edges.length === model.edges.length && h.Edges.every((e, i) => Math.abs(e - model.edges[i]) <= 1e-9 * Math.max(1, Math.abs(e)));
  if (same) model.sets.push({ ...histSet(h, "reference", "ref"), role: "reference" });
  else model.otherBins = true;
}

// even is the width of all bins, or 0 where they differ.
function even(edges) {
  const width = edges[1] - edges[0];
  for (let i = 1; i < edges.length - 1; i++) if (Math.abs(edges[i + 1] - edges[i] - width) > 1e-6 * width) return 0;
  return width;
}

function stretches(edges, test) {
  const out = [];
  for (let i = 0; i < edges.length - 1; i++) {
    if (!test(i)) continue;
    const last = out[out.length - 1];
    if (last && last[1] === edges[i]) last[1] = edges[i + 1];
    else out.push([edges[i], edges[i + 1]]);
  }
  return out;
}

const total = list => list.reduce((s, v) => s + v, 0);

function spanText(view, o) {
  const s = view.Span ?? {};
  const parts = [o.span ?? (Number.isFinite(s.Seconds) && s.Seconds > 0 ? duration(s.Seconds) : plural(s.Windows ?? 1, "window"))];
  if (s.Complete === 0 && !view.Bare) parts.push(s.Windows === 1 && s.Missing?.length ? without(s.Missing) : "incomplete");
  if (s.Stale > 0) parts.push("stale buffer in it");
  return parts;
}

// note is the span and the number of triggers or hits; few: whether they make a shape.
export function noteOf(view, o, triggers, hits, what = "hits") {
  const parts = spanText(view, o);
  let few = false;
  if (triggers) {
    const n = view.Trigger?.Orbits ?? view.Trigger?.Hits;
    if (n !== undefined) {
      few = n < 30;
      if (few) parts.unshift(`${plural(n, "trigger")}: too few for a shape`);
      else parts.push(plural(n, "trigger"));
    }
    if (hits !== undefined && !few) parts.push(plural(hits, what.replace(/s$/, ""), what));
  } else if (hits !== undefined) parts.push(plural(hits, what.replace(/s$/, ""), what));
  return { note: parts.join(" · "), few };
}

// scaleOf is what counts are multiplied with, and the error's factor is the same.
function scaleOf(model, view, counts) {
  if (model.scale === "rate") {
    if (model.average) return 1 / model.binWidth;
    const live = view.Span?.Live || view.Span?.Seconds;
    return live > 0 ? 1 / live : NaN;
  }
  if (model.scale === "area") {
    const all = total(counts);
    return all > 0 ? 1 / all : 0;
  }
  return 1;
}

function finish(model, view, o, kind, part) {
  const { x, sets } = model;
  x.lo ??= model.edges[0];
  x.hi ??= model.edges[model.edges.length - 1];
  if (model.scale === "rate" && !model.average && !((view.Span?.Live || view.Span?.Seconds) > 0)) model.scale = "counts";
  for (const s of sets) {
    s.edges = model.edges;
    s.total = total(s.counts);
    s.factor = scaleOf(model, s.role === "reference" ? o.reference : view, s.counts);
    if (!Number.isFinite(s.factor)) s.factor = 1;
    s.values = s.counts.map(n => n * s.factor);
    s.errors = s.counts.map(n => Math.sqrt(n) * s.factor);
  }
  const data = sets[0], ref = sets.find(s => s.role === "reference");
  if (o.ratio && ref) {
    model.ratio = { values: [], errors: [] };
    data.counts.forEach((n, i) => {
      const m = ref.counts[i];
      const r = m > 0 ? data.values[i] / ref.values[i] : NaN;
      model.ratio.values.push(r);
      model.ratio.errors.push(m > 0 ? (n > 0 ? r * Math.sqrt(1 / n + 1 / m) : data.factor / ref.values[i]) : NaN);
    });
  }
  model.y.per = model.per;
  model.y.label = yLabel(model, model.per);
  // what it says
  const hits = data ? total(sets.filter(s => s.role !== "reference").map(s => s.total + (s.under ?? 0) + (s.over ?? 0))) : part?.Count;
  const n = noteOf(view, o, kind.triggers, kind.what === "triggers" ? undefined : hits, kind.what);
  model.note = n.note + (model.otherBins ? " · the reference has other bins" : "");
  model.few = n.few;
  if (!model.empty && data && sets.every(s => s.total === 0)) {
    const flow = total(sets.map(s => (s.under ?? 0) + (s.over ?? 0)));
    const triggers = view.Trigger?.Orbits ?? view.Trigger?.Hits;
    model.empty = flow ? "all are under- or overflow" : kind.triggers && triggers === 0 ? "no trigger in this span" : `no ${kind.what} in this span`;
  }
  model.summary = summary(model, hits);
  return model;
}

function yLabel(model, per) {
  const what = model.scale === "rate" ? (model.average ? `${model.what} / s` : "Hz") : model.scale === "area" ? `share of ${model.what}` : model.what;
  return per && !model.average ? `${what} / ${per}` : what;
}

function summary(model, hits) {
  const whose = model.chamber ? ` of chamber ${model.chamber}` : "";
  const title = model.fpga === undefined && model.chamber ? model.title + whose : model.title;
  if (model.empty) return `${title}: ${model.empty}.`;
  const data = model.sets[0];
  const own = model.grey.length ? data.counts.filter((_, i) => !model.grey.some(([a, b]) => model.edges[i] >= a && model.edges[i] < b)) : data.counts;
  const parts = [model.quantity === "occupancy" ? plural(own.length, "channel") : plural(own.length, "bin"), plural(hits, model.what.replace(/s$/, ""), model.what)];
  if (model.sets.filter(s => s.role === "layer").length) {
    for (const s of model.sets) parts.push(`${s.name} ${int(s.total)}`);
  } else {
    const most = Math.max(...data.counts), at = data.counts.indexOf(most);
    const name = model.describe ? model.describe(at, at)[0] : "";
    parts.push(`highest ${name} with ${int(most)}`);
    const none = own.filter(n => n === 0).length;
    if (none) parts.push(`${none} empty`);
    if (data.under) parts.push(`underflow ${int(data.under)}`);
    if (data.over) parts.push(`overflow ${int(data.over)}`);
    for (const word of ["dead", "hot", "low"]) {
      const n = model.marks.filter(m => m.kind === word).length;
      if (n) parts.push(`${n} ${word}`);
    }
  }
  return `${title}: ${parts.join(", ")}.`;
}

// ---------------------------------------------------------------- drawing

// draw; more: what a plot that is more than a histogram adds (box.js): {painter, table, head(frame): px kept free above, label: frame.axes()'s
// strong, after(f, model, axes)}.
export function draw(f, model, more = {}) {
  if (!f.begin(model, more.painter ?? draw, more.table ?? table)) return;
  const { edges, sets, y } = model;
  const [lo, hi] = f.range(model.x.lo, model.x.hi);

  // the bins in sight, in groups where there are more than pixels
  let first = 0, last = edges.length - 2;
  while (first < last && edges[first + 1] <= lo) first++;
  while (last > first && edges[last] >= hi) last--;
  const every = groupOf((last - first + 1) / Math.max(20, f.width - 60));
  const bins = [];
  for (let i = Math.floor(first / every) * every; i <= last; i += every) {
    const j = Math.min(i + every - 1, edges.length - 2);
    bins.push({ i, j, a: edges[i], b: edges[j + 1] });
  }
  const share = model.average ? 1 / every : 1;
  for (const s of sets) s.drawn = every === 1 ? null : bins.map(b => sum(s.values, b.i, b.j) * share);
  const value = (s, k) => (s.drawn ? s.drawn[k] : s.values[bins[k].i]);
  const per = model.perBin ? model.perBin(model.binWidth * every) : every > 1 ? `${every} × ${model.per}` : model.per;

  let most = 0, least = Infinity;
  for (const s of sets) for (let k = 0; k < bins.length; k++) {
    const v = value(s, k);
    most = Math.max(most, v);
    if (v > 0) least = Math.min(least, v);
  }
  const counts = model.scale === "counts";
  if (model.marks.length) most *= 1.06; // room for their glyphs
  const key = `${model.id} ${model.scale} ${y.log} ${lo} ${hi} ${every} ${f.height}`;
  const [bottom, top] = f.yRange(model, most, { min: counts ? 1 : least === Infinity ? 0 : least, log: y.log, key, least: counts ? (y.log ? 10 : 4) : 0 });

  const refs = sets.filter(s => s.role === "reference");
  const layers = sets.filter(s => s.role === "layer");
  const legend = layers.length ? layers.map((s, i) => ({ name: f.small ? `${i + 1}` : s.name, c: s.c, kind: "line" })) : [];
  if (layers.length && f.small) legend[0].name = "layer 1";
  if (refs.length) legend.push({ name: "reference", c: "ref", kind: "line" });
  const data = sets[0];
  const a = f.axes({
    x: { lo, hi, label: model.x.label, short: model.x.short, kind: model.x.kind, format: model.x.format },
    y: { lo: y.log && counts ? 0.5 : bottom, hi: top, log: y.log, label: yLabel(model, per), kind: counts ? "integer" : "" },
    under: data?.under, over: data ? addOver(data) : undefined, legend, head: more.head?.(f), strong: more.label,
    panel: model.ratio ? ratioRange(f, model, bins) : null,
  });

  // bins that the chamber cannot fill
  const grey = pool(f.group("back", "grey"), "rect", model.grey.length);
  const greyText = pool(f.group("back", "grey-text"), "text", model.grey.length);
  model.grey.forEach(([g0, g1], i) => {
    const left = Math.max(a.x0, a.x(g0)), right = Math.min(a.x1, a.x(g1));
    set(grey[i], { x: round(left), y: a.y0, width: round(Math.max(0, right - left)), height: a.y1 - a.y0, fill: `url(#hatch-${f.serial})` });
    const name = right - left > f.measure(model.greyText) + 16 ? model.greyText : "";
    text(set(greyText[i], { x: round((left + right) / 2), y: round(a.y0 + f.px + 4), "text-anchor": "middle" }), name);
  });

  const fills = pool(f.group("data", "fills"), "path", sets.length);
  const lines = pool(f.group("data", "lines"), "path", sets.length);
  // the reference lies below the data
  const order = [...refs, ...sets.filter(s => s.role !== "reference")];
  order.forEach((s, n) => {
    let d = "", at = null;
    for (let k = 0; k < bins.length; k++) {
      const x0 = a.crisp(Math.max(a.x0, a.x(bins[k].a))), x1 = a.crisp(Math.min(a.x1, a.x(bins[k].b)));
      const v = a.crisp(Math.max(a.y0 - 1, a.y(value(s, k))));
      // of several lines those that are 0 would only paint the axis
      if (s.role === "layer" && value(s, k) === 0) {
        if (at !== null && at !== a.y1) d += `V${a.y1}`;
        at = null;
        continue;
      }
      if (at === null) d += `M${x0} ${a.y1}V${v}H${x1}`;
      else d += (v === at ? "" : `V${v}`) + `H${x1}`;
      at = v;
    }
    if (at !== null) d += `V${a.y1}`;
    const fill = s.role !== "layer";
    set(fills[n], { d: fill && d ? d + "Z" : "M0 0", class: `fill ${s.c}` });
    set(lines[n], { d: d || "M0 0", class: `line ${s.c} ${s.role}` });
  });

  // the ratio, with errors
  const dots = f.one("data", "ratio", "path");
  let d = "";
  if (a.panel) {
    const p = a.panel, wide = (a.x1 - a.x0) / bins.length > 5 ? 2 : 1.2;
    for (let k = 0; k < bins.length; k++) {
      let r, e;
      if (every === 1) [r, e] = [model.ratio.values[bins[k].i], model.ratio.errors[bins[k].i]];
      else {
        const n = sum(data.counts, bins[k].i, bins[k].j), m = sum(refs[0].counts, bins[k].i, bins[k].j);
        r = m > 0 ? n * data.factor / (m * refs[0].factor) : NaN;
        e = m > 0 && n > 0 ? r * Math.sqrt(1 / n + 1 / m) : 0;
      }
      if (!Number.isFinite(r)) continue;
      const x = round(a.x((bins[k].a + bins[k].b) / 2));
      if (x < a.x0 || x > a.x1) continue;
      if (r > p.hi) d += `M${x - 2.5} ${p.y0 + 5}L${x} ${p.y0 + 1}L${x + 2.5} ${p.y0 + 5}`; // above the panel: a small arrow
      else {
        const v = round(p.y(r));
        d += `M${round(x - wide)} ${v}H${round(x + wide)}M${x} ${round(p.y(r - e))}V${round(p.y(r + e))}`;
      }
    }
  }
  set(dots, { d: d || "M0 0" });

  // verdicts of wires
  const glyphs = pool(f.group("marks", "verdicts"), "path", model.marks.length);
  model.marks.forEach((m, i) => {
    const inside = m.x > lo && m.x < hi;
    const v = m.kind === "dead" ? a.y1 - 6 : Math.max(a.y0 + 5, a.y(data.values[m.i]) - 6);
    set(glyphs[i], { d: inside ? glyph(m.kind, round(a.x(m.x)), round(v), 3) : "M0 0", class: m.kind });
  });

  more.after?.(f, model, a);

  // the cursor: its index counts groups of bins from the start of the axis, so a zoom leaves it where it is
  if (f.every !== every) f.hide();
  f.every = every;
  const base = bins.length ? bins[0].i / every : 0;
  f.end(bins.length && sets.length ? {
    n: Math.ceil((edges.length - 1) / every),
    start: base,
    find(px) {
      if (px < a.x0 - 3 || px > a.x1 + 3) return null;
      const v = f.valueAt(px), k = bins.findIndex(b => v < b.b);
      return base + (k < 0 ? bins.length - 1 : k);
    },
    follow(i) {
      const from = edges[i * every], to = edges[Math.min((i + 1) * every, edges.length - 1)];
      if (to <= lo) f.panBy((from - lo) / (hi - lo));
      else if (from >= hi) f.panBy((to - hi) / (hi - lo));
    },
    show(i) {
      const b = bins[i - base];
      if (!b) return null;
      const x0 = Math.max(a.x0, a.x(b.a)), x1 = Math.min(a.x1, a.x(b.b));
      return { x: (x0 + x1) / 2, rect: [x0, a.y0, x1 - x0, (a.panel ? a.panel.y1 : a.y1) - a.y0], lines: readout(model, b) };
    },
    pick(i) {
      const b = bins[i - base];
      if (!b) return null;
      return model.pick ? model.pick(b.i) : { edges: [b.a, b.b], counts: sets.map(s => sum(s.counts, b.i, b.j)) };
    },
  } : null);
}

const addOver = s => (s.beyond ? s.beyond + (s.over ?? 0) : s.over);
const sum = (list, i, j) => {
  let s = 0;
  for (let k = i; k <= j; k++) s += list[k];
  return s;
};
const groupOf = n => [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find(k => k >= n) ?? 10000;

// glyph is the path of a verdict's sign: × dead, ▴ hot, ▾ low, · unknown.
export function glyph(kind, x, y, r) {
  switch (kind) {
    case "dead": return `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`;
    case "hot": return `M${x - r} ${y + r * 0.8}H${x + r}L${x} ${y - r}Z`;
    case "low": return `M${x - r} ${y - r * 0.8}H${x + r}L${x} ${y + r}Z`;
    default: return `M${x - 1} ${y}a1 1 0 1 0 2 0a1 1 0 1 0 -2 0Z`;
  }
}

function ratioRange(f, model, bins) {
  let hi = 1.4, lo = 0.6;
  for (const b of bins) {
    const r = model.ratio.values[b.i], e = model.ratio.errors[b.i];
    if (Number.isFinite(r) && e < 0.7 * r) {
      hi = Math.max(hi, Math.min(r + e, 3));
      lo = Math.min(lo, r - e);
    }
  }
  hi = hi <= 1.4 ? 1.4 : hi <= 2 ? 2 : 3;
  const want = { lo: hi > 1.4 || lo < 0.6 ? 0 : 0.6, hi: hi <= 1.4 && lo < 0.6 ? 2 : hi };
  const key = `${model.id} ${model.scale}`;
  if (model.hold === false || f.ratioKey !== key || want.hi > f.ratio.hi || want.lo < f.ratio.lo || want.hi < f.ratio.hi * 0.6) f.ratio = want;
  f.ratioKey = key;
  const marks = f.ratio.lo === 0 ? (f.ratio.hi === 3 ? [1, 2] : f.ratio.hi === 2 ? [0.5, 1, 1.5] : [0.5, 1]) : f.ratio.hi > 1.4 ? [1, 1.5] : [0.8, 1, 1.2];
  return { ...f.ratio, ticks: marks, label: "data / reference" };
}

function readout(model, b) {
  const lines = model.describe ? [...model.describe(b.i, b.j)] : [];
  const unit = n => (n === 1 ? model.what.replace(/s$/, "") : model.what);
  const data = model.sets[0], ref = model.sets.find(s => s.role === "reference");
  const say = (s, n) => {
    if (model.scale === "rate") {
      const v = n * s.factor * (model.average ? 1 / (b.j - b.i + 1) : 1);
      return `${countText(n)} ${unit(n)} · ${model.average ? sig(v, 3) + " / s" : hz(v)}`;
    }
    if (model.scale === "area") return `${countText(n)} ${unit(n)} · ${percent(n * s.factor)}`;
    return `${countText(n)} ${unit(n)}`;
  };
  const several = model.sets.filter(s => s.role !== "reference").length > 1;
  for (const s of model.sets) {
    const n = sum(s.counts, b.i, b.j);
    lines.push((several || s === ref ? s.name + ": " : "") + say(s, n));
  }
  if (ref && b.i === b.j) {
    const n = data.counts[b.i], m = ref.counts[b.i];
    if (m > 0) {
      const r = n * data.factor / (m * ref.factor);
      lines.push(`ratio ${n > 0 ? pm(r, r * Math.sqrt(1 / n + 1 / m)) : "0"}`);
    }
  }
  const mark = model.marks.find(m => m.i === b.i);
  if (mark) lines.push(mark.kind);
  return lines;
}

// ---------------------------------------------------------------- the numbers

export function table(model) {
  const shown = model.scale === "counts" ? [] : [model.scale === "rate" ? "Hz" : "share"];
  const several = model.sets.length > 1;
  const channels = model.quantity === "occupancy";
  const whole = model.quantity === "multiplicity" || model.quantity === "trigger_multiplicity" || model.quantity === "tdc";
  const head = channels ? ["TDC_CHANNEL", "layer, wire"] : whole ? ["number"] : ["from", "to"];
  for (const s of model.sets) {
    const name = several ? `${s.name}: ` : "";
    head.push(name + model.what, ...shown.map(u => name + u));
  }
  if (model.ratio) head.push("ratio", "± ratio");
  const rows = [];
  const number = v => (Number.isInteger(v) ? v : Number(v.toPrecision(8)));
  const cells = (s, n) => [n, ...shown.map(() => number(n * s.factor))];
  const flow = key => model.sets.some(s => s[key] !== undefined);
  const edge = (key, a, b) => {
    const row = [a, b];
    for (const s of model.sets) row.push(...cells(s, s[key] ?? 0));
    if (model.ratio) row.push("", "");
    rows.push(row);
  };
  const n = model.sets.length ? model.edges.length - 1 : 0;
  if (flow("under") && n) edge("under", "underflow", number(model.edges[0]));
  for (let i = 0; i < n; i++) {
    const row = channels ? [model.first + i, (model.describe(i)[1] ?? "").replace("layer ", "").replace(" · wire ", ", ")]
      : whole ? [number(model.edges[i] + 0.5)] : [number(model.edges[i]), number(model.edges[i + 1])];
    for (const s of model.sets) row.push(...cells(s, s.counts[i]));
    if (model.ratio) {
      const r = model.ratio.values[i];
      row.push(Number.isFinite(r) ? number(r) : "", Number.isFinite(r) ? number(model.ratio.errors[i]) : "");
    }
    rows.push(row);
  }
  if (flow("over") && n) edge("over", number(model.edges[n]), "overflow");
  const whose = model.chamber ? `, chamber ${model.chamber}` : "";
  return { caption: `${model.title}${whose}${model.note ? ": " + model.note : ""}`, head, rows };
}
