// The panel of one wire: its rate, share and verdict, its neighbours in the layer, and the command that extracts its hits.
//
//   draw()   shows what view.wire says

import { data } from "./data.js";
import { view, set } from "./view.js";
import { spanOf, spanWords } from "./figures.js";
import { rawHits } from "./commands.js";
import { command } from "./command.js";
import { el, text, fill, cells, attr, show, icon, setIcon } from "./dom.js";
import { hz, int, percent, pm } from "./format.js";

const aside = document.getElementById("wire");
const NEIGHBOURS = 3; // on either side
const VERDICTS = { o: ["ok", "ok"], h: ["alarm", "hot"], l: ["warning", "low"], d: ["alarm", "dead"], "?": ["unknown", "too few hits to judge"] };
let parts = null;

function build() {
  const title = el("h2", { id: "wire-title", tabindex: "-1" }), close = el("button", { type: "button", class: "square", "aria-label": "Close" }, icon("close"));
  close.addEventListener("click", () => set({ wire: "" }));
  const verdict = el("p", { class: "verdict" }, icon("ok"), el("span"));
  const facts = el("tbody"), near = el("tbody"), extract = command("Its raw hits in this span");
  aside.append(el("div", { class: "dialog-head" }, title, close), verdict,
    el("table", {}, el("caption", {}, "This wire"), el("thead", {}, el("tr", {}, ...["Span", "Hits", "Rate", "Share"].map(h => el("th", { scope: "col" }, h)))), facts),
    el("table", { class: "near" }, el("caption"), el("thead", {}, el("tr", {}, ...["Wire", "TDC_CHANNEL", "Rate", "Compared"].map(h => el("th", { scope: "col" }, h)))), near), extract.node);
  parts = { title, verdict, facts, near, extract };
}

export function draw() {
  const [chamber, channel] = view.wire.split(":").map(Number);
  const where = data.config?.Map?.Chambers?.[chamber - 1];
  const open = Boolean(where) && channel >= where.First && channel <= where.Last;
  const opened = open && aside.hidden;
  show(aside, open);
  document.body.classList.toggle("with-wire", open);
  if (!open) return;
  if (!parts) build();
  const { Layer, Wire } = data.config.Map;
  const k = channel % 64;
  const judged = data.get("recent")?.Chambers?.[chamber - 1]?.Wires?.[k] ?? "?";
  const [level, word] = VERDICTS[judged] ?? VERDICTS["?"];
  text(parts.title, `Chamber ${chamber}, TDC_CHANNEL ${channel}`);
  const alarm = data.state.Alarms.find(a => !a.Cleared && a.Chamber === chamber && a.Channel === channel);
  attr(parts.verdict, { "data-level": level });
  setIcon(parts.verdict.querySelector(".icon"), level);
  text(parts.verdict.querySelector("span"), `Layer ${Layer[k]}, wire ${Wire[k]}: ${alarm ? alarm.Text.replace(/^.*?: /, "") : word}`);

  const rows = ["window", "recent", "run", ...(view.reset ? ["reset"] : [])].map(span => {
    const v = data.get(span), c = v?.Chambers?.[chamber - 1];
    if (!c?.Occupancy) return [spanWords(span), "–", "–", "–"];
    const n = c.Occupancy[k], live = v.Span.Live;
    return [spanWords(span), int(n), live > 0 ? `${pm(n / live, Math.sqrt(n) / live)} Hz` : "–", c.Count ? percent(n / c.Count) : "–"];
  });
  fill(parts.facts, rows, () => el("tr"), (tr, row) => cells(tr, row));

  const v = data.get(view.span === "auto" ? "recent" : view.span), c = v?.Chambers?.[chamber - 1];
  const layer = Array.from({ length: 64 }, (_, i) => i).filter(i => Layer[i] === Layer[k]).sort((a, b) => Wire[a] - Wire[b]);
  const at = layer.indexOf(k), list = layer.slice(Math.max(0, at - NEIGHBOURS), at + NEIGHBOURS + 1);
  const rate = i => (c?.Occupancy && v.Span.Live > 0 ? c.Occupancy[i] / v.Span.Live : NaN);
  const sorted = layer.map(rate).sort((a, b) => a - b), median = (sorted[7] + sorted[8]) / 2;
  text(aside.querySelector(".near caption"), `Neighbours in layer ${Layer[k]}, ${spanWords(view.span === "auto" ? "recent" : view.span)}; the layer's median is ${hz(median)}`);
  const most = Math.max(...list.map(rate), 1e-9);
  fill(parts.near, list, () => el("tr", {}, el("th", { scope: "row" }), el("td", {}, el("a")), el("td"), el("td", {}, el("span", { class: "bar" }))), (tr, i) => {
    attr(tr, { class: i === k ? "self" : null });
    text(tr.children[0], Wire[i]);
    const other = where.First + ((i - where.First % 64 + 64) % 64);
    const link = tr.children[1].firstChild;
    text(link, other);
    attr(link, { href: i === k ? null : "#", "data-channel": other });
    link.onclick = e => {
      e.preventDefault();
      set({ wire: `${chamber}:${other}` });
    };
    text(tr.children[2], hz(rate(i)));
    tr.children[3].firstChild.style.width = `${Math.max(0, 100 * rate(i) / most) || 0}%`;
  });
  const shown = data.get(spanOf("wiremap"));
  if (shown) parts.extract.set(rawHits(shown, chamber, channel));
  if (opened) parts.title.focus({ preventScroll: true });
}
