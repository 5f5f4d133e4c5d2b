// The state in words: is it OK? Pure: no DOM.
//
//   health(state, acked) → {level: "ok" | "watch" | "warning" | "alarm" | "unknown", text, chambers: [{level, text, detail}], present, open}
//        what the server's alarms and checks come to; watch: out of bounds, but not for as long as an alarm needs, or
//        acknowledged; present: all alarms, open: those without acked(alarm), which says that the viewer has acknowledged it
//   fpgas(view, thresholds) → [{state: "ok" | "silent" | "behind" | "unknown", text, detail}], of FPGA 0 and 1
//   capital(text)
//   silent([3, 7], 8) → "lanes 3 and 7 of 8 were silent"; silent(list, n, true): "are"
//   without([3, 7]) → "without lanes 3 and 7", for where there is little room
//   lack(row) → what the window of a trend row lacks, and whether it came again: "without lane 3", "revision 1", or ""
//   ledgerOf(ledger) → {read, hits, late, scintillator, unassigned, early, pending, ancillary, rejected, balanced, …}

import { int, plural, fixed, sig, ORBIT } from "./format.js";

const NUMBERS = ["no", "one", "two", "three", "four", "five", "six"];
const TRIGGERLESS = 60; // s of live time without a trigger, where there are about 1.5 a second

export function health(state, acked = () => false) {
  const map = state.Config?.Map?.Chambers ?? [];
  const n = map.length || (state.Window?.Chambers?.length ?? 4);
  const present = state.Alarms.filter(a => !a.Cleared);
  const open = present.filter(a => !acked(a));
  const chambers = Array.from({ length: n }, (_, i) => chamberHealth(state, i + 1, map[i]?.FPGA, present, open));
  const told = { chambers, present, open };
  if (open.length) return { ...told, level: level(open), text: capital(sentence(open)) };
  if (present.length) return { ...told, level: "watch", text: `Acknowledged: ${sentence(present)}` };
  if (chambers.every(c => c.level === "unknown")) return { ...told, level: "unknown", text: state.Window?.Bare ? "Only counts are known: no verdicts" : "Too few hits to judge yet" };
  const watched = chambers.flatMap((c, i) => (c.level === "watch" ? [i + 1] : []));
  if (watched.length) return { ...told, level: "watch", text: `No alarms; ${listed("chamber", watched)} ${watched.length === 1 ? "is" : "are"} being watched` };
  const healthy = `${n === 1 ? "The chamber is" : `All ${NUMBERS[n] ?? n} chambers are`} healthy`;
  const { Trigger, Span } = state.Recent ?? {};
  if (Trigger?.Orbits === 0 && Span.Live >= TRIGGERLESS) return { ...told, level: "watch", text: `${healthy}, but there are no triggers` };
  return { ...told, level: "ok", text: healthy };
}

function chamberHealth(state, n, fpga, present, open) {
  const own = list => list.filter(a => a.Chamber === n || (a.Kind === "silent FPGA" && a.FPGA === fpga));
  if (own(open).length) return { level: level(own(open)), text: groups(own(open), false).join(", ") };
  if (own(present).length) return { level: "watch", text: `acknowledged: ${groups(own(present), false).join(", ")}` };
  const checks = (state.Checks ?? []).filter(c => c.Chamber === n), is = word => checks.filter(c => c.State === word);
  const bad = is("bad"), unknown = is("unknown");
  if (bad.length) {
    return { level: "watch", text: `watched, no alarm yet: ${bad.map(c => c.Name).join(", ")}`,
      detail: bad.map(c => `${capital(c.Name)} was ${c.Value} in its last span, which alone raises no alarm; expected: ${c.Rule}.`).join(" ") };
  }
  if (!checks.length) return { level: "unknown", text: "not judged" };
  if (unknown.length === checks.length) return { level: "unknown", text: state.Window?.Bare ? "no verdict" : "too few hits to judge yet" };
  if (!unknown.length) return { level: "ok", text: "healthy" };
  const names = [...new Set(unknown.map(c => c.Name.replace(/^(drift box) .*/, "$1")))];
  const detail = unknown.map(c => `${capital(c.Name)}: ${c.Value || "too few hits yet"}.`).join(" ");
  return names.includes("wires") ? { level: "unknown", text: `alive; not judged yet: ${names.join(", ")}`, detail } : { level: "ok", text: `healthy; not judged yet: ${names.join(", ")}`, detail };
}

export const capital = string => string.charAt(0).toUpperCase() + string.slice(1);
const grave = list => list.filter(a => a.Severity === "alarm");
const level = list => (grave(list).length ? "alarm" : "warning");

// sentence: "4 dead wires in chamber 1, 6 warnings". The worst comes first, and it is short enough for two lines.
function sentence(alarms) {
  const worst = grave(alarms), rest = alarms.length - worst.length;
  const parts = groups(worst.length ? worst : alarms, true);
  const more = worst.length && rest ? `, ${plural(rest, "warning")}` : "";
  return parts.slice(0, 2).join(", ") + (parts.length > 2 ? ` and ${parts.length - 2} more` : "") + more;
}

// PHRASES: what is wrong, by the alarm's kind; of: "chamber 1" or "chambers 1 and 4", "FPGA 0"; many: it is of several.
// In a chamber's own column the name of the chamber is left out.
const PHRASES = {
  "silent chamber": (of, many) => (of ? `${of} ${many ? "are" : "is"} silent` : "silent"),
  "silent FPGA": (of, many) => `${of} ${many ? "are" : "is"} silent`,
  "chamber rate": of => (of ? `the rate of ${of} has changed` : "its rate has changed"),
  "drift box width": of => `the drift box${of ? ` of ${of}` : ""} has a wrong width`,
  "drift box edge": of => `the drift box${of ? ` of ${of}` : ""} begins at a wrong time`,
  "FPGA step": () => "the FPGAs are out of step",
  "BX structure": of => `BX_COUNTER of ${of} is not flat`,
  "TDC structure": of => `TDC_MEAS of ${of} is not flat`,
  "late hits": () => "many hits come late",
  "unassigned hits": () => "many hits belong to no chamber",
  "missing words": () => "words are missing",
  "ledger balance": () => "the ledger does not balance",
};

// groups are the phrases of alarms, one a kind, alarms before warnings.
function groups(alarms, where) {
  const by = new Map();
  for (const a of [...grave(alarms), ...alarms.filter(a => a.Severity !== "alarm")]) by.set(a.Kind, [...(by.get(a.Kind) ?? []), a]);
  return [...by].map(([kind, list]) => {
    const of = key => [...new Set(list.map(a => a[key]).filter(v => v !== undefined))].sort((a, b) => a - b);
    const chambers = of("Chamber"), fpgas = of("FPGA");
    const name = chambers.length ? (where ? listed("chamber", chambers) : "") : fpgas.length ? listed("FPGA", fpgas) : "";
    const phrase = PHRASES[kind];
    if (phrase) return phrase(name, (chambers.length || fpgas.length) > 1);
    return plural(list.length, kind) + (name ? ` in ${name}` : ""); // wires, boards, layers
  });
}

// listed: "chamber 1", "chambers 1 and 4", "chambers 1, 2 and 4".
const listed = (word, list) => `${word}${list.length > 1 ? "s" : ""} ${list.length > 1 ? `${list.slice(0, -1).join(", ")} and ` : ""}${list.at(-1)}`;

// lanes: "lanes 3 and 7", "lanes 1 to 4 and 6".
export function lanes(list) {
  const parts = [];
  for (let i = 0, j; i < list.length; i = j) {
    for (j = i + 1; j < list.length && list[j] === list[j - 1] + 1;) j++;
    parts.push(...(j - i > 2 ? [`${list[i]} to ${list[j - 1]}`] : list.slice(i, j)));
  }
  return list.length === 1 ? `lane ${list[0]}` : `lanes ${parts.length > 1 ? `${parts.slice(0, -1).join(", ")} and ` : ""}${parts.at(-1)}`;
}

export const silent = (list, n, now = false) => `${lanes(list)}${n ? ` of ${n}` : ""} ${now ? (list.length > 1 ? "are" : "is") : list.length > 1 ? "were" : "was"} silent`;

export function without(list) {
  const words = lanes(list);
  return `without ${words.length > 20 ? plural(list.length, "lane") : words}`;
}

export const lack = row => [row.Missing?.length ? without(row.Missing) : row.Complete === 0 && row.End > row.Start ? "incomplete" : "", row.Revision > 0 ? `revision ${row.Revision}` : ""].filter(Boolean).join(" · ");

export function fpgas(view, thresholds) {
  const known = view?.FPGAs ?? [];
  const last = n => known.find(f => f.FPGA === n)?.Last;
  const limit = thresholds?.fpga_step?.orbits ?? 11223;
  return [0, 1].map(n => {
    const f = known.find(x => x.FPGA === n);
    if (!f) return { state: "unknown", text: "–", detail: `FPGA ${n}: not in these result lines` };
    if (!f.Hits || f.Last === undefined) return { state: "silent", text: "silent", detail: `FPGA ${n}: no hit in this window` };
    const other = last(1 - n);
    if (other === undefined) return { state: "ok", text: "alive", detail: `FPGA ${n}: ${plural(f.Hits, "hit")} in this window; the other has none` };
    const ahead = f.Last - other, ms = Math.abs(ahead) * ORBIT * 1000;
    const apart = `${ahead < 0 ? "−" : "+"}${ms >= 1000 ? sig(ms / 1000, 2) + " s" : ms >= 10 ? fixed(ms) + " ms" : fixed(ms, 1) + " ms"}`;
    const detail = `FPGA ${n}: ${plural(f.Hits, "hit")} in this window; its last orbit is ${plural(Math.abs(ahead), "orbit")} (${sig(ms, 3)} ms) ${ahead < 0 ? "behind" : "ahead of"} the other's; in step up to ${int(limit)} orbits`;
    if (ahead < -limit) return { state: "behind", text: `out of step ${apart}`, detail };
    return { state: "ok", text: n === 0 ? "alive" : Math.abs(ahead) > limit ? "alive" : `in step ${apart}`, detail };
  });
}

export function ledgerOf(l) {
  const rows = [];
  for (const stage of Object.keys(l.Set_Aside ?? {})) {
    for (const reason of Object.keys(l.Set_Aside[stage])) {
      rows.push({ stage, reason, count: l.Set_Aside[stage][reason], ancillary: /ancillary|^HEAD is not 2/.test(reason) });
    }
  }
  const sum = list => list.reduce((s, r) => s + r.count, 0);
  const aside = rows.filter(r => r.ancillary), rejected = rows.filter(r => !r.ancillary);
  return {
    read: l.Read, hits: l.Hits, late: l.Late, scintillator: l.Scintillator, unassigned: l.Unassigned, early: l.Early, pending: l.Pending,
    notAHit: l.Not_A_Hit, ancillary: l.Not_A_Hit + sum(aside), ancillaryRows: aside, rejected: sum(rejected), rejectedRows: rejected,
    missing: l.Missing ?? 0, doubled: l.Doubled ?? 0, balanced: Boolean(l.Balanced),
    sum: l.Hits + l.Late + l.Scintillator + l.Unassigned + l.Not_A_Hit + l.Early + l.Pending + sum(rows),
  };
}
