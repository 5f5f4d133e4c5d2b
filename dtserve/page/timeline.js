// The time cursor at the foot of the page: which window is looked at, and the way back to live.
//
//   build(), draw();   goTo(id)   0: live; any other id pauses there

import { data } from "./data.js";
import { view, set } from "./view.js";
import { text, attr } from "./dom.js";
import { lack } from "./say.js";
import { time, detector, int } from "./format.js";

const cursor = document.getElementById("cursor");

export function goTo(id) {
  set(id ? { at: id, held: Math.max(id, view.held || data.newest), run: data.rowAt(id)?.Run ?? "" } : { at: 0, held: 0, run: "" });
}

export function build() {
  cursor.addEventListener("input", () => goTo(Number(cursor.value)));
}

export function draw() {
  const { state } = data;
  attr(cursor, { min: state?.Oldest || 1, max: view.held || data.newest || 1 });
  if (Number(cursor.value) !== (data.at || 1)) cursor.value = data.at || 1;
  document.querySelector("[data-action=live]").disabled = !view.at;
  const row = data.rowAt(data.at);
  const words = !data.newest ? "" : `${view.at ? "" : "newest: "}window ${int(data.at)}${row ? ` · ${time(row.Arrived)}${row.End > 0 ? ` · ${detector(row.Start)}` : ""}${lack(row) && ` · ${lack(row)}`}` : ""}`;
  text(document.getElementById("cursor-text"), words);
  attr(cursor, { "aria-valuetext": words });
}
