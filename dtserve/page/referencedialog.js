// The dialog in which a reference is chosen; files can also be dropped on the page.
//
//   build(), openReference()

import { data } from "./data.js";
import { reference, take, takeServer, takeFile, clear, onChange } from "./reference.js";
import { el, text, show } from "./dom.js";
import { int, plural, duration } from "./format.js";

const dialog = document.getElementById("reference");
const drop = document.getElementById("drop");
let now, message, server, off, file;

export function openReference() {
  draw();
  if (!dialog.open) dialog.showModal();
}

export function build() {
  now = el("p", { class: "now" });
  message = el("p", { class: "problem", role: "alert" });
  const button = (label, run) => el("button", { type: "button", on: { click: () => attempt(run) } }, label);
  server = button("The server's reference", takeServer);
  off = button("No reference", clear);
  file = el("input", { type: "file", id: "reference-file", accept: ".json,.jsonl,.ndjson,application/json" });
  file.addEventListener("change", () => {
    if (file.files[0]) attempt(() => takeFile(file.files[0]));
    file.value = "";
  });
  dialog.append(el("div", { class: "dialog-head" }, el("h2", { id: "reference-title" }, "Reference"), el("button", { type: "button", on: { click: () => dialog.close() } }, "Close")),
    el("p", {}, "Plots are compared with it: overlay, ratio, χ² and Kolmogorov–Smirnov distance. The scale becomes rates, so that spans of any length can be compared; “normalised” compares shapes alone."),
    now,
    el("div", { class: "choices" },
      button("This run, as it is now", () => take(data.state.Whole, `run ${data.state.Run.Name}, ${plural(data.state.Whole.Span.Windows, "window")}`)),
      button("What is looked at: last minutes", () => take(data.get("recent"), `the last ${duration(data.recentSeconds)} up to window ${data.at}`)),
      server, el("label", { class: "file", for: "reference-file" }, "A file of result lines, or an exported view", file), off),
    message);
  dialog.addEventListener("click", e => { if (e.target === dialog) dialog.close(); });
  onChange(draw);

  addEventListener("dragover", e => {
    if (![...e.dataTransfer.types].includes("Files")) return;
    e.preventDefault();
    show(drop, true);
  });
  addEventListener("dragleave", e => { if (!e.relatedTarget) show(drop, false); });
  addEventListener("drop", e => {
    show(drop, false);
    if (!e.dataTransfer.files[0]) return;
    e.preventDefault();
    openReference();
    attempt(() => takeFile(e.dataTransfer.files[0]));
  });
}

async function attempt(run) {
  text(message, "");
  try {
    await run();
  } catch (error) {
    text(message, `This cannot be taken: ${error.message}`);
  }
  draw();
}

function draw() {
  const v = reference.view;
  text(now, v ? `Now: ${reference.name} — ${int(v.Total)} hits${v.Trigger ? `, ${plural(v.Trigger.Orbits, "trigger")}` : ""}, ${duration(v.Span.Live)} live; digest ${reference.digest}`
    : reference.missing ? `The link asks for the reference with digest ${reference.missing}: open its file.` : "Now: none.");
  show(server, data.config?.Reference);
  show(off, v || reference.missing);
}
