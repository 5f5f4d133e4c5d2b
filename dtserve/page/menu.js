// Small menus that open at a button: one at a time, closed by Esc, a click elsewhere, or a choice.
//
//   openMenu(button, frame)    the exports of one plot
//   openExport(button)         the exports of the whole view
//   closeMenu() → whether one was open

import { el, copy } from "./dom.js";
import { view, link } from "./view.js";
import { data } from "./data.js";
import { announce } from "./announce.js";
import { figurePNG, viewPNG, figureCSV, viewCSV, json } from "./export.js";
import { dateTime } from "./format.js";

let open = null; // {list, button, y: where the page was scrolled to}

export function closeMenu() {
  if (!open) return false;
  const { list, button } = open;
  open = null;
  const inside = list.contains(document.activeElement);
  list.remove();
  button.setAttribute("aria-expanded", "false");
  if (inside) button.focus();
  return true;
}

function openList(button, items) {
  const again = open?.button === button;
  closeMenu();
  if (again) return;
  const list = el("div", { class: "menu", role: "menu" }, ...items.map(item => el("button", {
    type: "button", role: "menuitem", tabindex: "-1", data: item.action ? { action: item.action } : {},
    on: { click: async e => { e.stopPropagation(); closeMenu(); await item.run(); } },
  }, item.label)));
  list.addEventListener("keydown", e => {
    const all = [...list.children], at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[e.key];
    if (to !== undefined) all.at(to % all.length).focus();
    else if (e.key === "Escape" || e.key === "Tab") closeMenu();
    else return;
    if (e.key !== "Tab") e.preventDefault();
    e.stopPropagation();
  });
  button.closest("header, main").append(list); // within a landmark
  const r = button.getBoundingClientRect(), w = list.offsetWidth, h = list.offsetHeight;
  list.style.left = Math.max(8, Math.min(r.right - w, innerWidth - w - 8)) + "px";
  list.style.top = (r.bottom + 4 + h > innerHeight ? Math.max(8, r.top - 4 - h) : r.bottom + 4) + "px";
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "true");
  open = { list, button, y: scrollY };
  list.firstElementChild.focus({ preventScroll: true });
}

document.addEventListener("pointerdown", e => {
  if (open && !open.list.contains(e.target) && !open.button.contains(e.target)) closeMenu();
});

// A menu does not move with the page. The event of a scroll from before it opened may come late: only the place tells.
addEventListener("scroll", () => {
  if (open && Math.abs(scrollY - open.y) > 8) closeMenu();
}, { passive: true });

const fileName = () => `${data.config.Title}-${data.state.Run?.Name ?? "run"}-${view.tab}-${data.at}`;
const heading = () => [`${data.config.Title} · run ${data.state.Run?.Name ?? ""}`, `window ${data.at} · ${dateTime(data.rowAt(data.at)?.Arrived)} · ${link()}`];
const copyLink = async () => announce(await copy(link()) ? "The link is copied" : "The browser did not let the link be copied: take it from the address bar");

// what the view says it shows, as a View that can be opened as a reference again
function viewJSON() {
  const { Config, ...shown } = data.get(view.span === "auto" ? "recent" : view.span) ?? {};
  return { Link: link(), Title: data.config.Title, ...shown };
}

// Exports tell what went wrong instead of failing in silence.
const tell = make => async () => {
  try {
    announce(`Saved as ${await make()}`);
  } catch (error) {
    announce(`Not saved: ${error.message}`);
  }
};

export function openExport(button) {
  const main = document.getElementById("main");
  openList(button, [
    { label: "Picture of the view (PNG)", action: "export-png", run: tell(() => viewPNG(main, { name: fileName(), heading: heading() })) },
    { label: "Numbers of the view (CSV)", action: "export-csv", run: tell(() => viewCSV(main, { name: fileName() })) },
    { label: "Sums of the view (JSON)", action: "export-json", run: tell(() => json(viewJSON(), { name: fileName() })) },
    { label: "Copy the link", action: "copy-link", run: copyLink },
  ]);
}

export function openMenu(button, frame) {
  const { figure, model } = frame;
  const name = `${fileName()}-${model.id.replace(":", "-")}`;
  openList(button, [
    { label: "Picture (PNG)", action: "plot-png", run: tell(() => figurePNG(figure, { name, heading: heading() })) },
    { label: "Numbers (CSV)", action: "plot-csv", run: tell(() => figureCSV(figure, { name })) },
    { label: "Numbers (JSON)", action: "plot-json", run: tell(() => json({ Plot: model.id, Link: link(), ...frame.tableOf() }, { name })) },
    { label: "Copy the link", action: "plot-link", run: copyLink },
  ]);
}
