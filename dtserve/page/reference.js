// The reference that the plots are compared with: the present run as it is now, the server's, or a file's.
//
//   reference.view      expanded View, or null;  reference.name, reference.digest
//   reference.missing   digest that a link asks for and this browser does not have; ""
//   take(view, name)    makes a View the reference and keeps it in this browser
//   takeServer(), takeFile(file), clear()
//   find()              the reference that view.ref names: in this browser, or the server's
//   onChange(call)
//
// A reference is named by the digest of its counts, so that a link says which one it was seen with.

import { expand } from "./expand.js";
import { sumLines } from "./results.js";
import { data } from "./data.js";
import { view, set, remember, recall } from "./view.js";

const KEPT = 8;                 // references in this browser
const KEY = "dtserve.references";
const MOST = 256 << 20;         // bytes of a file

export const reference = { view: null, name: "", digest: "", missing: "" };
const listeners = new Set();
export const onChange = call => listeners.add(call);

export function take(raw, name) {
  if (!raw?.Chambers?.length || !raw.Span) throw new Error("this is neither result lines nor a view of dtserve");
  const plain = counts(raw);
  const digest = digestOf(plain);
  const kept = (recall(KEY) ?? []).filter(r => r.digest !== digest);
  kept.unshift({ digest, name, view: plain });
  remember(KEY, kept.slice(0, KEPT));
  use(plain, name, digest);
  set({ ref: digest, scale: view.scale === "counts" ? "rate" : view.scale }); // counts of other lengths cannot be compared by eye
}

export async function takeServer() {
  const answer = await fetch("/api/reference");
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.Error ?? answer.statusText);
  take(body, data.config.Reference?.Name ?? "the server's reference");
}

export async function takeFile(file) {
  if (file.size > MOST) throw new Error(`${file.name} is larger than 256 MiB`);
  const content = await file.text();
  let whole = null;
  try {
    whole = JSON.parse(content); // one object: a View that was exported, or a single result line
  } catch { /* many lines */ }
  take(whole?.Chambers ? whole : sumLines(content), file.name);
}

export function clear() {
  Object.assign(reference, { view: null, name: "", digest: "", missing: "" });
  set({ ref: "" });
  changed();
}

export async function find() {
  const digest = view.ref;
  if (digest === reference.digest) return;
  if (!digest) {
    clear();
    return;
  }
  const kept = (recall(KEY) ?? []).find(r => r.digest === digest);
  if (kept) {
    use(kept.view, kept.name, digest);
    return;
  }
  Object.assign(reference, { view: null, name: "", digest: "", missing: digest });
  if (data.config?.Reference) {
    try {
      const body = counts(await (await fetch("/api/reference")).json());
      if (digestOf(body) === digest && view.ref === digest) {
        use(body, data.config.Reference.Name, digest);
        return;
      }
    } catch { /* then it stays missing */ }
  }
  changed();
}

function use(plain, name, digest) {
  Object.assign(reference, { view: expand(plain, data.config), name, digest, missing: "" });
  changed();
}

const changed = () => listeners.forEach(call => call());

// counts is what of a View a comparison needs, and nothing that depends on when or where it was made.
function counts(raw) {
  const hist = h => h && { ...(h.Bins ? { Bins: h.Bins } : { Axis: h.Axis }), Counts: trim(h.Counts), Underflow: h.Underflow ?? 0, Overflow: h.Overflow ?? 0 };
  const out = { Span: { Run: raw.Span.Run ?? "", Windows: raw.Span.Windows, Seconds: raw.Span.Seconds, Live: raw.Span.Live }, Total: raw.Total, Rate: raw.Rate };
  out.Chambers = raw.Chambers.map(c => {
    const o = { Count: c.Count, Rate: c.Rate };
    for (const key of ["Hist_1", "Hist_2", "Hist_3", "Hist_4"]) o[key] = hist(c[key]);
    for (const key of ["Occupancy", "Scintillator", "Multiplicity", "Trigger_Multiplicity"]) o[key] = c[key] && trim(c[key]);
    o.Drift_Layer = c.Drift_Layer?.map(trim);
    o.Efficiency = c.Efficiency;
    return o;
  });
  out.Trigger = raw.Trigger && { Hits: raw.Trigger.Hits, Orbits: raw.Trigger.Orbits, Rate: raw.Trigger.Rate };
  out.FPGAs = (raw.FPGAs ?? []).map(f => ({ FPGA: f.FPGA, Hits: f.Hits, BX: hist(f.BX), TDC: f.TDC && trim(f.TDC) }));
  out.Other = (raw.Other ?? []).map(o => ({ Path: o.Path, ...hist(o) }));
  return JSON.parse(JSON.stringify(out)); // without what is undefined
}

function trim(list) {
  let n = list.length;
  while (n > 0 && list[n - 1] === 0) n--;
  return list.slice(0, n);
}

// digestOf is FNV-1a, 64 bits, of the counts with sorted keys. Rates follow from the counts and are left out, as are
// names: the same data have the same digest wherever they were summed.
export function digestOf(plain) {
  const content = JSON.stringify(plain, (key, value) => {
    if (key === "Rate" || key === "Seconds" || key === "Live" || key === "Run") return undefined;
    if (value && typeof value === "object" && !Array.isArray(value)) return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
    return value;
  });
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(content)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, "0");
}
