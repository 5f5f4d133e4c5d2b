// Where it comes from: the orbits, times, lanes, and files or topics of what is looked at, the command that recomputes it,
// and the runs and epochs that the server has seen.

import { data } from "../data.js";
import { view } from "../view.js";
import { spanWords } from "../figures.js";
import { silent } from "../say.js";
import { recompute } from "../commands.js";
import { command } from "../command.js";
import { el, fill, cells, text, show, attr, scrollTable } from "../dom.js";
import { int, fixed, dateTime, detector, plural } from "../format.js";

export function build(section) {
  const title = el("h3"), facts = el("dl", { class: "pairs" });
  const again = command("The command that recomputes it");
  const lanes = scrollTable("Lanes, with the records that were read and where the source was", ["Run", "Lane", "Records", "File or topic", "Offset", "Partition", "Tag"]);
  const runs = scrollTable("Runs and epochs that this server has seen", ["Run", "Epoch", "Windows", "Hits", "Detector time", "Ids", "Note"]);
  const bad = el("p", { class: "quiet" });
  section.append(el("div", { class: "tab-head" }, el("h2", {}, "Source"), el("p", {}, "Choose the span and the time cursor to see where that picture comes from.")),
    title, facts, again.node, lanes.node, el("h3", {}, "Lines that could not be used"), bad, el("h3", {}, "Runs"), runs.node);
  let asked = "";

  return {
    draw() {
      const span = view.span === "auto" ? "window" : view.span;
      const v = data.get(span);
      if (v) drawSpan(v, span);
      const b = data.state.Bad_Lines ?? { Count: 0 };
      text(bad, b.Count ? `${plural(b.Count, "line")} counted and skipped. The last, at ${dateTime(b.At)}: ${b.Last}` : "None.");
      const now = `${data.newest} ${data.revised}`;
      if (asked !== now) {
        asked = now;
        drawRuns();
      }
    },
  };

  function drawSpan(v, span) {
    const s = v.Span;
    text(title, view.span === "auto" ? `${spanWords(span)} (${int(s.To)})` : spanWords(span));
    const arrived = s.Arrived?.[0] ? (s.Arrived[0] === s.Arrived[1] ? dateTime(s.Arrived[0]) : `${dateTime(s.Arrived[0])} to ${dateTime(s.Arrived[1])}`) : "–";
    const pairs = [
      ["Run", s.Run || "–"], ["Epoch", int(s.Epoch ?? 0) + (s.Stale > 0 ? ` (${int(s.Stale)} hits are of the stale buffer)` : "")],
      ["Windows", `${int(s.Windows)}, ids ${int(s.From)} to ${int(s.To)}${s.Left_Out ? `; ${int(s.Left_Out)} of other settings or runs left out` : ""}`],
      ["Orbits", s.First_Orbit !== undefined ? `${int(s.First_Orbit)} to ${int(s.Last_Orbit)}` : "–"],
      ["Detector time", s.End > s.Start ? `${detector(s.Start, 4)} to ${detector(s.End, 4)}` : "–"],
      ["Live", v.Bare ? "–" : `${fixed(s.Live, 3)} s of ${fixed(s.Seconds, 3)} s`], ["Arrived", arrived],
      ["Complete", v.Bare ? "not said" : s.Complete ? "yes: every lane has passed its end" : lacking(s)], ["Revised", v.Bare ? "not said" : revised(s)],
      ["Clock", s.Clock || "–"], ["Settings", v.Settings ?? "–"], ["Node", v.Source?.Node || "–"],
    ];
    fill(facts, pairs, () => el("div", {}, el("dt"), el("dd")), (div, [name, value]) => {
      text(div.firstChild, name);
      text(div.lastChild, value);
    });
    show(again.node, !v.Bare);
    if (!v.Bare) again.set(recompute(v));
    const list = v.Source?.Lanes ?? [];
    show(lanes.node, list.length);
    fill(lanes.body, list, () => el("tr"), (tr, l) => cells(tr, [l.Run, `${l.Lane[0]} of ${l.Lane[1]}`, `${int(l.First)} to ${int(l.Next)}`, l.Name ?? "not told yet", l.Offset === undefined ? "" : int(l.Offset), l.Partition ?? "", l.Tag ?? ""]));
  }

  async function drawRuns() {
    try {
      const answer = await fetch("/api/run");
      if (!answer.ok) return;
      const rows = (await answer.json()).Runs.reverse().flatMap(r => r.Epochs.slice().reverse().map(e => [r, e]));
      fill(runs.body, rows, () => el("tr"), (tr, [r, e]) => {
        cells(tr, [r.Name || "–", int(e.Epoch), int(e.Windows), int(e.Hits), e.End > 0 ? `${detector(e.Start)} to ${detector(e.End)}` : "–", `${int(e.First)} to ${int(e.Last)}`, [e.Stale ? "stale buffer: hits from before the run" : "", e.Revised ? `${plural(e.Revised, "window")} revised` : ""].filter(Boolean).join("; ")]);
        attr(tr, { class: e.Stale ? "stale" : null });
      });
    } catch { /* the top of the page says that the server is away */ }
  }
}

// lacking says why a span is not complete.
function lacking(s) {
  const why = s.Missing?.length ? silent(s.Missing, s.Lanes) : "a gap, a cut or a stopped end is in it";
  return s.Windows > 1 ? `no, ${int(s.Incomplete)} of ${int(s.Windows)} windows are not: ${why}` : `no: ${why}`;
}

// revised says which windows came again.
function revised(s) {
  if (!s.Revised) return "no: as first written";
  const why = "written again when silent lanes came back";
  return s.Windows > 1 ? `${plural(s.Revised, "window")}, ${why}` : `yes, revision ${s.Revision}: ${why}`;
}
