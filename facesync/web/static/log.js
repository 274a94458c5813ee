// Log: who appeared while watching; an unknown face gets a name here, and a mistake is undone.

import { get, post, remove } from "./api.js";
import { ask, regret, settled } from "./dialogs.js";
import { bdi, button, certainty, h, heading, icon, leading, notice, when } from "./dom.js";

export const title = "Log";

export async function show(place, { signal, again }) {
  const [{ entries }, { people }] = await Promise.all([get("/api/log", signal), get("/api/people", signal)]);
  const forget = button("Forget all", async () => {
    await remove("/api/log");
    await again();
    notice("The log is empty.");
  });
  place.append(heading("Log", "Who appeared before the camera. It is kept in memory only, and forgotten when the app ends.", entries.length ? forget : null));
  if (entries.length) place.append(h("ol", { className: "log", role: "list" }, entries.map((entry) => row(entry, people, again))));
  else place.append(h("div", { className: "card empty" }, icon("log"), h("p", {}, "Nobody has appeared yet."), leading("Start watching", "#/live", { className: "primary" })));
}

let numbered = 0;

function row(entry, people, again) {
  const id = `entry-${++numbered}`;
  const image = h("img", { className: "portrait", src: `/api/log/${entry.id}/image`, alt: "" });
  const act = (text, does, className = "") => button(text, does, { className, "aria-describedby": id });
  const unnamed = entry.name === null && entry.named === null;
  const send = (work, ...words) => change(work, words, again);
  return h("li", { className: "card entry" }, image,
    h("div", { className: "about" },
      h("h2", { id }, whoWas(entry)),
      h("p", {}, h("time", { dateTime: entry.time }, when(entry.time)), ...details(entry))),
    h("div", { className: "actions" },
      unnamed && entry.live !== false ? act("This is …", () => nameIt(entry, people, again)) : null,
      unnamed ? act("Nobody I know", () => send(() => post(`/api/log/${entry.id}`, { name: null }), "Noted: nobody you know."), "quiet") : null,
      entry.undo ? act("Undo", () => send(() => remove(`/api/log/${entry.id}/name`), "Undone."), "quiet") : null));
}

function whoWas({ name, named }) {
  if (typeof named === "string") return ["Named ", bdi(named)];
  if (named === false) return "Nobody you know";
  return name === null ? "Unknown" : bdi(name);
}

function details({ name, similarity, probability, live }) {
  const parts = [];
  if (similarity !== null) parts.push(`similarity ${similarity.toFixed(2)}`);
  if (probability !== null) parts.push(certainty(probability, name !== null));
  parts.push({ true: "live", false: "not live" }[live] ?? "");
  return parts.filter(Boolean).map((part) => ` · ${part}`);
}

async function change(work, words, again) {
  try {
    if (await work() === null) return;
    await again();
    notice(...words);
  } catch (error) {
    await regret(error);
  }
}

async function nameIt(entry, people, again) {
  const names = h("datalist", { id: "names" }, people.map(({ name }) => h("option", { value: name })));
  const input = h("input", { type: "text", required: true, dir: "auto", autocomplete: "off", list: "names" });
  const name = await ask({
    title: "Who is this?", confirm: "Save", value: () => input.value,
    body: [
      h("label", {}, "Name", input), names,
      h("p", {}, "The face becomes a sample of somebody registered, or of a new person, after the checks of every enrolment. You can undo it."),
    ],
  });
  if (name === null) return;
  await change(() => settled((allowed) => post(`/api/log/${entry.id}`, { name, ...allowed })), ["Saved as ", bdi(name), "."], again);
}
