// A shell command with a button that copies it.
//
//   const c = command("title");  host.append(c.node);  c.set("dtcat … | …")

import { el, text, copy, icon } from "./dom.js";
import { announce } from "./announce.js";

export function command(title) {
  const pre = el("pre", { tabindex: "0", role: "region", "aria-label": title });
  const button = el("button", { type: "button", data: { action: "copy-command" } }, icon("copy"), "Copy");
  button.addEventListener("click", async () => announce(await copy(pre.textContent) ? "The command is copied" : "The browser did not let it be copied: select it instead"));
  return { node: el("div", { class: "command" }, el("div", { class: "command-head" }, el("p", {}, title), button), pre), set: string => text(pre, string) };
}
