// Efficiency by layer: how often a layer has a hit where the chamber's three others have one, with Wilson intervals (68.3 %).
//
//   series(view, o) → model. o: {chamber, reference, span, title, config}
//     model: layers [{layer, eligible, found, share, lo, hi}], reference likewise or null, sets (the same numbers)
//   draw(frame, model); table(model)

import { set, pool, text, round } from "./frame.js";
import { noteOf } from "./steps.js";
import { wilson } from "../stats.js";
import { int, fixed } from "../format.js";

const layersOf = list => list.map(([eligible, found], i) => {
  const [lo, hi] = wilson(found, eligible);
  return { layer: i + 1, eligible, found, share: eligible ? found / eligible : NaN, lo, hi };
});
const share = (v, digits = 1) => (Number.isFinite(v) ? fixed(v * 100, digits) + " %" : "–");

export function series(view, o = {}) {
  const n = o.chamber, list = view.Chambers?.[n - 1]?.Efficiency, ref = o.reference?.Chambers?.[n - 1]?.Efficiency;
  const model = {
    id: `efficiency:${n}`, title: o.title ?? "Efficiency by layer", chamber: n, c: "c" + ((n - 1) % 4 + 1),
    x: { label: "", zoom: false, lo: 0.5, hi: 4.5 }, y: { label: "found / eligible" }, layers: [], reference: null, sets: [], marks: [], empty: "", hold: o.hold,
  };
  const text = noteOf(view, o, true);
  model.note = text.note;
  model.few = text.few;
  if (!list) model.empty = "not in these result lines";
  else {
    model.layers = layersOf(list);
    if (ref) model.reference = layersOf(ref);
    if (model.layers.every(l => l.eligible === 0)) model.empty = "no eligible trigger in this span";
    const sets = [[`chamber ${n}`, "data", model.c, model.layers], ...(model.reference ? [["reference", "reference", "ref", model.reference]] : [])];
    for (const [name, role, c, layers] of sets) {
      model.sets.push({ name, role, c, edges: [0.5, 1.5, 2.5, 3.5, 4.5], counts: layers.map(l => l.found), eligible: layers.map(l => l.eligible), values: layers.map(l => l.share), errors: layers.map(l => (l.hi - l.lo) / 2) });
    }
  }
  model.summary = `Efficiency by layer of chamber ${n}: ${model.empty || model.layers.map(l => `layer ${l.layer} ${l.found} of ${l.eligible}${l.eligible ? ", " + share(l.share) : ""}`).join("; ")}.`;
  return model;
}

export function draw(f, model) {
  if (!f.begin(model, draw, table)) return;
  const { layers, reference } = model;
  // from 0 where an interval needs it, else from 50 or 80 %: the y label says it by its ticks
  const least = Math.min(1, ...[...layers, ...(reference ?? [])].filter(l => l.eligible).map(l => l.lo));
  const floor = least >= 0.85 ? 0.8 : least >= 0.55 ? 0.5 : 0;
  if (f.floor === undefined || model.hold === false || floor < f.floor || least > f.floor + (1 - f.floor) * 0.5) f.floor = floor;
  f.range(0.5, 4.5);
  const a = f.axes({
    x: { lo: 0.5, hi: 4.5, label: "layer", kind: "integer", ticks: [1, 2, 3, 4].map(k => ({ at: k, text: String(k) })) },
    y: { lo: f.floor, hi: 1 + (1 - f.floor) * 0.06, label: "found / eligible", format: v => (v > 1.0001 ? "" : fixed(v * 100) + " %") },
    legend: reference ? [{ name: "reference", c: "ref", kind: "line" }] : [],
  });
  const wide = Math.min(9, (a.x1 - a.x0) / 24);
  const y = v => round(Math.max(a.y0, Math.min(a.y1, a.y(v))));
  const refs = f.one("data", "ref-intervals", "path");
  set(refs, { d: (reference ?? []).filter(l => l.eligible).map(l => `M${round(a.x(l.layer) - wide * 2)} ${y(l.hi)}h${wide * 4}V${y(l.lo)}h${-wide * 4}Z`).join("") || "M0 0", class: "fill ref" });
  set(f.one("data", "ref-lines", "path"), { d: (reference ?? []).filter(l => l.eligible).map(l => `M${round(a.x(l.layer) - wide * 2)} ${y(l.share)}h${wide * 4}`).join("") || "M0 0", class: "line ref" });
  const bars = pool(f.group("data", "intervals"), "path", layers.length);
  const dots = pool(f.group("data", "points"), "circle", layers.length);
  const words = pool(f.group("marks", "shares"), "text", layers.length);
  layers.forEach((l, i) => {
    const x = round(a.x(l.layer));
    set(bars[i], { d: l.eligible ? `M${x} ${y(l.lo)}V${y(l.hi)}M${round(x - wide / 2)} ${y(l.lo)}h${wide}M${round(x - wide / 2)} ${y(l.hi)}h${wide}` : "M0 0", class: `line ${model.c}` });
    set(dots[i], { cx: x, cy: l.eligible ? y(l.share) : -20, r: 3.5, class: `dot ${model.c}` });
    // the numbers beside the point, on the side where there is room
    const words12 = l.eligible ? `${int(l.found)}/${int(l.eligible)}` : "0/0";
    const flip = x + wide / 2 + 5 + f.measure(words12) > f.width;
    text(set(words[i], { x: round(flip ? x - wide / 2 - 5 : x + wide / 2 + 5), y: l.eligible ? round(Math.min(a.y1 - 4, Math.max(a.y0 + f.px, a.y(l.share) + f.px + 3))) : a.y1 - 6, "text-anchor": flip ? "end" : "start" }), words12);
  });
  f.end(layers.length ? {
    n: 4,
    find: px => (px < a.x0 || px > a.x1 ? null : Math.max(0, Math.min(3, Math.floor((px - a.x0) / (a.x1 - a.x0) * 4)))),
    show(i) {
      const l = layers[i], x0 = a.x(i + 0.5), x1 = a.x(i + 1.5);
      const lines = [`layer ${l.layer}`, l.eligible ? `${int(l.found)} of ${int(l.eligible)} · ${share(l.share)}` : "no eligible trigger"];
      if (l.eligible) lines.push(`68 % interval ${fixed(l.lo * 100, 1)} – ${share(l.hi)}`);
      const r = reference?.[i];
      if (r?.eligible) lines.push(`reference: ${int(r.found)} of ${int(r.eligible)} · ${share(r.share)}`);
      return { x: (x0 + x1) / 2, rect: [x0, a.y0, x1 - x0, a.y1 - a.y0], lines };
    },
    pick: i => ({ chamber: model.chamber, layer: i + 1 }),
  } : null);
}

export function table(model) {
  const head = ["layer", "eligible", "found", "efficiency", "68 % from", "to"];
  if (model.reference) head.push("reference: eligible", "reference: found", "reference: efficiency");
  const number = v => (Number.isFinite(v) ? Number(v.toPrecision(8)) : "");
  const rows = model.layers.map((l, i) => {
    const row = [l.layer, l.eligible, l.found, number(l.share), number(l.lo), number(l.hi)];
    const r = model.reference?.[i];
    if (r) row.push(r.eligible, r.found, number(r.share));
    return row;
  });
  return { caption: `${model.title}, chamber ${model.chamber}: ${model.note}`, head, rows };
}
