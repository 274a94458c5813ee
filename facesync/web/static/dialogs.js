// Questions: a doubt that the owner decides, a confirmation, a name.

import { button, h, sentence } from "./dom.js";

let numbered = 0;

// Ask in a modal dialog; the answer is what `value` gives when the button is pressed, else null.
export function ask({ title, body = [], confirm, cancel = "Cancel", danger = false, value = () => true }) {
  const id = `dialog-${++numbered}`;
  const form = h("form", { method: "dialog" });
  const dialog = h("dialog", { "aria-labelledby": id }, form);
  form.append(
    h("h2", { id }, title), ...[body].flat(),
    h("div", { className: "actions" },
      cancel ? button(cancel, () => dialog.close()) : null,
      h("button", { type: "submit", className: danger ? "danger" : "primary" }, confirm)));
  return new Promise((resolve) => {
    let answer = null;
    form.addEventListener("submit", () => { answer = value(); });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// Say what went wrong with something that was asked for.
export const regret = (error) => ask({ title: "That did not work", body: h("p", { dir: "auto" }, sentence(error.message)), confirm: "Close", cancel: "" });

export async function askDoubt(doubt) {
  return ask({
    title: "Are you sure?", confirm: "Yes, go on",
    body: [h("p", { dir: "auto" }, sentence(doubt.what)), h("p", {}, doubt.question)],
  });
}

// Send a request; where there is a doubt, ask, and send it again with what the answer allows.
export async function settled(send) {
  const allowed = {};
  for (;;) {
    try {
      return await send(allowed);
    } catch (error) {
      const by = error.doubt?.allowed_by;
      if (!by || allowed[by]) throw error;
      if (!await askDoubt(error.doubt)) return null;
      allowed[by] = true;
    }
  }
}
