// Alarms, present and past, with their times; acknowledging is the viewer's own. Below them every check with its last value
// and what is accepted, how many false alarms are expected, and the thresholds.

import { data } from "../data.js";
import { hashFor } from "../view.js";
import { acknowledged, acknowledge } from "../acknowledge.js";
import { el, fill, attr, text, show, icon, setIcon, scrollTable } from "../dom.js";
import { capital } from "../say.js";
import { dateTime, detector, duration, sig, int } from "../format.js";

const STATES = { ok: ["ok", "ok"], bad: ["alarm", "bad"], unknown: ["unknown", "not judged yet"] };
const RANK = { bad: 0, unknown: 1, ok: 2 };
const whose = c => (c.Chamber ? `chamber ${c.Chamber}` : c.FPGA !== undefined ? `FPGA ${c.FPGA}` : "all");

export function build(section) {
  const present = scrollTable("Present alarms", ["Severity", "What", "Since", "Detector time", "Window", "Acknowledged"], { unseen: true });
  const past = scrollTable("Past alarms", ["Severity", "What", "Raised", "Cleared", "Lasted", "Window"], { unseen: true });
  const checks = scrollTable("Checks", ["State", "Of", "Check", "Last value", "Accepted"], { unseen: true });
  const none = el("p", { class: "quiet" }, "No alarm is present."), noPast = el("p", { class: "quiet" }, "None since the server began.");
  const all = el("button", { type: "button", data: { action: "acknowledge-all" } }, "Acknowledge all");
  const rate = el("p");
  const thresholds = el("pre", { tabindex: "0", role: "region", "aria-label": "Thresholds" });
  section.append(el("div", { class: "tab-head" }, el("h2", {}, "Alarms"), rate, all),
    el("h3", {}, "Present"), none, present.node, el("h3", {}, "Past"), noPast, past.node, el("h3", {}, "Checks"), checks.node,
    el("details", { class: "thresholds" }, el("summary", {}, "Thresholds (dtserve --print-thresholds)"), thresholds));
  all.addEventListener("click", () => data.state.Alarms.filter(a => !a.Cleared).forEach(a => acknowledge(a, true)));

  const severity = () => el("td", { class: "state" }, icon("alarm"), el("span"));
  const drawSeverity = (cell, a) => {
    attr(cell, { "data-state": a.Severity === "alarm" ? "bad" : "warn" });
    setIcon(cell.querySelector(".icon"), a.Severity === "alarm" ? "alarm" : "warning");
    text(cell.querySelector("span"), a.Severity);
  };
  const windowLink = (link, id) => {
    const kept = id >= data.state.Oldest;
    attr(link, { href: kept ? hashFor({ tab: "glance", at: id, held: data.newest }) : null, title: kept ? "Look at that window" : "no longer kept" });
    text(link, int(id));
  };

  return { draw };

  function draw() {
    const { Alarms, Checks, False_Alarms } = data.state;
    const now = Alarms.filter(a => !a.Cleared).sort((a, b) => (b.Severity === "alarm") - (a.Severity === "alarm")), then = Alarms.filter(a => a.Cleared);
    const chance = False_Alarms >= 0.001 ? `${sig(False_Alarms, 2)} a day` : "fewer than 0.001 a day";
    text(rate, `False alarms expected by chance: ${chance}. ${data.config.Thresholds?.spans_in_a_row ?? 2} bad spans in a row raise an alarm, as many good ones clear it.`);
    show(none, !now.length);
    show(present.node, now.length);
    show(all, now.some(a => !acknowledged(a)));
    show(noPast, !then.length);
    show(past.node, then.length);
    fill(present.body, now, () => {
      const box = el("input", { type: "checkbox" });
      const tr = el("tr", {}, severity(), el("td", { class: "words" }), el("td"), el("td"), el("td", {}, el("a")), el("td", {}, el("label", {}, box, " by me")));
      box.addEventListener("change", () => acknowledge(tr.alarm, box.checked));
      return tr;
    }, (tr, a) => {
      tr.alarm = a;
      attr(tr, { "data-key": a.Key, class: acknowledged(a) ? "seen" : null });
      drawSeverity(tr.children[0], a);
      text(tr.children[1], capital(a.Text));
      text(tr.children[2], dateTime(a.Raised));
      text(tr.children[3], detector(a.Raised_At));
      windowLink(tr.children[4].firstChild, a.Raised_Id);
      const box = tr.querySelector("input");
      box.checked = acknowledged(a);
      attr(box, { "aria-label": `by me, alarm: ${a.Text}` });
    });
    fill(past.body, then, () => el("tr", {}, severity(), el("td", { class: "words" }), el("td"), el("td"), el("td"), el("td", {}, el("a"))), (tr, a) => {
      attr(tr, { "data-key": a.Key });
      drawSeverity(tr.children[0], a);
      text(tr.children[1], capital(a.Text));
      text(tr.children[2], dateTime(a.Raised));
      text(tr.children[3], dateTime(a.Cleared));
      text(tr.children[4], duration(a.Cleared - a.Raised));
      windowLink(tr.children[5].firstChild, a.Raised_Id);
    });
    fill(checks.body, [...Checks].sort((a, b) => RANK[a.State] - RANK[b.State]), () => el("tr", {}, el("td", { class: "state" }, icon("ok"), el("span")), el("td"), el("td"), el("td", { class: "words" }), el("td", { class: "words" })), (tr, c) => {
      const [sign, word] = STATES[c.State] ?? STATES.unknown;
      attr(tr.children[0], { "data-state": c.State });
      setIcon(tr.querySelector(".icon"), sign);
      text(tr.querySelector("span"), word);
      text(tr.children[1], whose(c));
      text(tr.children[2], c.Name.replace(/^FPGA alive$/, "alive"));
      text(tr.children[3], c.Value);
      text(tr.children[4], c.Rule);
    });
    text(thresholds, JSON.stringify(data.config.Thresholds ?? {}, null, 2));
  }
}
