// Alarms that this viewer has acknowledged, kept in this browser. One that clears and comes again is another one.
//
//   acknowledged(alarm) → bool;  acknowledge(alarm, bool);  onChange(call)

import { remember, recall } from "./view.js";

const KEY = "dtserve.acknowledged";
const MOST = 500;
const listeners = new Set();
const name = alarm => `${alarm.Key} ${alarm.Raised}`;
let list = recall(KEY) ?? [];

export const onChange = call => listeners.add(call);
export const acknowledged = alarm => list.includes(name(alarm));

export function acknowledge(alarm, yes) {
  list = list.filter(n => n !== name(alarm));
  if (yes) list.push(name(alarm));
  list = list.slice(-MOST);
  remember(KEY, list);
  for (const call of listeners) call();
}

addEventListener("storage", e => {
  if (e.key !== KEY) return;
  list = recall(KEY) ?? [];
  for (const call of listeners) call();
});
