// Histograms under keys of the result line that are not known.

import { Figures } from "../figures.js";
import { data } from "../data.js";
import { el } from "../dom.js";

export function build(section) {
  const figures = new Figures();
  const plots = el("div", { class: "plots" });
  const drawn = new Set();
  section.append(el("div", { class: "tab-head" }, el("h2", {}, "Other"), el("p", {}, "Histograms that these result lines have beside the known ones.")), plots);
  return {
    figures,
    draw() {
      for (const v of [data.get("window"), data.get("run")]) {
        for (const { Path } of v?.Other ?? []) {
          if (drawn.has(Path)) continue;
          drawn.add(Path);
          figures.add(plots.appendChild(el("div")), "other", { path: Path, height: 240 });
        }
      }
      figures.draw();
    },
  };
}
