// The ledger: where every word that was read went, for each span, with the sum that must come to what was read.

import { spanWords } from "../figures.js";
import { data } from "../data.js";
import { view } from "../view.js";
import { ledgerOf } from "../say.js";
import { el, fill, cells, attr, text } from "../dom.js";
import { int, percent } from "../format.js";

const shareText = share => (!Number.isFinite(share) || share === 0 ? "" : Math.abs(share) < 1e-5 ? "< 0.001 %" : percent(share));

export function build(section) {
  const head = el("tr"), body = el("tbody");
  section.append(el("div", { class: "tab-head" }, el("h2", {}, "Ledger"), el("p", {}, "Each word is counted where it happens: the lines below “read” add up to it. Words that are pending wait for their orbit to close.")),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Ledger" }, el("table", { class: "numbers-table ledger-table" }, el("caption", { class: "unseen" }, "Words, by where they went"), el("thead", {}, head), body)),
    el("p", { class: "aside" }, "Ancillary words carry no hit: by the format about half of all words are of that kind (trigger times, settings, checks). They are not lost data."));

  return {
    draw() {
      const spans = ["window", "recent", "run", ...(view.reset ? ["reset"] : [])];
      const ledgers = spans.map(s => data.get(s)?.Ledger).map(l => l && ledgerOf(l));
      const run = ledgers[2] ?? ledgers[0];
      cells(head, ["Words", ...spans.map(spanWords), "of the run"], "th");
      for (const th of head.children) attr(th, { scope: "col" });
      const rows = [];
      const row = (name, of, kind = "") => rows.push({ name, kind, values: ledgers.map(a => (a ? of(a) : undefined)), share: run ? of(run) / run.read : NaN });
      row("Read", a => a.read, "total");
      row("Hits in a chamber, in time", a => a.hits);
      row("Hits in a chamber, late", a => a.late);
      row("Hits in a chamber, orbit closed early", a => a.early);
      row("Scintillator hits", a => a.scintillator);
      row("Hits unassigned (in no chamber, no scintillator)", a => a.unassigned);
      row("Pending (change)", a => a.pending);
      const reasons = key => {
        const names = new Map();
        for (const a of ledgers) for (const r of a?.[key] ?? []) names.set(`${r.stage}\n${r.reason}`, r);
        return [...names.values()];
      };
      const of = (key, r) => a => a[key].find(x => x.stage === r.stage && x.reason === r.reason)?.count ?? 0;
      const rejected = reasons("rejectedRows");
      rows.push({ name: "Set aside", kind: "group" });
      for (const r of rejected) row(`${r.stage}: ${r.reason}`, of("rejectedRows", r), "sub");
      if (!rejected.length) row("nothing", () => 0, "sub");
      rows.push({ name: "Ancillary words, not hits by format", kind: "group neutral" });
      for (const r of reasons("ancillaryRows")) row(`${r.stage}: ${r.reason}`, of("ancillaryRows", r), "sub neutral");
      row("dthist: HEAD is not 2", a => a.notAHit, "sub neutral");
      row("Sum", a => a.sum, "total");
      rows.push({ name: "Balance", kind: "balance", texts: ledgers.map(a => (a ? (a.balanced && a.sum === a.read ? "✓ balances" : `✗ ${int(a.sum - a.read)} off`) : "–")), bad: ledgers.map(a => a && !(a.balanced && a.sum === a.read)) });
      rows.push({ name: "Outside the sum", kind: "group" });
      row("Missing (numbers that a gap skipped)", a => a.missing, "sub");
      row("Doubled (came again and were cut)", a => a.doubled, "sub");
      if (!ledgers.some(Boolean)) rows.splice(0, rows.length, { name: "These result lines have no ledger", kind: "group" });
      fill(body, rows, () => el("tr", {}, el("th", { scope: "row" })), (tr, r) => {
        attr(tr, { class: r.kind || null });
        text(tr.firstChild, r.name);
        const list = r.kind.startsWith("group") ? Array(spans.length + 1).fill("") : r.texts ? [...r.texts, ""] : [...r.values.map(v => (v === undefined ? "–" : int(v))), shareText(r.share)];
        while (tr.children.length > list.length + 1) tr.lastChild.remove();
        while (tr.children.length < list.length + 1) tr.append(el("td"));
        list.forEach((value, i) => {
          text(tr.children[i + 1], value);
          attr(tr.children[i + 1], { class: r.texts && i < r.texts.length ? (r.bad[i] ? "bad" : "good") : null });
        });
      });
    },
  };
}
