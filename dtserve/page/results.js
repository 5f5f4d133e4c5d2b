// Result lines (as dthist writes them, one JSON object a line) → one View, as the server would send it.
//
//   sumLines(text) → View; throws an Error that says which line is wrong
//
// Lines with other Settings or bins than the last one's are left out and counted (Span.Left_Out). What only the server can
// say (fitted boxes, verdicts on wires, sources) is not in it.

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
  const same = lines.filter(l => l.Settings === last.Settings);
  const windows = same.map(l => l.Window).filter(Boolean);
  const live = total(windows.map(w => w.Live ?? 0));
  const rate = n => (live > 0 ? { Rate: n / live } : {});
  const hits = total(same.map(l => l["Total Count"] ?? 0));

  const view = {
    Span: {
      From: 0, To: 0, Windows: same.length, Left_Out: lines.length - same.length, Run: windows.findLast(w => w.Run)?.Run ?? "", Epoch: windows.findLast(w => w.Run)?.Epoch ?? 0,
      Start: Math.min(...windows.map(w => w.Start ?? Infinity)), End: Math.max(...windows.map(w => w.End ?? -Infinity)),
      Seconds: total(windows.map(w => w.Seconds ?? 0)), Live: live, Complete: same.every(l => l.Complete !== 0) ? 1 : 0,
      Arrived: [same[0].Index ?? 0, last.Index ?? 0], Stale: 0, Clock: windows[0]?.Clock ?? "",
    },
    Settings: last.Settings ?? "", Total: hits, ...rate(hits), Chambers: [], FPGAs: [],
  };
  for (const key of ["Start", "End"]) if (!Number.isFinite(view.Span[key])) view.Span[key] = 0;

  for (let n = 1; last["Chamber_" + n]; n++) {
    const all = same.map(l => l["Chamber_" + n]).filter(Boolean);
    const newest = all[all.length - 1];
    const c = { Count: total(all.map(x => x.Count)), Late: total(all.map(x => x.Late ?? 0)) };
    Object.assign(c, rate(c.Count));
    for (const key of ["Hist_1", "Hist_2", "Hist_3", "Hist_4"]) if (newest[key]) c[key] = sumHists(all.map(x => x[key]), key, n);
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
    const all = same.map(l => l["FPGA_" + f]).filter(Boolean);
    if (!all.length) continue;
    const n = total(all.map(x => x.Hits));
    view.FPGAs.push({ FPGA: f, Hits: n, ...rate(n), Last: Math.max(...all.map(x => x.Last ?? -1)), BX: sumHists(all.map(x => x.BX), "BX", f), TDC: sumLists(all.map(x => x.TDC)) });
  }
  return view;
}

const total = list => list.reduce((s, v) => s + v, 0);

function sumLists(lists) {
  const out = [];
  for (const list of lists) list.forEach((v, i) => { out[i] = (out[i] ?? 0) + v; });
  return out;
}

// sumHists adds histograms. Those with Auto have bins as far as their window reaches; all others must have the same.
function sumHists(hists, key, n) {
  const last = hists[hists.length - 1];
  const flow = name => total(hists.map(h => h[name] ?? 0));
  if (!last.Auto) {
    if (hists.some(h => h.Counts.length !== last.Counts.length)) throw new Error(`lines with different bins of ${key}, number ${n}`);
    return { ...axis(last), Counts: sumLists(hists.map(h => h.Counts)), Underflow: flow("Underflow"), Overflow: flow("Overflow") };
  }
  const width = last.Auto, first = hists.flatMap(h => h.Bins[0] ?? []), end = hists.flatMap(h => h.Bins[h.Bins.length - 1] ?? []);
  if (!first.length) return { Axis: [0, width, 1], Counts: [], Underflow: 0, Overflow: 0, Auto: width };
  const lo = Math.min(...first), bins = (Math.max(...end) - lo) / width + 1;
  const wide = bins > 400000; // other epochs are far away: only the last line's own bins
  const from = wide ? last.Bins[0] : lo, count = wide ? last.Bins.length : bins;
  const counts = new Array(count).fill(0);
  let beyond = 0;
  for (const h of hists) {
    h.Bins.forEach((b, i) => {
      const at = (b - from) / width;
      if (at >= 0 && at < count) counts[at] += h.Counts[i];
      else beyond += h.Counts[i];
    });
  }
  return { Axis: [from, width, count], Counts: counts, Underflow: flow("Underflow"), Overflow: flow("Overflow") + beyond, Auto: width };
}

function axis(h) {
  const bins = h.Bins, width = bins.length > 1 ? bins[1] - bins[0] : 1;
  const even = bins.every((b, i) => Math.abs(b - bins[0] - i * width) < 1e-6 * Math.abs(width));
  return even ? { Axis: [bins[0], width, bins.length] } : { Bins: bins };
}
