// The top of the page: state chip, verdict, facts, tabs and switches, notices.
//
//   build(), draw(link, tabs), drawProblem()
//   tick(link)   once a second, for the ages

import { data } from "./data.js";
import { view, set, hashFor } from "./view.js";
import { health, fpgas, silent, capital } from "./say.js";
import { el, text, attr, show, fill, icon, setIcon } from "./dom.js";
import { acknowledged } from "./acknowledge.js";
import { reference } from "./reference.js";
import { act } from "./keys.js";
import { age, hz, int, plural, time, duration } from "./format.js";

const $ = id => document.getElementById(id);
const WORDS = { live: "Live", paused: "Paused", stale: "Stale", ended: "Source ended", disconnected: "Disconnected", waiting: "Waiting" };
const RECENTS = [60, 300, 600, 1800, 3600];

let lastLink = "connecting";
let taken = 0; // local time at which the state came, ms
let known = null;

// The server's clock and ours may differ: ages go by what has passed here since the state came.
function serverNow() {
  if (known !== data.state) {
    known = data.state;
    taken = performance.now();
  }
  return data.state.Now + (performance.now() - taken) / 1000;
}

function phaseNow(link) {
  if (link === "lost" || link === "stopped") return "disconnected";
  if (!data.newest) return "waiting";
  if (view.at) return "paused";
  return dataPhase();
}

// dataPhase is how the data stand, whatever the viewer looks at.
function dataPhase() {
  const s = data.state;
  if (s.Phase === "live" && serverNow() - s.Newest > s.Stale_After) return "stale";
  return s.Phase;
}

export function build() {
  $("state").prepend(icon("waiting"));
  $("verdict").append(icon("unknown"), el("span"));
  for (const n of [0, 1]) $(`fpga-${n}`).querySelector("dd").replaceChildren(icon("unknown"), el("span", {}, "–"));
  for (const [action, name] of [["export", "export"], ["theme", "theme"], ["help", "help"]]) {
    const button = document.querySelector(`[data-action=${action}]`);
    attr(button, { "aria-label": button.textContent });
    button.replaceChildren(icon(name));
  }
  document.querySelector("[data-action=pause]").replaceChildren(icon("paused"), el("span", {}, "Pause"));
  const header = document.querySelector("header");
  new ResizeObserver(() => document.documentElement.style.setProperty("--top", `${header.offsetHeight}px`)).observe(header);
  document.addEventListener("click", e => {
    const button = e.target.closest("[data-action]");
    if (button && !button.closest(".menu")) act(button.dataset.action, button);
  });
  $("span").addEventListener("change", e => {
    if (e.target.value === "reset" && !view.reset) act("reset");
    else set({ span: e.target.value });
  });
  $("recent").addEventListener("change", e => set({ recent: Number(e.target.value), ...(view.span === "auto" ? {} : { span: "recent" }) }));
  $("scale").addEventListener("change", e => set({ scale: e.target.value }));
  $("log").addEventListener("change", e => set({ log: e.target.checked }));
}

export function draw(link, tabs) {
  lastLink = link;
  drawTabs(tabs);
  drawSwitches();
  drawFacts();
  tick(link);
}

// tick writes what changes with the time alone.
export function tick(link) {
  const phase = phaseNow(link);
  const chip = $("state");
  if (chip.dataset.phase !== phase || !chip.dataset.drawn) {
    chip.dataset.drawn = "1";
    chip.dataset.phase = document.body.dataset.phase = phase;
    setIcon(chip.querySelector(".icon"), phase);
  }
  text($("phase"), link === "stopped" ? "Server stopped" : link === "connecting" ? "Connecting" : WORDS[phase]);
  const s = data.state;
  let old = "";
  if (s && data.newest) {
    old = age(serverNow() - s.Newest);
    if (phase === "paused") old = data.behind ? `${plural(data.behind, "window")} behind` : "at the newest";
  }
  text($("age"), old);
  attr($("age"), { title: s?.Newest ? `newest data came ${time(s.Newest)}` : null });
  drawVerdict(phase);
}

function drawVerdict(phase) {
  const s = data.state, node = $("verdict");
  let level = "unknown", words = "Connecting to the server …";
  if (s && phase === "disconnected") [level, words] = ["alarm", `${lastLink === "stopped" ? "The server has stopped" : "No connection to the server"}: what you see is of ${time(s.Newest || s.Now)}`];
  else if (phase === "disconnected") [level, words] = ["alarm", "The server does not answer"];
  else if (s && phase === "waiting") words = "Waiting for the first result line";
  else if (s) {
    const h = health(s, acknowledged);
    [level, words] = [h.level, h.text];
    const now = dataPhase();
    if (now === "stale") [level, words] = ["alarm", `No data for ${age(serverNow() - s.Newest)}`];
    else if (view.at) words = `Now: ${h.text}`;
    else if (s.Stale_Epoch) [level, words] = ["unknown", "Stale buffer: old hits from before the run"];
    node.dataset.alarms = h.present.length;
  }
  attr(node, { "data-level": level });
  setIcon(node.querySelector(".icon"), level);
  text(node.querySelector("span"), words);
  attr(node, { title: words, class: words.length > 27 ? "long" : null });
  const rate = s?.Window?.Rate;
  const sign = { live: "●", paused: "❚❚", stale: "▲", ended: "■", disconnected: "✕", waiting: "…" }[phase];
  document.title = s && data.newest ? `${sign} ${phase === "live" || phase === "paused" ? (rate !== undefined ? hz(rate) : int(s.Window.Total) + " hits") : WORDS[phase]} — run ${s.Run?.Name ?? ""} — ${data.config?.Title ?? "dtserve"}` : `${sign} ${data.config?.Title ?? "dtserve"}`;
}

function drawFacts() {
  const s = data.state;
  text($("title"), data.config?.Title ?? "dtserve");
  if (!s || !data.newest) return;
  const v = data.get("window");
  const run = v?.Span?.Run || s.Run?.Name || "–";
  text($("run-name"), run);
  attr($("run-name"), { title: run });
  const triggers = (view.at ? data.get("recent") : s.Recent)?.Trigger;
  text($("triggers"), triggers?.Rate !== undefined ? hz(triggers.Rate) : "–");
  attr($("triggers"), { title: triggers ? `${plural(triggers.Orbits, "trigger")} in the last ${duration(data.recentSeconds)}` : null });
  const silent = !view.at && (lastLink !== "open" || dataPhase() !== "live");
  fpgas(v, data.config.Thresholds).forEach((known, n) => {
    const f = silent ? { state: "unknown", text: "no data", detail: `Last known: ${known.detail}` } : known;
    const node = $(`fpga-${n}`);
    attr(node, { "data-state": f.state, title: f.detail });
    setIcon(node.querySelector(".icon"), { ok: "ok", silent: "alarm", behind: "alarm", unknown: "unknown" }[f.state]);
    text(node.querySelector("dd span"), f.text);
  });
  drawAlarms(s);
}

// drawAlarms: "5 · 6 warnings", "1 warning · 3 ack.", "none".
function drawAlarms(s) {
  const { present, open } = health(s, acknowledged), count = $("alarms-count");
  const alarms = open.filter(a => a.Severity === "alarm").length, warnings = open.length - alarms, seen = present.length - open.length;
  const parts = [alarms ? int(alarms) : "", warnings ? plural(warnings, "warning") : "", seen ? `${int(seen)} ack.` : ""].filter(Boolean);
  const words = parts.join(" · ") || "none";
  text(count, words);
  attr(count, { href: hashFor({ tab: "alarms" }), "data-state": alarms ? "bad" : warnings ? "warn" : "ok", "data-count": present.length, "aria-label": `Alarms: ${words}` });
}

function drawTabs(tabs) {
  fill($("tabs"), tabs, () => el("a", { on: { click: choose } }), (a, tab) => {
    attr(a, { href: hashFor({ tab: tab.id }), "data-tab": tab.id, "aria-current": tab.id === view.tab ? "page" : null });
    text(a, tab.label);
  });
  const nav = $("tabs"), current = nav.querySelector("[aria-current]");
  if (current && nav.dataset.shown !== view.tab) {
    nav.dataset.shown = view.tab;
    nav.scrollLeft = current.offsetLeft - nav.offsetLeft - 40; // on a phone the tabs scroll
  }
}

// choose shows the tab of a link. Its address is of the last draw, and would undo what was changed since.
function choose(e) {
  if (e.button || e.ctrlKey || e.metaKey || e.shiftKey) return;
  e.preventDefault();
  location.hash = hashFor({ tab: e.currentTarget.dataset.tab });
}

function drawSwitches() {
  if (!data.config) return;
  const lengths = [...new Set([...RECENTS, data.config.Recent_Seconds, data.recentSeconds])].sort((a, b) => a - b);
  const recent = $("recent");
  fill(recent, lengths, () => el("option"), (option, seconds) => {
    attr(option, { value: seconds });
    text(option, duration(seconds));
  });
  recent.value = String(data.recentSeconds);
  const span = $("span");
  text(span.querySelector("[value=recent]"), `last ${duration(data.recentSeconds)}`);
  span.value = view.span;
  $("scale").value = view.scale;
  $("log").checked = view.log;
  attr(document.querySelector("[data-action=pause]"), { "aria-pressed": view.at ? "true" : "false" });
  text(document.querySelector("[data-action=pause] span"), view.at ? "Go live" : "Pause");
  setIcon(document.querySelector("[data-action=pause] .icon"), view.at ? "play" : "paused");
  const ref = document.querySelector("[data-action=reference]");
  text(ref, reference.view ? "Reference on" : "Reference");
  attr(ref, { class: reference.view ? "on" : null });
}

// drawProblem says what stands between the viewer and the picture that the link means.
export function drawProblem() {
  const list = [];
  const s = data.state;
  if (reference.missing) list.push({ text: `This link compares with reference ${reference.missing}, which this browser does not have.`, button: "Open its file", action: "reference", also: ["Without it", "no-reference"] });
  if (data.problem && (view.at || view.span === "reset")) list.push({ text: `What is looked at cannot be shown: ${data.problem}.`, button: "Back to live", action: "live" });
  const shown = data.rowAt(view.at);
  if (view.at && view.run && shown && shown.Run !== view.run) list.push({ text: `This link was made in run ${view.run}; window ${view.at} is now of run ${shown.Run}.`, button: "Back to live", action: "live" });
  if (view.span === "reset" && s.Oldest > view.reset + 1) list.push({ text: `“Since reset” begins at window ${s.Oldest}: older ones are no longer kept.` });
  if (s.Stale_Epoch && !view.at) list.push({ text: "These hits are of a stale buffer: the counters have not been reset yet, and their times are of before the run." });
  if (s.Ended && s.Ended.Why !== "the input has ended") list.push({ text: `The source ended with an error: ${s.Ended.Why}` });
  const window = data.get("window"), missing = window?.Span?.Missing ?? [];
  if (missing.length) {
    const now = !view.at && s.Phase === "live";
    list.push({ text: now ? `${capital(silent(missing, window.Span.Lanes, true))}: what you see lacks their hits. It is put right when they come back.`
      : `In window ${int(window.Span.To)} ${silent(missing, window.Span.Lanes)}: it lacks their hits. It is put right if they come back.` });
  }
  if (window?.Bare) list.push({ text: "These lines have only the first pipeline's keys: what needs more is left empty." });
  fill($("notices"), list, () => el("p", {}, el("span"), el("button", { type: "button" }), el("button", { type: "button" })), (p, item) => {
    const [words, button, also] = p.children;
    text(words, item.text);
    for (const [b, label, action] of [[button, item.button, item.action], [also, item.also?.[0], item.also?.[1]]]) {
      show(b, label);
      text(b, label ?? "");
      attr(b, { "data-action": action ?? null });
    }
  });
}
