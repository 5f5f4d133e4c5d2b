// The wire map of a chamber: its 4 layers of 16 cells where they are (x to scale, layers 1 and 3 shifted by half a cell;
// heights are stretched, and the plot says by how much), coloured by hits or Hz.
//
//   series(view, o) → model. o: {chamber, scale: "rate" (default, Hz) | "counts" | "area" (share of the chamber), log,
//     reference, span, title, hold, config}
//   model: cells [{channel (TDC_CHANNEL), layer, wire, x (mm, left), y (0 … 3 from the top), count, value, verdict}], sets (the
//     same numbers by channel), values: {unit, max}
//   draw(frame, model); table(model)
//   onPick({chamber, channel})
//
// A wire without hits is hatched: none is no colour of the scale. The scale ends near the 95 % quantile, so that one hot
// wire does not blacken the others; wires beyond have a notch, and the scale an arrow with the highest value.
// Signs: × dead, ▾ low, ▴ hot, · unknown.

import { set, svg, pool, text, round } from "./frame.js";
import { glyph, noteOf, VERDICT } from "./steps.js";
import { quantile } from "../stats.js";
import { int, short, hz, percent, count as countText, plural, pm, sig } from "../format.js";

// Dark to bright in even steps of lightness, from blue to yellow: told apart with any colour vision, and in grey.
const STOPS = ["#202a6c", "#214680", "#2c618a", "#417a8c", "#5f9289", "#83a880", "#aabd74", "#d3d068", "#fae35c"].map(h => [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16)));

// color is the scale's colour at a share of 0 … 1.
export function color(share) {
  const at = Math.max(0, Math.min(1, share)) * (STOPS.length - 1), i = Math.min(STOPS.length - 2, Math.floor(at)), f = at - i;
  return "#" + STOPS[i].map((v, k) => Math.round(v + (STOPS[i + 1][k] - v) * f).toString(16).padStart(2, "0")).join("");
}

export function series(view, o = {}) {
  const config = o.config ?? view.Config, map = config?.Map ?? {};
  const n = o.chamber, c = view.Chambers?.[n - 1], where = map.Chambers?.[n - 1];
  const first = where?.First ?? 0, last = where?.Last ?? first + 63;
  const layers = map.Layer ?? Array.from({ length: 64 }, (_, i) => [4, 2, 3, 1][i % 4]);
  const wires = map.Wire ?? Array.from({ length: 64 }, (_, i) => (i >> 2) + 1);
  const [cw, ch] = map.Cell ?? [42, 13];
  const xs = map.X ?? wires.map((w, i) => (w - 0.5) * cw + (layers[i] % 2 ? cw / 2 : 0));
  const scale = o.scale ?? "rate";
  const model = {
    id: `wiremap:${n}`, title: o.title ?? "Wire map", chamber: n, scale, log: Boolean(o.log), cell: [cw, ch], cells: [], sets: [],
    x: { label: "", zoom: false }, y: { label: scale === "rate" ? "Hz" : scale === "area" ? "share" : "hits", log: Boolean(o.log) },
    unit: scale === "rate" ? "Hz" : scale === "area" ? "%" : "hits", empty: "", hold: o.hold, marks: [],
  };
  const list = c?.Occupancy, ref = o.reference?.Chambers?.[n - 1]?.Occupancy;
  const live = view.Span?.Live || view.Span?.Seconds || 0;
  const sum = list ? list.reduce((s, v) => s + v, 0) : 0;
  const factor = scale === "rate" ? (live > 0 ? 1 / live : NaN) : scale === "area" ? (sum > 0 ? 100 / sum : 0) : 1;
  if (!list || Number.isNaN(factor)) model.empty = list ? "no live time in this span" : "not in these result lines";
  const refLive = o.reference?.Span?.Live || 0, refSum = ref ? ref.reduce((s, v) => s + v, 0) : 0;
  const refFactor = scale === "rate" ? (refLive > 0 ? 1 / refLive : NaN) : scale === "area" ? (refSum > 0 ? 100 / refSum : NaN) : 1;
  const left = Math.min(...xs) - cw / 2;
  for (let channel = first; channel <= last && !model.empty; channel++) {
    const i = channel % 64, count = list[i] ?? 0;
    const cell = {
      channel, layer: layers[i], wire: wires[i], x: xs[i] - cw / 2 - left, y: layers[i] - 1, count,
      value: count * factor, error: Math.sqrt(count) * factor, verdict: VERDICT[c.Wires?.[i]] ?? "",
    };
    if (ref) Object.assign(cell, { refCount: ref[i] ?? 0, refValue: (ref[i] ?? 0) * refFactor, ratio: ref[i] > 0 ? count * factor / (ref[i] * refFactor) : NaN });
    model.cells.push(cell);
  }
  model.width = Math.max(0, ...model.cells.map(k => k.x)) + cw;
  const counts = model.cells.map(k => k.count);
  model.sets.push({ name: `chamber ${n}`, role: "data", c: "c" + ((n - 1) % 4 + 1), edges: model.cells.map(k => k.channel), counts, values: model.cells.map(k => k.value), errors: model.cells.map(k => k.error), total: sum, factor });
  if (ref && !model.empty) model.sets.push({ name: "reference", role: "reference", c: "ref", counts: model.cells.map(k => k.refCount), values: model.cells.map(k => k.refValue) });
  const of = word => model.cells.filter(k => k.verdict === word).length;
  const verdicts = ["dead", "hot", "low"].filter(of).map(w => `${of(w)} ${w}`);
  const unknown = of("unknown");
  const text = noteOf(view, o, false, list && sum);
  model.note = [text.note, ...verdicts, unknown > model.cells.length / 2 && unknown > 0 ? "too few hits to judge" : ""].filter(Boolean).join(" · ");
  model.few = text.few;
  const most = model.cells.reduce((a, b) => (b.count > a.count ? b : a), model.cells[0] ?? { count: 0 });
  const none = model.cells.filter(k => k.count === 0).length;
  model.summary = model.empty ? `Wire map of chamber ${n}: ${model.empty}.`
    : `Wire map of chamber ${n}: ${plural(model.cells.length, "wire")}, ${plural(sum, "hit")}, highest channel ${most.channel} with ${int(most.count)}, ${none} empty${verdicts.length ? ", " + verdicts.join(", ") : ""}.`;
  return model;
}

export function draw(f, model) {
  if (!f.begin(model, draw, table)) return;
  const W = f.width, H = f.height, px = f.px, small = f.small;
  f.scale = null;
  const empty = f.one("marks", "empty-text", "text");
  text(set(empty, { x: W / 2, y: H / 2, "text-anchor": "middle" }), model.empty);
  const n = model.cells.length;

  // geometry: x to scale, heights as there is room
  const left = Math.ceil(f.measure("L4")) + 6;
  const top = small ? 1 : px + 5, foot = px + 16;
  const mm = (W - left - 2) / (model.width || 1);
  const w = model.cell[0] * mm;
  const h = Math.max(3, Math.min((H - top - foot) / 4, w * 1.1));
  const y0 = top + Math.max(0, (H - top - foot - 4 * h) / 2) * (small ? 1 : 0.5);
  const stretch = h / (model.cell[1] * mm);

  // colours
  const positive = model.cells.map(c => c.value).filter(v => v > 0).sort((a, b) => a - b);
  const max = positive.length ? positive[positive.length - 1] : 0;
  const robust = positive.length ? Math.min(max, quantile(positive, 0.95) * 1.3) : 1;
  const want = max <= robust * 1.3 ? max : robust;
  const [lo, hi] = f.yRange(model, want, { min: positive[0] ?? 0, log: model.log, key: `${model.id} ${model.scale} ${model.log}` });
  const share = v => (model.log ? Math.log(v / lo) / Math.log(hi / lo) : v / hi);

  const at = model.cells.map(c => ({ x: left + c.x * mm, y: y0 + c.y * h }));
  const rects = pool(f.group("data", "cells"), "rect", n);
  const gap = small ? 1 : 1.5;
  model.cells.forEach((c, i) => {
    set(rects[i], {
      x: round(at[i].x + gap / 2), y: round(at[i].y + gap / 2), width: round(w - gap), height: round(h - gap),
      fill: c.count > 0 ? color(share(c.value)) : `url(#hatch-${f.serial})`, class: c.count > 0 ? "cell" : "cell none",
    });
  });

  // a notch in the corner of wires beyond the scale
  const beyond = model.cells.map((c, i) => [c, at[i]]).filter(([c]) => c.value > hi * 1.0001);
  const r = Math.min(6, h * 0.45);
  set(f.one("data", "beyond", "path"), { d: beyond.map(([, p]) => `M${round(p.x + w - gap / 2 - r)} ${round(p.y + gap / 2)}h${r}v${r}Z`).join("") || "M0 0" });

  // verdicts
  const judged = model.cells.map((c, i) => [c, at[i]]).filter(([c]) => c.verdict && c.verdict !== "ok");
  const signs = pool(f.group("marks", "verdicts on-cells"), "path", judged.length);
  const size = Math.max(2.2, Math.min(5, h * 0.27, w * 0.27));
  judged.forEach(([c, p], i) => set(signs[i], { d: glyph(c.verdict, round(p.x + w / 2), round(p.y + h / 2), round(size)), class: c.verdict + (c.count ? "" : " bare") }));

  // names of layers, and wires above
  const names = pool(f.group("axis", "layers"), "text", n ? 4 : 0);
  for (let i = 0; i < names.length; i++) text(set(names[i], { x: left - 5, y: round(y0 + (i + 0.5) * h + px * 0.35), "text-anchor": "end" }), "L" + (i + 1));
  const shown = small || !n ? [] : [1, 4, 8, 12, 16];
  const tops = model.cells.filter(c => c.layer === 1);
  const numbers = pool(f.group("axis", "wires"), "text", shown.length);
  shown.forEach((wire, i) => {
    const c = tops.find(k => k.wire === wire);
    text(set(numbers[i], { x: c ? round(left + c.x * mm + w / 2) : 0, y: round(y0 - 4), "text-anchor": "middle" }), c ? (wire === 1 ? "wire 1" : String(wire)) : "");
  });

  // the scale: [hatch] none   0 [colours] hi ▸ max
  const row = H - 5, bh = small ? 7 : 9;
  if (!f.gradient) {
    f.gradient = svg("linearGradient", { id: `scale-${f.serial}` });
    STOPS.forEach((_, i) => f.gradient.append(svg("stop", { offset: i / (STOPS.length - 1), "stop-color": color(i / (STOPS.length - 1)) })));
    f.defs.append(f.gradient);
  }
  const value = v => (model.unit === "%" ? sig(v, 2) : v >= 1e4 ? short(v) : v >= 100 ? int(v) : short(v, 2));
  let x = left;
  const g = f.group("axis", "scale");
  const parts = pool(g, "rect", n ? 2 : 0), words = pool(f.group("axis", "scale-words"), "text", n ? 4 : 0);
  const arrow = f.one("axis", "scale-arrow", "path");
  if (n) {
    set(parts[0], { x: x + 0.5, y: row - bh, width: small ? 12 : 16, height: bh, fill: `url(#hatch-${f.serial})`, class: "cell none" });
    x += small ? 16 : 21;
    text(set(words[0], { x, y: row - (bh - px * 0.72) / 2, "text-anchor": "start" }), "none");
    x += f.measure("none") + (small ? 10 : 18);
    const low = model.log ? value(lo) : "0";
    text(set(words[1], { x: round(x), y: row - (bh - px * 0.72) / 2, "text-anchor": "start" }), low);
    x += f.measure(low) + 4;
    const unit = model.unit === "Hz" ? " Hz" : model.unit === "%" ? " %" : " hits";
    const end = value(hi) + unit + (max > hi * 1.0001 ? `, highest ${value(max)}` : "");
    const heights = `drawn ${sig(stretch, 2)} × as high`;
    const bar = Math.max(24, Math.min(small ? 110 : 180, W - x - f.measure(end) - 14));
    set(parts[1], { x: round(x), y: row - bh, width: round(bar), height: bh, fill: `url(#scale-${f.serial})`, class: "ramp" });
    x += bar;
    const more = max > hi * 1.0001;
    set(arrow, { d: more ? `M${round(x)} ${row - bh}l5 ${bh / 2}l-5 ${bh / 2}Z` : "M0 0", fill: color(1) });
    x += more ? 9 : 4;
    text(set(words[2], { x: round(x), y: row - (bh - px * 0.72) / 2, "text-anchor": "start" }), end);
    const room = W - 2 - f.measure(heights) > x + f.measure(end) + 16;
    text(set(words[3], { x: W - 2, y: row - (bh - px * 0.72) / 2, "text-anchor": "end" }), room && Math.abs(stretch - 1) > 0.05 ? heights : "");
  } else set(arrow, { d: "M0 0" });

  // the cursor moves among the cells
  const index = new Map(model.cells.map((c, i) => [c.layer * 100 + c.wire, i]));
  const find = (mx, my) => {
    const layer = Math.floor((my - y0) / h) + 1;
    if (layer < 1 || layer > 4) return null;
    const i = model.cells.findIndex((c, k) => c.layer === layer && mx >= at[k].x && mx < at[k].x + w);
    return i < 0 ? null : i;
  };
  f.end(n ? {
    n, rows: true, find, start: index.get(101) ?? 0, first: index.get(101) ?? 0, last: index.get(416) ?? n - 1,
    move(i, key, step) {
      const c = model.cells[i];
      let layer = c.layer, wire = c.wire;
      if (key === "ArrowLeft") wire = Math.max(1, wire - step);
      else if (key === "ArrowRight") wire = Math.min(16, wire + step);
      else layer = Math.max(1, Math.min(4, layer + (key === "ArrowUp" ? -1 : 1)));
      return index.get(layer * 100 + wire) ?? i;
    },
    show(i) {
      const c = model.cells[i], p = at[i];
      return { x: p.x + w / 2, y: p.y, below: p.y + h, outline: true, rect: [p.x, p.y, w, h], lines: readout(model, c) };
    },
    pick: i => ({ chamber: model.chamber, channel: model.cells[i].channel }),
  } : null);
}

const say = (model, v) => (model.scale === "rate" ? hz(v) : model.scale === "area" ? percent(v / 100) + " of the chamber" : "");

function readout(model, c) {
  const sum = model.sets[0].total;
  const lines = [`layer ${c.layer} · wire ${c.wire} · TDC_CHANNEL ${c.channel}`,
    [`${countText(c.count)} ${c.count === 1 ? "hit" : "hits"}`, say(model, c.value), model.scale === "area" || !sum ? "" : percent(c.count / sum, 2)].filter(Boolean).join(" · ")];
  if (c.verdict) lines.push(c.verdict === "unknown" ? "unknown: too few hits to judge" : c.verdict);
  if (c.refCount !== undefined) {
    const r = c.ratio;
    lines.push(`reference: ${countText(c.refCount)}${model.scale === "counts" ? "" : " · " + say(model, c.refValue)}` + (r > 0 ? ` · ratio ${pm(r, r * Math.sqrt(1 / c.count + 1 / c.refCount))}` : ""));
  }
  return lines;
}

export function table(model) {
  const unit = model.scale === "rate" ? ["Hz"] : model.scale === "area" ? ["%"] : [];
  const ref = model.sets.length > 1;
  const head = ["TDC_CHANNEL", "layer", "wire", "hits", ...unit, "verdict"];
  if (ref) head.push("reference: hits", ...unit.map(u => "reference: " + u));
  const number = v => Number(v.toPrecision(8));
  const rows = model.cells.map(c => {
    const row = [c.channel, c.layer, c.wire, c.count, ...unit.map(() => number(c.value)), c.verdict];
    if (ref) row.push(c.refCount, ...unit.map(() => (Number.isFinite(c.refValue) ? number(c.refValue) : "")));
    return row;
  });
  return { caption: `${model.title}, chamber ${model.chamber}: ${model.note}`, head, rows };
}
