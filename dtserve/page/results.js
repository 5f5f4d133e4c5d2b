// Result lines (as dthist writes them, one JSON object a line) → one View, as the server would send it.
//
//   sumLines(text) → View; throws an Error that says which line is wrong
//
// Lines with other Settings or bins than the last one's are left out and counted (Span.Left_Out); of a window that came again its last revision counts. What only the server can
// say (fitted boxes, verdicts on wires, sources) is not in it.

import { ORBIT } from "./format.js";

const JOIN = 11223;     // orbits: live stretches that are no farther apart are one

export function sumLines(text) {
  const lines = [];
  text.split("\n").forEach((line, i) => {
    if (!line.trim()) return;
    let object;
    try {
      object = JSON.parse(line);
    } catch {
      throw new Error(`line ${i + 1} is not JSON`);
    }
    if (object.Progress) return;
    if (!object.Chamber_1?.Hist_1) throw new Error(`line ${i + 1} is not a result line (no Chamber_1)`);
    lines.push(object);
  });
  if (!lines.length) throw new Error("there is no result line in it");
  const last = lines[lines.length - 1];
  const name = w => (w?.Number >= 0 ? `${w.Epoch} ${w.Number} ${w.Run}` : "");
  const latest = new Map();
  for (const { Settings, Window: w } of lines) if (Settings === last.Settings && name(w)) latest.set(name(w), Math.max(w.Revision ?? 0, latest.get(name(w)) ?? 0));
  const stands = w => !name(w) || (w.Revision ?? 0) === latest.get(name(w));
  const same = lines.filter(l => l.Settings === last.Settings && stands(l.Window));
  const windows = same.map(l => l.Window).filter(Boolean);
  const live = liveOf(windows);
  // Of bins that reach as far as the data, and of FPGAs' last orbits, those of the last run and epoch are taken.
  const spanOf = l => l.Window?.Spans?.at(-1) ?? { Run: "", Epoch: 0 };
  const later = (a, b) => (a.Run === b.Run ? a.Epoch > b.Epoch : a.Run > b.Run);
  const end = same.map(spanOf).reduce((a, b) => (later(b, a) ? b : a));
  const isLast = same.map(l => !later(end, spanOf(l)));
  const rate = n => (live > 0 ? { Rate: n / live } : {});
  const hits = total(same.map(l => l["Total Count"] ?? 0));

  const view = {
    Span: {
      From: 0, To: 0, Windows: same.length, Left_Out: lines.filter(l => l.Settings !== last.Settings).length, Run: windows.findLast(w => w.Run)?.Run ?? "", Epoch: windows.findLast(w => w.Run)?.Epoch ?? 0,
      Start: Math.min(...windows.map(w => w.Start ?? Infinity)), End: Math.max(...windows.map(w => w.End ?? -Infinity)),
      Seconds: total(windows.map(w => w.Seconds ?? 0)), Live: live, Complete: same.every(l => l.Complete !== 0) ? 1 : 0,
      Arrived: [same[0].Index ?? 0, last.Index ?? 0], Stale: 0, Clock: windows[0]?.Clock ?? "",
    },
    Settings: last.Settings ?? "", Total: hits, ...rate(hits), Chambers: [], FPGAs: [],
  };
  for (const key of ["Start", "End"]) if (!Number.isFinite(view.Span[key])) view.Span[key] = 0;

  for (let n = 1; last["Chamber_" + n]; n++) {
    const all = same.map(l => l["Chamber_" + n]);
    const newest = last["Chamber_" + n];
    if (!all.every(Boolean)) throw new Error(`not every line has Chamber_${n}`);
    const c = { Count: total(all.map(x => x.Count)), Late: total(all.map(x => x.Late ?? 0)) };
    Object.assign(c, rate(c.Count));
    for (const key of ["Hist_1", "Hist_2", "Hist_3", "Hist_4"]) if (newest[key]) c[key] = sumHists(all.map(x => x[key]), `${key} of chamber ${n}`, isLast);
    for (const key of ["Occupancy", "Scintillator", "Multiplicity", "Trigger_Multiplicity"]) if (newest[key]) c[key] = sumLists(all.map(x => x[key]));
    for (const key of ["Drift_Layer", "Efficiency"]) if (newest[key]) c[key] = newest[key].map((_, i) => sumLists(all.map(x => x[key][i])));
    view.Chambers.push(c);
  }
  const triggers = same.map(l => l.Trigger).filter(Boolean);
  if (triggers.length) {
    view.Trigger = { Hits: total(triggers.map(t => t.Hits)), Orbits: total(triggers.map(t => t.Orbits)) };
    Object.assign(view.Trigger, rate(view.Trigger.Orbits));
  }
  for (let f = 0; f < 8; f++) {
    const all = same.map(l => l["FPGA_" + f]);
    if (!all.every(Boolean)) continue;
    const n = total(all.map(x => x.Hits)), orbit = Math.max(...all.map((x, i) => (isLast[i] ? x.Last ?? -1 : -1)));
    view.FPGAs.push({ FPGA: f, Hits: n, ...rate(n), ...(orbit >= 0 ? { Last: orbit } : {}), BX: sumHists(all.map(x => x.BX), `BX of FPGA ${f}`, isLast), TDC: sumLists(all.map(x => x.TDC)) });
  }
  return view;
}

const total = list => list.reduce((s, v) => s + v, 0);

function sumLists(lists) {
  const out = [];
  for (const list of lists) list.forEach((v, i) => { out[i] = (out[i] ?? 0) + v; });
  return out;
}

// liveOf is the length of all live stretches, those of a run and epoch joined where they nearly touch.
function liveOf(windows) {
  const by = new Map();
  for (const span of windows.flatMap(w => w.Spans ?? [])) {
    const key = `${span.Epoch} ${span.Run}`;
    by.set(key, [...(by.get(key) ?? []), ...span.Live]);
  }
  if (!by.size) return total(windows.map(w => w.Live ?? 0));
  let orbits = 0;
  for (const stretches of by.values()) {
    stretches.sort((a, b) => a[0] - b[0]);
    let [from, to] = stretches[0] ?? [0, 0];
    for (const [a, b] of stretches) {
      if (a - to > JOIN) {
        orbits += to - from;
        from = a;
      }
      to = Math.max(to, b);
    }
    orbits += to - from;
  }
  return orbits * ORBIT;
}

// sumHists adds histograms, which must have the same bins; but bins with Auto are as far as their window reaches, at
// multiples of one width.
function sumHists(hists, name, isLast) {
  const newest = hists[hists.length - 1];
  const out = { Underflow: total(hists.map(h => h.Underflow ?? 0)), Overflow: total(hists.map(h => h.Overflow ?? 0)) };
  if (!newest.Auto) {
    if (hists.some(h => h.Bins.join() !== newest.Bins.join())) throw new Error(`lines with different bins: ${name}`);
    return { ...axis(newest), Counts: sumLists(hists.map(h => h.Counts)), ...out };
  }
  const width = newest.Auto;
  let from = Infinity, to = -Infinity;
  hists.forEach((h, i) => {
    if (!isLast[i] || !h.Bins.length) return;
    from = Math.min(from, h.Bins[0]);
    to = Math.max(to, h.Bins[h.Bins.length - 1]);
  });
  const counts = new Array(from <= to ? (to - from) / width + 1 : 0).fill(0);
  hists.forEach((h, i) => h.Counts.forEach((n, k) => {
    if (isLast[i]) counts[(h.Bins[k] - from) / width] += n;
    else out.Overflow += n;
  }));
  return { Axis: [counts.length ? from : 0, width, counts.length], Counts: counts, ...out, Auto: width };
}

function axis(h) {
  const bins = h.Bins, width = bins.length > 1 ? bins[1] - bins[0] : 1;
  const even = bins.every((b, i) => Math.abs(b - bins[0] - i * width) < 1e-6 * Math.abs(width));
  return even ? { Axis: [bins[0], width, bins.length] } : { Bins: bins };
}
