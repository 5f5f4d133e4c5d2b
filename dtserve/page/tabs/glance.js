// At a glance: one column a chamber (rate, wire map, drift-time box), below them rates and triggers over detector time,
// and the ledger in one line. On a desk screen all of it fits without scrolling.

import { Figures, spanOf } from "../figures.js";
import { data } from "../data.js";
import { view, hashFor } from "../view.js";
import { acknowledged } from "../acknowledge.js";
import { health, ledgerOf } from "../say.js";
import { el, text, attr, icon, setIcon, fill } from "../dom.js";
import { hz, int } from "../format.js";

// label shows "Chamber 1 (ch0: FPGA 0, 0–63)" with its second half small.
export function label(heading, string) {
  const at = string.indexOf(" (");
  heading.replaceChildren(at < 0 ? string : string.slice(0, at), el("small", {}, at < 0 ? "" : string.slice(at)));
  return heading;
}

export function build(section) {
  const figures = new Figures();
  const chambers = data.config.Map.Chambers.map((c, i) => {
    const n = i + 1;
    const link = el("a", { "aria-label": `${c.Label}: all plots` });
    const rate = el("span", { class: "number" }), unit = el("span", { class: "unit" }), error = el("span", { class: "error" });
    const verdict = el("p", { class: "verdict" }, icon("unknown"), el("span"));
    const trend = el("div", { class: "spark" });
    const column = el("article", { class: "column", "data-chamber": n }, el("h2", {}, link), verdict,
      el("div", { class: "rate" }, el("p", {}, rate, unit, error), trend));
    label(link, c.Label);
    figures.add(trend, "rate", { chamber: n, height: "fill", title: "", menu: false });
    figures.add(column, "wiremap", { chamber: n, height: "fill", title: "Wires", plain: true });
    figures.add(column, "box", { chamber: n, height: "fill", title: "Drift time" });
    return { column, link, rate, unit, error, verdict };
  });
  section.append(el("div", { class: "columns" }, ...chambers.map(c => c.column)));
  const trends = el("div", { class: "trends" }, el("h2", { class: "unseen" }, "Over detector time"));
  figures.add(trends, "rates", { height: "fill" });
  figures.add(trends, "triggers", { height: "fill" });
  const ledger = el("p", { id: "ledger-line" });
  section.append(trends, ledger);

  return {
    figures,
    draw() {
      const v = data.get(spanOf("occupancy"));
      const h = health(data.state, acknowledged);
      chambers.forEach((c, i) => {
        const n = i + 1, part = v?.Chambers?.[i];
        attr(c.link, { href: hashFor({ tab: `chamber-${n}` }) });
        const live = v?.Span?.Live;
        const [number, unit] = part?.Rate !== undefined ? hz(part.Rate).split(" ") : [part ? int(part.Count) : "–", "hits"];
        text(c.rate, number);
        text(c.unit, unit ?? "");
        text(c.error, live > 0 && part?.Rate !== undefined ? (part.Count ? `± ${hz(Math.sqrt(part.Count) / live, 2)}` : "no hits") : "");
        const { level = "unknown", text: words = "", detail } = h.chambers[i] ?? {};
        attr(c.verdict, { "data-level": level, title: [words, detail].filter(Boolean).join(". ") });
        setIcon(c.verdict.querySelector(".icon"), level);
        text(c.verdict.querySelector("span"), `${view.at ? "now: " : ""}${words}`);
      });
      ledgerLine(ledger, data.get(spanOf("run"))?.Ledger);
      figures.draw();
    },
  };
}

function ledgerLine(node, l) {
  const parts = [];
  if (l) {
    const a = ledgerOf(l);
    parts.push(["", a.balanced ? "✓ balances" : "✗ does not balance", a.balanced ? "good" : "bad"], ["read", int(a.read)], ["hits", int(a.hits)], ["triggers’ hits", int(a.scintillator)],
      ["late", int(a.late)], ["unassigned", int(a.unassigned)], ["rejected", int(a.rejected)]);
    if (a.early) parts.push(["early", int(a.early)]);
    if (a.missing) parts.push(["missing", int(a.missing), "bad"]);
    if (a.doubled) parts.push(["doubled", int(a.doubled), "bad"]);
    parts.push(["ancillary words, not hits by format", int(a.ancillary), "apart"]);
  }
  const shown = [["", "Ledger", "name"], ...(l ? parts : [["", "not in these result lines", "apart"]])];
  fill(node, shown, () => el("span", {}, el("span"), " ", el("b")), (span, [name, value, kind]) => {
    attr(span, { class: kind ?? null });
    text(span.firstChild, name);
    text(span.lastChild, value);
  });
}
