// One chamber in full: occupancy by channel first, then every histogram of the result line.

import { Figures, spanOf, spanWords } from "../figures.js";
import { data } from "../data.js";
import { view } from "../view.js";
import { acknowledged } from "../acknowledge.js";
import { health } from "../say.js";
import { el, text, attr, icon, setIcon } from "../dom.js";
import { hz, int, percent } from "../format.js";
import { label } from "./glance.js";

const ORDER = ["hist_1", "hist_2", "multiplicity", "hist_3", "hist_4", "drift_layer", "trigger_multiplicity", "efficiency"];

export function build(section, n) {
  const figures = new Figures();
  const verdict = el("p", { class: "verdict" }, icon("unknown"), el("span"));
  const numbers = el("p", { class: "tab-numbers" });
  const plots = el("div", { class: "plots" });
  section.append(el("div", { class: "tab-head" }, label(el("h2"), data.config.Map.Chambers[n - 1].Label), verdict, numbers), plots);
  const wide = el("div", { class: "wide" });
  plots.append(wide);
  figures.add(wide, "occupancy", { chamber: n, height: 250 });
  for (const kind of ORDER) figures.add(plots.appendChild(el("div")), kind, { chamber: n, height: 230 });

  return {
    figures,
    draw() {
      const h = health(data.state, acknowledged).chambers[n - 1];
      attr(verdict, { "data-level": h?.level, title: h?.detail });
      setIcon(verdict.querySelector(".icon"), h?.level ?? "unknown");
      text(verdict.querySelector("span"), `${view.at ? "now: " : ""}${h?.text ?? ""}`);
      const v = data.get(spanOf("occupancy")), c = v?.Chambers?.[n - 1];
      text(numbers, c ? [c.Rate !== undefined ? hz(c.Rate) : "", `${int(c.Count)} hits`, v.Total ? `${percent(c.Count / v.Total)} of all` : "", c.Late !== undefined ? `${int(c.Late)} late` : "", spanWords("occupancy")].filter(Boolean).join(" · ") : "");
      figures.draw();
    },
  };
}
