// The electronics: both FPGAs' rates and step, and what only they can bend: BX_COUNTER and TDC_MEAS, which should be flat.

import { Figures } from "../figures.js";
import { data } from "../data.js";
import { fpgas } from "../say.js";
import { el, fill, cells, icon, setIcon, text, attr } from "../dom.js";
import { hz, int, detector, fixed, duration, ORBIT } from "../format.js";

export function build(section) {
  const figures = new Figures();
  const head = el("tr"), body = el("tbody");
  const table = el("table", { class: "numbers-table" }, el("caption", { class: "unseen" }, "The FPGAs"), el("thead", {}, head), body);
  const plots = el("div", { class: "plots" });
  section.append(el("div", { class: "tab-head" }, el("h2", {}, "Electronics"), el("p", {}, "Both FPGAs should be alive and in step, and the plots flat.")), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The FPGAs" }, table), plots);
  for (const kind of ["bx", "tdc"]) for (const fpga of [0, 1]) figures.add(plots.appendChild(el("div")), kind, { fpga, height: 240 });

  return {
    figures,
    draw() {
      const spans = [["this window", data.get("window")], [`last ${duration(data.recentSeconds)}`, data.get("recent")], ["whole run", data.get("run")]];
      const window = spans[0][1];
      const states = fpgas(window, data.config.Thresholds);
      cells(head, ["FPGA", ...spans.map(([name]) => `Rate, ${name}`), "Hits, this window", "Last orbit", "Last, detector time", "Behind the other", "State"], "th");
      for (const th of head.children) attr(th, { scope: "col" });
      const newest = Math.max(...(window?.FPGAs ?? []).map(f => f.Last ?? -1));
      fill(body, [0, 1], () => el("tr", {}, el("th", { scope: "row" }), ...Array.from({ length: 7 }, () => el("td")), el("td", { class: "state" }, icon("unknown"), el("span"))), (row, n) => {
        const of = v => v?.FPGAs?.find(f => f.FPGA === n);
        const f = of(window), last = f?.Last, behind = last === undefined ? NaN : newest - last;
        const known = data.config.Map.Chambers.map((c, i) => (c.FPGA === n ? i + 1 : 0)).filter(Boolean);
        const values = [`FPGA ${n} (chambers ${known.join(", ")})`, ...spans.map(([, v]) => (of(v)?.Rate !== undefined ? hz(of(v).Rate) : "–")), f ? int(f.Hits) : "–",
          last === undefined ? "–" : int(last), last === undefined ? "–" : detector(last * ORBIT, 4), Number.isFinite(behind) ? `${int(behind)} orbits · ${fixed(behind * ORBIT * 1000, 2)} ms` : "–"];
        values.forEach((value, i) => text(row.children[i], value));
        const cell = row.lastElementChild;
        attr(cell, { "data-state": states[n].state });
        setIcon(cell.querySelector(".icon"), { ok: "ok", silent: "alarm", behind: "alarm", unknown: "unknown" }[states[n].state]);
        text(cell.querySelector("span"), { ok: states.every(s => s.state === "ok") ? "alive, in step" : "alive", silent: "silent", behind: "out of step", unknown: "not known" }[states[n].state]);
      });
      figures.draw();
    },
  };
}
