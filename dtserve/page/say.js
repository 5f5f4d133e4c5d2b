// The state in words: is it OK? Pure: no DOM.
//
//   health(state, acked) → {level: "ok" | "watch" | "warning" | "alarm" | "unknown", text, chambers: [{level, text}], present, cleared}
//        watch: out of bounds, but not for as long as an alarm needs, or acknowledged;
//        what the server's alarms and checks come to; acked(alarm) → bool: the viewer has acknowledged it
//   fpgas(state, view) → [{fpga, state: "ok" | "silent" | "behind" | "unknown", text, detail}]
//   capital(text)
//   ledgerOf(ledger) → {read, hits, late, scintillator, unassigned, early, pending, ancillary, rejected, balanced, …}

import { int, plural, fixed, sig } from "./format.js";

const NUMBERS = ["no", "one", "two", "three", "four", "five", "six"];
const ORBIT_MS = 0.0891;

export function health(state, acked = () => false) {
  const n = state.Config?.Map?.Chambers?.length ?? state.Window?.Chambers?.length ?? 4;
  const present = state.Alarms.filter(a => !a.Cleared), cleared = state.Alarms.filter(a => a.Cleared);
  const checks = state.Checks ?? [];
  const chambers = Array.from({ length: n }, (_, i) => {
    const own = present.filter(a => a.Chamber === i + 1), its = checks.filter(c => c.Chamber === i + 1);
    if (own.length) {
      const open = own.filter(a => !acked(a));
      return open.length ? { level: level(open), text: groups(own, false).join(", ") } : { level: "watch", text: `acknowledged: ${groups(own, false).join(", ")}` };
    }
    const bad = its.filter(c => c.State === "bad");
    if (bad.length) return { level: "watch", text: `${bad.map(c => c.Name).join(", ")} out of bounds, no alarm yet` };
    if (!its.length) return { level: "unknown", text: "not judged" };
    if (its.every(c => c.State === "unknown")) return { level: "unknown", text: state.Window?.Bare ? "no verdict" : "too few hits to judge yet" };
    return { level: "ok", text: "healthy" };
  });
  const told = { chambers, present, cleared };
  if (present.length) {
    const open = present.filter(a => !acked(a));
    return { ...told, ...(open.length ? { level: level(open), text: capital(sentence(open)) } : { level: "watch", text: `Acknowledged: ${sentence(present)}` }) };
  }
  if (chambers.every(c => c.level === "unknown")) return { ...told, level: "unknown", text: state.Window?.Bare ? "Only counts are known: no verdicts" : "Too few hits to judge yet" };
  const watched = chambers.flatMap((c, i) => (c.level === "watch" ? [i + 1] : []));
  if (watched.length) return { ...told, level: "watch", text: `No alarms; ${watched.length === 1 ? `chamber ${watched[0]} is` : `chambers ${watched.join(", ")} are`} being watched` };
  return { ...told, level: "ok", text: `${n === 1 ? "The chamber is" : `All ${NUMBERS[n] ?? n} chambers`} healthy` };
}

export const capital = string => string.charAt(0).toUpperCase() + string.slice(1);
const grave = list => list.filter(a => a.Severity === "alarm");
const level = list => (grave(list).length ? "alarm" : "warning");

// sentence: "4 dead wires in chamber 1, 6 warnings". The worst comes first, and it is short enough for one line.
function sentence(alarms) {
  const worst = grave(alarms), rest = alarms.length - worst.length;
  const parts = groups(worst.length ? worst : alarms, true);
  const more = worst.length && rest ? `, ${plural(rest, "warning")}` : "";
  return parts.slice(0, 2).join(", ") + (parts.length > 2 ? ` and ${parts.length - 2} more` : "") + more;
}

// groups: "4 dead wires in chamber 1", alarms before warnings.
function groups(alarms, where) {
  const by = new Map();
  for (const a of [...grave(alarms), ...alarms.filter(a => a.Severity !== "alarm")]) {
    const key = `${a.Kind} ${a.Chamber ?? ""}`;
    by.set(key, [...(by.get(key) ?? []), a]);
  }
  return [...by.values()].map(list => {
    const { Kind, Chamber } = list[0], countable = /wire|board/.test(Kind);
    const what = countable ? plural(list.length, Kind) : Kind;
    return where && Chamber ? `${what} in chamber ${Chamber}` : what;
  });
}

export function fpgas(view, thresholds) {
  const known = view?.FPGAs ?? [];
  const last = n => known.find(f => f.FPGA === n)?.Last;
  const limit = thresholds?.fpga_step?.orbits ?? 11223;
  return [0, 1].map(n => {
    const f = known.find(x => x.FPGA === n);
    if (!f) return { state: "unknown", text: "–", detail: `FPGA ${n}: not in these result lines` };
    if (!f.Hits || f.Last === undefined) return { state: "silent", text: "silent", detail: `FPGA ${n}: no hit in this window` };
    const ahead = f.Last - (last(1 - n) ?? f.Last), ms = Math.abs(ahead) * ORBIT_MS;
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
