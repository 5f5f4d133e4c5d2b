// Starts the page: the connection gives states, the view says what is looked at, and one draw a window shows it.
//
//   what is known     live.js the connection · data.js views and trend rows · view.js what is looked at, in the URL ·
//                     reference.js what plots are compared with · results.js result lines summed here · acknowledge.js
//   what is shown     index.html the frame · top.js status and switches · timeline.js the time cursor · tabs/*.js · wire.js ·
//                     referencedialog.js · command.js · menu.js · announce.js
//   the plots         figures.js which, for which span · plots/*.js · expand.js, stats.js, export.js
//   words             say.js the state in a sentence · format.js numbers · commands.js shell commands
//   the rest          keys.js keyboard, buttons, help · dom.js nodes

import { connect } from "./live.js";
import { data } from "./data.js";
import { view, set, on, start } from "./view.js";
import { attr, el, text, show } from "./dom.js";
import { zooms } from "./plots/frame.js";
import { announce } from "./announce.js";
import { plural } from "./format.js";
import * as reference from "./reference.js";
import * as acks from "./acknowledge.js";
import * as dialog from "./referencedialog.js";
import * as top from "./top.js";
import * as timeline from "./timeline.js";
import * as wire from "./wire.js";
import * as keys from "./keys.js";
import * as glance from "./tabs/glance.js";
import * as chamber from "./tabs/chamber.js";
import * as electronics from "./tabs/electronics.js";
import * as ledger from "./tabs/ledger.js";
import * as alarms from "./tabs/alarms.js";
import * as source from "./tabs/source.js";
import * as other from "./tabs/other.js";

const main = document.getElementById("main");
const built = new Map(); // tab → {section, draw}
let planned = false;
let link = "connecting";

// tabs are those that there is something for.
function tabs() {
  const list = [{ id: "glance", label: "At a glance", build: glance.build }];
  const n = data.config?.Map?.Chambers?.length ?? 4;
  for (let i = 1; i <= n; i++) list.push({ id: `chamber-${i}`, label: `Chamber ${i}`, build: host => chamber.build(host, i) });
  list.push({ id: "electronics", label: "Electronics", build: electronics.build }, { id: "ledger", label: "Ledger", build: ledger.build },
    { id: "alarms", label: "Alarms", build: alarms.build }, { id: "source", label: "Source", build: source.build });
  if (data.state?.Whole?.Other?.length || data.state?.Window?.Other?.length || view.tab === "other") list.push({ id: "other", label: "Other", build: other.build });
  return list;
}

// plan draws once in the next frame, however many reasons there are.
function plan() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    draw();
  });
}

function draw() {
  attr(document.documentElement, { "data-theme": view.theme || null });
  data.problem = "";
  top.draw(link, tabs());
  timeline.draw();
  if (!data.newest) {
    waiting();
    return;
  }
  const tab = tabs().find(t => t.id === view.tab) ?? tabs()[0];
  if (!built.has(tab.id)) {
    const section = el("div", { class: `tab ${tab.id.replace(/-\d+$/, "")}` });
    main.append(section);
    built.set(tab.id, { section, ...tab.build(section) });
  }
  main.querySelector(".waiting")?.remove();
  for (const [id, b] of built) show(b.section, id === tab.id);
  built.get(tab.id).draw();
  wire.draw();
  top.drawProblem();
  attr(main, { "data-ready": "1", "data-id": data.at });
}

function waiting() {
  if (!main.querySelector(".waiting")) {
    main.append(el("div", { class: "waiting" }, el("p", { class: "waiting-title" }), el("pre", {}, "dtcat run.csv | dtfilter | dtchamber | dthist --window 2s --hist2 auto | dtserve")));
  }
  text(main.querySelector(".waiting-title"), link === "lost" ? "The server does not answer. Trying again …" : data.state ? "No result line has come yet. They come from dthist:" : "Connecting …");
  if (data.state) attr(main, { "data-ready": "1", "data-id": 0 });
}

// tell says that windows came again, soon, but at most once a minute.
let revised = 0, told = -Infinity;
function tell(more) {
  if (!(more > 0)) return;
  revised += more;
  if (revised > more) return; // it will be said
  setTimeout(() => {
    announce(`${plural(revised, "window")} ${revised === 1 ? "was" : "were"} revised: lanes that were silent have come back`);
    revised = 0;
    told = Date.now();
  }, Math.max(2000, told + 60000 - Date.now()));
}

// forget takes all tabs down: another server may have other chambers.
function forget() {
  for (const b of built.values()) {
    b.figures?.destroy();
    b.section.remove();
  }
  built.clear();
}

start();
zooms.load(view.zoom);
top.build();
timeline.build();
dialog.build();
keys.build();
on(changed => {
  if (changed.includes("ref")) reference.find();
  if (changed.includes("tab")) scrollTo(0, 0);
  plan();
});
reference.onChange(plan);
acks.onChange(plan);
data.onChange = plan;
setInterval(() => top.tick(link), 1000);

connect({
  onFresh(state) {
    const before = data.config;
    data.fresh(state);
    if (before) forget();
    if (view.reset > state.Id) set({ reset: 0, span: view.span === "reset" ? "auto" : view.span }); // another server's window
    reference.find();
    plan();
    (window.requestIdleCallback ?? setTimeout)(() => data.rest());
  },
  onState(state) {
    const before = data.revised;
    data.take(state);
    tell(data.revised - before);
    plan();
  },
  onLink(now) {
    if (link === now || (link === "stopped" && now === "lost")) return;
    link = now;
    plan();
  },
});
