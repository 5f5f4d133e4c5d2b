// The drift-time box: Hist_4 with its fitted edges and width, beside the expected box.
//
//   series(view, o) → model. o: {chamber, scale, log, reference, span, title, hold, config,
//     to: upper end of the axis in ns (default 1.6 × the expected width, rounded; what lies beyond counts as over)}
//   model: as of steps.js, and box {ok, from, to, width, error, fromError, toError, height, background, why}, expected [0, ns],
//     accepted {width: [ns, ns], from: [ns, ns], sigmas}, state "ok" | "bad" | "unknown" (of this box, not of the server's
//     last span), label ("381 ± 4 ns · expected 390, accepted 330 … 415")
//   draw(frame, model); table(model)

import * as steps from "./steps.js";
import { set, pool, text, round } from "./frame.js";
import { fixed, pm, sig } from "../format.js";

export function series(view, o = {}) {
  const model = steps.series(view, { ...o, quantity: "hist_4", title: o.title ?? "Drift time" });
  const n = o.chamber, b = view.Chambers?.[n - 1]?.Box;
  const expected = (o.config ?? view.Config)?.Map?.Max_Drift ?? 390;
  model.id = `box:${n}`;
  model.expected = [0, expected];
  model.accepted = acceptance(o.config ?? view.Config, expected);
  model.box = null;
  if (b) {
    const half = b.Error / Math.SQRT2; // both edges alike, where their own errors are not told
    model.box = { ok: Boolean(b.OK), from: b.From, to: b.To, width: b.Width, error: b.Error, fromError: b.FromError ?? half, toError: b.ToError ?? half, height: b.Height, background: b.Background, entries: b.Entries, why: b.Why ?? "" };
  }
  model.state = judge(model.box, model.accepted);
  const sign = model.state === "ok" ? "✓ " : model.state === "bad" ? "! " : "";
  const expectedText = `expected ${fixed(expected)}`, accepted = model.accepted ? `, accepted ${model.accepted.width.map(v => fixed(v)).join(" … ")}` : "";
  model.label = model.box?.ok ? `${pm(b.Width, b.Error)} ns · ${expectedText}${accepted}` : model.box?.why ? `no fit: ${model.box.why}` : "";
  model.strong = !model.label ? null : model.box.ok ? [`${sign}${pm(b.Width, b.Error)} ns`, expectedText + accepted, model.state, expectedText] : [`${sign}no fit`, model.box.why, model.state];
  if (!model.empty) {
    // the axis ends where there is nothing to see of a box; what lies beyond is counted as over
    const hi = Math.min(model.x.hi, o.to ?? Math.ceil(expected * 1.6 / 50) * 50);
    if (hi < model.x.hi) {
      model.x.hi = hi;
      for (const s of model.sets) {
        s.beyond = 0;
        s.counts.forEach((c, i) => { if (model.edges[i] >= hi) s.beyond += c; });
      }
    }
    if (model.box?.ok) model.summary = model.summary.replace(/\.$/, `, box from ${sig(b.From, 3)} to ${sig(b.To, 3)} ns, width ${pm(b.Width, b.Error)} ns, ${expectedText}${accepted}${model.state === "bad" ? ": out of bounds" : ""}.`);
    else if (model.box?.why) model.summary = model.summary.replace(/\.$/, `, ${model.label}.`);
  }
  return model;
}

// acceptance is what the server's thresholds accept; null where it judges by a reference, whose box the page does not have.
function acceptance(config, expected) {
  const t = config?.Thresholds?.drift_box;
  if (!t || config.Reference) return null;
  return { width: [expected - t.narrower_ns, expected + t.wider_ns], from: [-t.edge_ns, t.edge_ns], sigmas: t.sigmas, least: t.least };
}

// judge is the server's rule (THRESHOLDS.md), for this box.
function judge(box, accepted) {
  if (!box || !accepted || box.entries < accepted.least) return "unknown";
  if (!box.ok) return "bad";
  const within = (v, error, [lo, hi]) => v >= lo - accepted.sigmas * error && v <= hi + accepted.sigmas * error;
  return within(box.width, box.error, accepted.width) && within(box.from, box.fromError, accepted.from) ? "ok" : "bad";
}

export function draw(f, model) {
  steps.draw(f, model, { painter: draw, table, head: () => (f.height < 120 ? 0 : 11), label: model.strong, after });
}

function after(f, model, a) {
  const inside = v => Math.max(a.x0, Math.min(a.x1, a.x(v)));
  const seen = v => a.x(v) >= a.x0 - 0.5 && a.x(v) <= a.x1 + 0.5;
  const [e0, e1] = model.expected;
  const y = a.y0 - 6;
  const roomy = f.height >= 120;

  // expected: a pale bracket above the plot
  const ends = v => (seen(v) ? `M${a.crisp(inside(v))} ${y - 3}v7` : "");
  set(f.one("marks", "expected", "path"), { d: roomy && !model.empty ? `M${round(inside(e0))} ${a.crisp(y)}H${round(inside(e1))}${ends(e0)}${ends(e1)}` : "M0 0" });

  const b = model.box;
  const bands = pool(f.group("back", "edges"), "rect", b?.ok ? 2 : 0);
  const fit = f.one("marks", "fit", "path");
  if (!b?.ok || model.empty) {
    set(fit, { d: "M0 0" });
    set(f.one("marks", "fit-edges", "path"), { d: "M0 0" });
    return;
  }
  [[b.from, b.fromError], [b.to, b.toError]].forEach(([v, e], i) => {
    const x = inside(v - e), w = inside(v + e) - x;
    set(bands[i], { x: round(w < 2 && seen(v) ? inside(v) - 1 : x), y: a.y0, width: round(seen(v) ? Math.max(2, w) : w), height: a.y1 - a.y0 });
  });
  const k = model.sets[0].factor;
  const high = round(a.y((b.height + b.background) * k)), low = round(a.y(Math.max(b.background * k, 0)));
  let d = "";
  set(f.one("marks", "fit-edges", "path"), { d: [b.from, b.to].filter(seen).map(v => `M${round(a.x(v))} ${a.y1}V${a.y0}`).join("") || "M0 0" });
  if (high >= a.y0) d += `M${round(inside(b.from))} ${high}H${round(inside(b.to))}`;
  if (b.background > 0) d += `M${a.x0} ${low}H${round(inside(b.from))}M${round(inside(b.to))} ${low}H${a.x1}`;
  set(fit, { d });
}

export function table(model) {
  const t = steps.table(model);
  const blank = Array(Math.max(0, t.head.length - 3)).fill("");
  const b = model.box;
  if (b) {
    const n = v => Number(v.toPrecision(6));
    const rows = b.ok
      ? [["box", "from (ns)", n(b.from)], ["box", "to (ns)", n(b.to)], ["box", "width (ns)", n(b.width)], ["box", "± width (ns)", n(b.error)], ["box", "height", n(b.height)], ["box", "background", n(b.background)], ["box", "entries", b.entries]]
      : [["box", "no fit", b.why]];
    rows.push(["box", "expected (ns)", model.expected[1]]);
    if (model.accepted) rows.push(["box", "accepted from (ns)", model.accepted.width[0]], ["box", "accepted to (ns)", model.accepted.width[1]], ["box", "state", model.state]);
    t.rows = [...rows.map(r => [...r, ...blank]), ...t.rows];
  }
  return t;
}
