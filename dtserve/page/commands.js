// Shell commands that get the same numbers again from the source.
//
//   recompute(view) → text      the pipe that ends in this span's result line
//   rawHits(view, chamber, channel) → text   the pipe that extracts the hits of one wire
//   sources(view) → [names]     the files or topics that are known

import { data } from "./data.js";
import { ORBIT } from "./format.js";

const DEFAULT_HIST = { Hist_1: [0, 5, 34], Hist_2: [6e5, 5e5, 19], Hist_4: [0, 10, 100] };

const quote = word => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

// sources: the names of this span's lanes, or where no mark has told one yet, those of the run.
export function sources(view) {
  const names = v => [...new Set((v?.Source?.Lanes ?? []).map(l => l.Name).filter(Boolean))];
  const own = names(view);
  return own.length ? own : names(data.state.Whole);
}

function pipe(view) {
  const map = view.Map ?? data.config.Map.Name, lcp = map === "lcp";
  const names = sources(view);
  const cat = ["dtcat", ...(names.length ? names.map(quote) : ["FILE"]), ...(lcp ? ["--from", "lcp"] : []), ...(view.Span.Run ? ["--run", quote(view.Span.Run)] : [])];
  return { cat: cat.join(" "), filter: lcp ? "dtfilter 'HEAD == 2'" : "dtfilter", map: map === "minidt" ? "" : ` --map ${quote(map)}` };
}

export function recompute(view) {
  const { cat, filter, map } = pipe(view);
  const s = view.Span;
  const hist = ["dthist", "--window", s.Clock === "all" ? "all" : lengthOf(s.Windows ? s.Seconds / s.Windows : s.Seconds)];
  if (s.Clock === "wall") hist.push("--clock", "wall");
  for (const [key, flag] of [["Hist_1", "--hist1"], ["Hist_2", "--hist2"], ["Hist_4", "--hist4"]]) {
    const h = view.Chambers[0]?.[key];
    if (!h) continue;
    if (h.Auto) hist.push(flag, h.Auto === 11223 ? "auto" : `auto:${h.Auto}`);
    else if (h.Axis && h.Axis.join() !== DEFAULT_HIST[key].join()) hist.push(flag, `${h.Axis[0]}:${h.Axis[0] + h.Axis[1] * h.Axis[2]}:${h.Axis[1]}`);
  }
  const steps = [cat, filter, `dtchamber${map}`, hist.join(" ")];
  const end = pick(s);
  if (end) steps.push(end);
  return steps.join(" \\\n  | ");
}

// pick selects the span's lines: a detector window is known by its epoch and times.
function pick(s) {
  if (s.Clock !== "detector" || !(s.End > s.Start)) return "";
  const at = seconds => Number(seconds.toFixed(7));
  if (s.Windows === 1) return `jq -c 'select(.Window.Epoch == ${s.Epoch} and .Window.Start == ${at(s.Start)})'`;
  return `jq -c 'select(.Window.Epoch == ${s.Epoch} and .Window.Start >= ${at(s.Start)} and .Window.End <= ${at(s.End)})' \\\n  | dthist --merge --window all`;
}

// lengthOf is the shortest text of a length that comes to the same number of orbits.
function lengthOf(seconds) {
  const orbits = Math.round(seconds / ORBIT);
  for (let decimals = 0; decimals < 7; decimals++) {
    const t = seconds.toFixed(decimals);
    if (Number(t) > 0 && Math.round(Number(t) / ORBIT) === orbits) return Number(t) + "s";
  }
  return seconds + "s";
}

export function rawHits(view, chamber, channel) {
  const { cat } = pipe(view);
  const where = data.config.Map.Chambers[chamber - 1];
  const s = view.Span;
  const terms = ["HEAD == 2", `FPGA == ${where.FPGA}`, `TDC_CHANNEL == ${channel}`];
  if (s.First_Orbit !== undefined && s.Last_Orbit >= s.First_Orbit) terms.push(`between(ORBIT_CNT, ${s.First_Orbit}, ${s.Last_Orbit})`);
  return `${cat} \\\n  | dtfilter '${terms.join(" && ")}' \\\n  | dtcat --to csv`;
}
