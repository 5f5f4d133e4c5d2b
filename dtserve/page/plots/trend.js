// Lines over detector time: rates of the chambers, triggers, or one chamber's rate (small).
//
//   series(rows, o) → model. rows: {Columns, Rows} as /api/trend gives them (or Rows with o.columns). o:
//     quantity  "rates" (all chambers; id trend:rates), "triggers" (id trend:triggers), "rate" (of o.chamber; id rate:N)
//     chamber   1 …, for "rate"
//     cursor    id of the window that is looked at: a line; picked: [from, to] ids of the span that is shown: a band
//     alarms    State.Alarms: marks at the window in which they were raised (of o.chamber only, for "rate")
//     smooth    s of the running mean beside the windows' own values (default: of triggers, and where there are many
//               windows, 60 or more, as the history is long; 0: none)
//     log, title, span, hold
//   model: ids, x {…}, at [[from, to], …] in s of detector time along the axis, sets [{name, c, counts, values (Hz), errors, mean}],
//     breaks [{x, text}], marks [{x, id, severity, text}], lacks [bool]: windows that are not complete
//   draw(frame, model); table(model)
//   onPick(id of the window)
//
// The axis is detector time of the newest epoch; older epochs and runs stand left of it, each with its own times, apart by a mark
// "counter restart" or "new run". A window that is missing leaves a gap. Where there are more windows than pixels, each column of
// pixels draws its lowest and highest value.

import { set, pool, text, round, ticks } from "./frame.js";
import { lack } from "../say.js";
import { int, fixed, hz, pm, plural, duration, time, dateTime } from "../format.js";

const MANY = 400;   // windows: more of them, one beside the other, are a block

// meanOf is over how many seconds the running mean of a history goes: 60 s, more where that would be a block, too.
const meanOf = length => [60, 120, 300, 600, 1200, 1800].find(s => s >= length / 80) ?? 3600;

export function series(rows, o = {}) {
  const columns = rows.Columns ?? o.columns ?? [];
  const list = rows.Rows ?? rows;
  const col = Object.fromEntries(columns.map((name, i) => [name, i]));
  const q = o.quantity ?? "rates";
  const chambers = columns.filter(name => /^Count_\d+$/.test(name)).map(name => Number(name.slice(6)));
  const model = {
    id: q === "rate" ? `rate:${o.chamber}` : `trend:${q}`, quantity: q, chamber: q === "rate" ? o.chamber : undefined,
    title: o.title ?? (q === "rates" ? "Rates of the chambers" : q === "triggers" ? "Triggers" : `Rate of chamber ${o.chamber}`),
    x: { label: "detector time (s)", short: "time (s)", unit: "s", zoomKey: "trend" }, y: { label: "Hz", log: Boolean(o.log) },
    ids: [], at: [], sets: [], breaks: [], marks: [], empty: "", hold: o.hold, note: "",
  };
  const get = (row, name) => row[col[name]];
  const n = list.length;
  // lines of the first pipeline tell no times: their counts stand one after the other
  model.timeless = n > 0 && list.every(row => !(get(row, "End") > get(row, "Start")));
  const from = row => (model.timeless ? get(row, "Id") : get(row, "Start")), to = row => (model.timeless ? get(row, "Id") + 1 : get(row, "End"));
  const live = row => (model.timeless ? 1 : get(row, "Live") ?? 0);
  if (model.timeless) {
    model.x = { label: "result line", zoomKey: "trend" };
    model.y.label = q === "triggers" ? "triggers / line" : "hits / line";
  }
  model.wall = n > 0 && get(list[n - 1], "Start") > 1e9; // windows by the wall clock have unix times
  if (model.wall) Object.assign(model.x, { label: "time of day", short: "time" });
  model.rows = list;
  model.col = col;
  model.words = list.map(row => (model.timeless ? "" : lack({ Missing: get(row, "Missing"), Lanes: get(row, "Lanes"), Complete: get(row, "Complete"), Revision: get(row, "Revision"), Start: from(row), End: to(row) })));
  model.lacks = list.map(row => !model.timeless && get(row, "Complete") === 0);
  if (!n) {
    model.empty = "no window yet";
    model.x.lo = 0;
    model.x.hi = 1;
    model.x.zoom = false;
    model.segments = [];
    model.gap = [];
    model.summary = `${model.title}: no window yet.`;
    return model;
  }

  // segments: stretches of one run and epoch with ascending times
  const segments = [];
  let before = null;
  for (let i = 0; i < n; i++) {
    const row = list[i];
    const fresh = !before || get(row, "Run") !== get(before, "Run") || get(row, "Epoch") !== get(before, "Epoch") || from(row) < from(before);
    if (fresh) segments.push({ i, j: i, run: get(row, "Run"), t0: from(row), t1: to(row) });
    const s = segments[segments.length - 1];
    s.j = i;
    s.t1 = Math.max(s.t1, to(row));
    before = row;
  }
  const length = segments.reduce((sum, s) => sum + s.t1 - s.t0, 0);
  const apart = segments.length > 1 ? Math.max(length * 0.012, 1e-3) : 0;
  let x = 0;
  for (let k = segments.length - 1; k >= 0; k--) {
    const s = segments[k];
    s.shift = k === segments.length - 1 ? 0 : x - apart - s.t1; // axis = detector time + shift
    s.x0 = s.t0 + s.shift;
    s.x1 = s.t1 + s.shift;
    x = s.x0;
  }
  for (let k = 1; k < segments.length; k++) {
    model.breaks.push({ x: segments[k].x0 - apart / 2, text: segments[k].run !== segments[k - 1].run ? "new run" : "counter restart" });
  }
  model.segments = segments;
  model.x.lo = segments[0].x0;
  model.x.hi = segments[segments.length - 1].x1;
  for (const s of segments) for (let i = s.i; i <= s.j; i++) {
    model.ids.push(get(list[i], "Id"));
    model.at.push([from(list[i]) + s.shift, to(list[i]) + s.shift]);
  }
  const lengths = model.at.map(([a, b]) => b - a).sort((a, b) => a - b);
  const usual = lengths[lengths.length >> 1] || 1;
  model.x.step = usual;
  const starts = new Set(segments.map(s => s.i));
  model.gap = model.at.map(([a], i) => i === 0 || starts.has(i) || a - model.at[i - 1][1] > usual * 0.3); // a gap before this window

  const wanted = q === "rates" ? chambers.map(c => [`chamber ${c}`, "c" + ((c - 1) % 4 + 1), "Count_" + c])
    : q === "rate" ? [[`chamber ${o.chamber}`, "c" + ((o.chamber - 1) % 4 + 1), "Count_" + o.chamber]] : [["triggers", "accent", "Triggers"]];
  for (const [name, c, key] of wanted) {
    const counts = list.map(row => get(row, key) ?? 0);
    const lives = list.map(live);
    const s = { name, role: "data", c, counts, values: counts.map((v, i) => (lives[i] > 0 ? v / lives[i] : NaN)), errors: counts.map((v, i) => (lives[i] > 0 ? Math.sqrt(v) / lives[i] : NaN)) };
    const smooth = o.smooth ?? (q === "triggers" || (q === "rates" && n > MANY) ? meanOf(length) : 0);
    if (smooth > usual) {
      const mean = running(model, counts, lives, smooth);
      if (mean.some(v => v >= 0)) s.mean = mean;
    }
    model.smooth = s.mean ? smooth : 0;
    model.sets.push(s);
  }
  const index = new Map(model.ids.map((id, i) => [id, i]));
  for (const a of o.alarms ?? []) {
    if (q === "rate" && a.Chamber !== o.chamber) continue;
    const i = index.get(a.Raised_Id);
    if (i !== undefined) model.marks.push({ x: model.at[i][0], i, id: a.Raised_Id, severity: a.Severity ?? "alarm", text: a.Text ?? a.Kind ?? "alarm" });
  }
  if (o.cursor !== undefined && index.has(o.cursor)) model.cursor = index.get(o.cursor);
  if (o.picked) {
    const i = model.ids.findIndex(id => id >= o.picked[0]), j = model.ids.findLastIndex(id => id <= o.picked[1]);
    if (i >= 0 && j >= i) model.picked = [i, j];
  }
  const newest = model.sets.map(s => `${s.name} ${model.timeless ? int(s.counts[n - 1]) : hz(s.values[n - 1])}`);
  const parts = [o.span ?? (model.timeless ? `${plural(n, "result line")}, without times` : `${plural(n, "window")} of ${duration(usual)}`)];
  if (model.smooth) parts.push(`thick: mean of ${duration(model.smooth)}`);
  if (q === "triggers") {
    const seconds = list.reduce((s, row) => s + (get(row, "Live") ?? 0), 0), all = model.sets[0].counts.reduce((s, v) => s + v, 0);
    if (model.timeless && !all) model.empty = "not in these result lines";
    else parts.push(`${plural(all, "trigger")}${seconds > 0 ? `, mean ${pm(all / seconds, Math.sqrt(all) / seconds)} Hz` : ""}`);
  }
  const lacking = model.lacks.filter(Boolean).length;
  if (lacking) parts.push(`${int(lacking)} incomplete`);
  model.note = parts.join(" · ");
  model.summary = `${model.title}: ${plural(n, "window")}, newest ${newest.join(", ")}${model.breaks.length ? `, ${plural(model.breaks.length, "restart")}` : ""}${model.marks.length ? `, ${plural(model.marks.length, "alarm")}` : ""}.`;
  return model;
}

// running is the mean rate of the last `seconds` of each segment, from half of them on.
function running(model, counts, lives, seconds) {
  const out = [];
  for (const s of model.segments) {
    let from = s.i, sum = 0, live = 0;
    for (let i = s.i; i <= s.j; i++) {
      sum += counts[i];
      live += lives[i];
      while (model.at[i][1] - model.at[from][0] > seconds * 1.001) {
        sum -= counts[from];
        live -= lives[from];
        from++;
      }
      out[i] = live > seconds / 2 ? sum / live : NaN;
    }
  }
  return out;
}

export function draw(f, model) {
  if (!f.begin(model, draw, table)) return;
  const { at, sets } = model;
  const n = at.length;
  const [lo, hi] = f.range(model.x.lo, model.x.hi);
  let first = 0, last = n - 1;
  while (first < last && at[first][1] <= lo) first++;
  while (last > first && at[last][0] >= hi) last--;

  const bare = f.height < 96;
  const columns = Math.max(10, Math.round(f.width - 50));
  const dense = last - first + 1 > columns * 0.8;
  let most = 0, least = Infinity;
  for (const s of sets) for (let i = first; i <= last && n; i++) {
    for (const v of s.mean ? [s.values[i], s.mean[i]] : [s.values[i]]) if (v >= 0) {
      most = Math.max(most, v);
      if (v > 0) least = Math.min(least, v);
    }
  }
  const log = model.y.log;
  const [bottom, top] = f.yRange(model, most, { min: least === Infinity ? 0 : least, log, key: `${model.id} ${log} ${lo === model.x.lo && hi === model.x.hi ? "" : lo + " " + hi}` });
  const hours = hi - lo > 4 * 3600 && !model.wall && !model.timeless;
  const several = sets.length > 1;
  const a = f.axes({
    x: { lo, hi, label: bare ? "" : hours ? "detector time (h)" : model.x.label, short: hours ? "time (h)" : model.x.short, bare, ticks: timeTicks(f, model, lo, hi, hours) },
    y: { lo: bottom, hi: top, log, label: f.height < 70 ? "" : model.y.label }, // as a spark line the numbers stand beside it
    legend: several ? sets.map(s => ({ name: f.small ? s.name.replace("chamber ", "") : s.name, c: s.c, kind: "line" })) : [],
  });

  // the span that is shown elsewhere, as a band; the cursor as a line
  const band = pool(f.group("back", "picked"), "rect", model.picked ? 1 : 0);
  if (model.picked) {
    const x0 = Math.max(a.x0, a.x(at[model.picked[0]][0])), x1 = Math.min(a.x1, a.x(at[model.picked[1]][1]));
    set(band[0], { x: round(x0), y: a.y0, width: round(Math.max(x1 > x0 ? 1.5 : 0, x1 - x0)), height: a.y1 - a.y0 });
  }
  const cursor = f.one("marks", "scrub", "path");
  let here = "M0 0";
  if (model.cursor !== undefined) {
    const x = a.x((at[model.cursor][0] + at[model.cursor][1]) / 2);
    if (x >= a.x0 && x <= a.x1) here = `M${a.crisp(x)} ${a.y1}V${a.y0}m-4 -4h8l-4 5Z`;
  }
  set(cursor, { d: here });

  // restarts
  const breaks = model.breaks.filter(b => b.x > lo && b.x < hi);
  set(f.one("back", "breaks", "path"), { d: breaks.map(b => `M${a.crisp(a.x(b.x))} ${a.y0}V${a.y1}`).join("") || "M0 0" });

  // windows that lack something, along the axis
  let under = "", until = -Infinity;
  for (let i = first; i <= last && n; i++) {
    if (!model.lacks[i]) continue;
    const x0 = Math.max(a.x0, a.x(at[i][0]), until), x1 = Math.min(a.x1, Math.max(a.x(at[i][1]), x0 + 1.5));
    if (x1 <= x0) continue;
    under += `M${round(x0)} ${a.y1 - 3}H${round(x1)}V${a.y1}H${round(x0)}Z`;
    until = x1;
  }
  set(f.one("marks", "lacking", "path"), { d: under || "M0 0" });

  // the lines; those with a running mean are pale
  const lines = pool(f.group("data", "lines"), "path", sets.length * 2);
  sets.forEach((s, k) => {
    set(lines[2 * k], { d: path(model, s.values, first, last, a, dense), class: `line ${s.c} ${s.mean ? (dense ? "faint" : "pale") : ""}` });
    set(lines[2 * k + 1], { d: s.mean ? path(model, s.mean, first, last, a, dense, true) : "M0 0", class: `line ${s.c} strong` });
  });

  // alarms, above
  const marks = model.marks.filter(m => m.x >= lo && m.x <= hi);
  const signs = pool(f.group("marks", "alarms"), "path", marks.length);
  marks.forEach((m, i) => {
    const x = round(a.x(m.x));
    set(signs[i], { d: `M${x} ${a.y1}V${a.y0 + 4}M${x - 4} ${a.y0 + 6}h8l-4 -7Z`, class: m.severity });
  });

  // the words of restarts, below the alarms' signs
  const words = pool(f.group("marks", "break-text"), "text", bare ? 0 : breaks.length);
  let taken = -Infinity;
  for (let i = 0; i < words.length; i++) {
    const b = breaks[i], w = f.measure(b.text), right = a.x(b.x) + 4;
    const x = right + w > a.x1 ? right - 8 - w : right;
    const fits = x > taken && x > a.x0;
    text(set(words[i], { x: round(x), y: round(a.y0 + f.px + 8) }), fits ? b.text : "");
    if (fits) taken = x + w + 6;
  }

  const find = px => {
    if (!n || px < a.x0 - 4 || px > a.x1 + 4) return null;
    const v = f.valueAt(px);
    let l = 0, r = n - 1;
    while (l < r) {
      const m = (l + r) >> 1;
      if (at[m][1] < v) l = m + 1;
      else r = m;
    }
    // in a gap: the nearer of both
    if (l > 0 && v < at[l][0] && v - at[l - 1][1] < at[l][0] - v) l--;
    return Math.max(first, Math.min(last, l));
  };
  // the cursor stays on its window, also when older ones have gone
  if (f.at !== null && model.ids[f.at] !== f.atId) {
    const i = model.ids.indexOf(f.atId);
    if (i < 0) f.hide();
    else f.at = i;
  }
  f.end(n ? {
    n, find, start: model.cursor ?? last, first: 0, last: n - 1,
    follow(i) {
      const x = (at[i][0] + at[i][1]) / 2;
      if (x < lo || x > hi) f.setZoom([x - (hi - lo) / 2, x + (hi - lo) / 2]);
    },
    show(i) {
      f.atId = model.ids[i];
      const x = a.x((at[i][0] + at[i][1]) / 2);
      if (x < a.x0 - 1 || x > a.x1 + 1) return null;
      let dots = "";
      for (const s of sets) if (s.values[i] >= 0) {
        const y = round(a.y(s.values[i]));
        dots += `M${round(x - 2.5)} ${y}a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0`;
      }
      return { x, path: `M${a.crisp(x)} ${a.y0}V${a.y1}${dots}`, lines: readout(model, i) };
    },
    pick: i => model.ids[i],
  } : null);
}

// path of values: steps where a window is wide enough to see, else points joined; broken at gaps.
function path(model, values, first, last, a, dense, smooth) {
  const { at, gap } = model;
  if (!at.length) return "M0 0";
  let d = "";
  const clampX = x => Math.max(a.x0, Math.min(a.x1, x)), Y = v => round(Math.max(a.y0 - 1, a.y(v)));
  if (dense) {
    let column = null, low = 0, high = 0, pen = false, entry = 0, exit = 0;
    const flush = () => {
      if (column === null) return;
      const x = column + 0.5;
      d += `${pen ? "L" : "M"}${x} ${Y(smooth ? exit : entry)}`;
      if (high !== low && !smooth) d += `V${Y(low)}V${Y(high)}V${Y(exit)}`;
      else if (!pen) d += "h0.6";
      pen = true;
      column = null;
    };
    for (let i = first; i <= last; i++) {
      const v = values[i];
      const c = Math.floor(clampX(a.x((at[i][0] + at[i][1]) / 2)));
      if (gap[i] || !(v >= 0)) {
        // a gap narrower than a pixel is not to be seen, a wider one breaks the line
        if (column !== null && c !== column) { flush(); pen = false; }
        else if (column === null) pen = false;
      }
      if (!(v >= 0)) continue;
      if (column !== null && c !== column) flush();
      if (column === null) { column = c; low = high = entry = v; }
      low = Math.min(low, v);
      high = Math.max(high, v);
      exit = v;
    }
    flush();
    return d || "M0 0";
  }
  const wide = (a.x1 - a.x0) / (last - first + 1) >= 4 && !smooth;
  let pen = false;
  for (let i = first; i <= last; i++) {
    const v = values[i];
    if (gap[i]) pen = false;
    if (!(v >= 0)) { pen = false; continue; }
    const x0 = round(clampX(a.x(at[i][0]))), x1 = round(clampX(a.x(at[i][1]))), y = Y(v);
    if (wide) d += pen ? `V${y}H${x1}` : `M${x0} ${y}H${x1}`;
    else {
      const alone = (i === last || gap[i + 1] || !(values[i + 1] >= 0)) && !pen;
      d += alone ? `M${x0} ${y}H${Math.max(x1, x0 + 1)}` : `${pen ? "L" : "M"}${round((x0 + x1) / 2)} ${y}`;
    }
    pen = true;
  }
  return d || "M0 0";
}

// timeTicks are ticks of each segment's own detector time.
function timeTicks(f, model, lo, hi, hours) {
  const unit = hours ? 3600 : 1, px = (f.width - 50) / (hi - lo || 1);
  const t = ticks(lo / unit, hi / unit, Math.max(2, Math.floor((f.width - 50) / (f.small ? 58 : 84))));
  const step = t.step;
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const out = [];
  if (model.wall) {
    const room = Math.max(2, Math.floor((f.width - 50) / (f.small ? 66 : 90)));
    const every = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400].find(v => (hi - lo) / v <= room) ?? 7 * 86400;
    for (let k = Math.ceil(lo / every); k * every <= hi; k++) out.push({ at: k * every, text: every < 60 ? time(k * every) : time(k * every).slice(0, 5) });
    return out;
  }
  for (const s of model.segments) {
    const from = Math.max(s.x0, lo), to = Math.min(s.x1, hi);
    for (let k = Math.ceil((from - s.shift) / unit / step - 1e-9); k * step * unit + s.shift <= to + 1e-9; k++) {
      const at = k * step * unit + s.shift, name = fixed(k * step, decimals), before = out[out.length - 1];
      if (before && (at - before.at) * px < (f.measure(name) + f.measure(before.text)) / 2 + 10) continue;
      out.push({ at, text: name });
    }
  }
  return out;
}

function readout(model, i) {
  const row = model.rows[i], get = name => row[model.col[name]];
  const lines = model.timeless ? [] : [model.wall ? `${dateTime(get("Start"))} – ${time(get("End"))}` : `${fixed(get("Start"), 1)} – ${fixed(get("End"), 1)} s`];
  const arrived = get("Arrived");
  lines.push([model.timeless ? `result line ${int(get("Id"))}` : `window ${int(get("Number"))}`, arrived > 0 ? `arrived ${time(arrived)}` : "", model.words[i]].filter(Boolean).join(" · "));
  for (const s of model.sets) {
    const v = s.values[i];
    const mean = s.mean?.[i] >= 0 ? ` · mean of ${duration(model.smooth)}: ${hz(s.mean[i])}` : "";
    if (model.timeless) lines.push(`${s.name}: ${plural(s.counts[i], "hit")}`);
    else lines.push(`${s.name}: ${v >= 0 ? `${pm(v, s.errors[i])} Hz` : "no live time"}${model.quantity === "rates" ? "" : ` (${int(s.counts[i])})`}${mean}`);
  }
  for (const m of model.marks) if (m.i === i) lines.push((m.severity === "warning" ? "warning: " : "alarm: ") + m.text);
  return lines;
}

export function table(model) {
  const get = (row, name) => row[model.col[name]];
  const number = v => (Number.isFinite(v) ? Number(v.toPrecision(8)) : "");
  const head = ["window id", "epoch", "start (s)", "end (s)"];
  for (const s of model.sets) head.push(`${s.name}: ${s.name === "triggers" ? "count" : "hits"}`, `${s.name}: Hz`);
  const some = model.words?.some(Boolean);
  if (some) head.push("note");
  const rows = model.rows.map((row, i) => {
    const out = [get(row, "Id"), get(row, "Epoch"), number(get(row, "Start")), number(get(row, "End"))];
    for (const s of model.sets) out.push(s.counts[i], number(s.values[i]));
    if (some) out.push(model.words[i]);
    return out;
  });
  return { caption: `${model.title}: ${model.note}`, head, rows };
}
