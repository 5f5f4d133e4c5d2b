// A short message at the foot of the page that goes away by itself, and is read out.

import { el, text, show } from "./dom.js";

let node = null, timer = 0;

export function announce(words) {
  if (!node) {
    node = el("div", { id: "toast", role: "status", hidden: true });
    document.body.append(node);
  }
  show(node, true);
  text(node, words);
  clearTimeout(timer);
  timer = setTimeout(() => show(node, false), 4000);
}
