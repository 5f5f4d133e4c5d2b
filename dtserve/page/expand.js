// expand(view, config): a View as the server sends it (its lists of counts end at the last that is not 0) → a View with
// full lists and edges, which the plots read. Pure; the View given is left as it is.
//
// Every histogram H gains Edges (one more than Counts) and has Counts of full length. An evenly spaced one keeps Axis.
// Occupancy and Scintillator have 64 numbers, Multiplicity 65, Trigger_Multiplicity 17, Drift_Layer 4 lists of Hist_4's
// bins, Efficiency 4 pairs, TDC 32. What a View does not have (bare result lines) stays away.
// The expanded View carries config as Config, so a plot needs no second argument.

const done = new WeakSet();

export function expand(view, config) {
  if (!view || done.has(view)) return view;
  const out = { ...view, Config: config };
  out.Span = { ...view.Span };
  out.Chambers = (view.Chambers ?? []).map(chamber);
  out.FPGAs = (view.FPGAs ?? []).map(f => {
    const g = { ...f };
    if (f.BX) g.BX = hist(f.BX);
    if (f.TDC) g.TDC = pad(f.TDC, 32);
    return g;
  });
  out.Other = (view.Other ?? []).map(hist);
  done.add(out);
  return out;
}

function chamber(c) {
  const out = { ...c };
  for (const key of ["Hist_1", "Hist_2", "Hist_3", "Hist_4"]) if (c[key]) out[key] = hist(c[key]);
  for (const [key, n] of [["Occupancy", 64], ["Scintillator", 64], ["Multiplicity", 65], ["Trigger_Multiplicity", 17]]) {
    if (c[key]) out[key] = pad(c[key], n);
  }
  if (c.Drift_Layer) {
    const n = out.Hist_4 ? out.Hist_4.Counts.length : Math.max(0, ...c.Drift_Layer.map(l => l.length));
    out.Drift_Layer = [0, 1, 2, 3].map(i => pad(c.Drift_Layer[i] ?? [], n));
  }
  if (c.Efficiency) out.Efficiency = [0, 1, 2, 3].map(i => c.Efficiency[i] ?? [0, 0]);
  return out;
}

// pad makes a list of exactly n numbers, with 0 behind the last that was sent.
export function pad(list, n) {
  const out = list.slice(0, n);
  while (out.length < n) out.push(0);
  return out;
}

// hist makes the edges and pads the counts. Bins are lower edges; the last bin is as wide as the one before.
export function hist(h) {
  const out = { ...h, Underflow: h.Underflow ?? 0, Overflow: h.Overflow ?? 0 };
  if (h.Axis) {
    const [lo, width, n] = h.Axis;
    out.Edges = Array.from({ length: n + 1 }, (_, i) => lo + i * width);
    out.Counts = pad(h.Counts ?? [], n);
    return out;
  }
  const bins = h.Bins ?? [];
  const n = bins.length;
  const last = n > 1 ? bins[n - 1] - bins[n - 2] : 1;
  out.Edges = n ? [...bins, bins[n - 1] + last] : [0, 1];
  out.Counts = pad(h.Counts ?? [], Math.max(n, 1));
  return out;
}
