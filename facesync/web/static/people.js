// People: who is registered, and what can be done with each of them.

import { get, patch, person, post, remove } from "./api.js";
import { ask, regret, settled } from "./dialogs.js";
import { bdi, button, count, h, heading, icon, leading, notice, saving, stays, when } from "./dom.js";

export const title = "People";

export async function show(place, { signal, again }) {
  const { people } = await get("/api/people", signal);
  if (!people.length) {
    place.append(welcome());
    return;
  }
  place.append(
    heading("People", `${count(people.length, "person is", "people are")} registered.`,
      leading("Register somebody", "#/register", { className: "primary" })),
    h("ul", { className: "people", role: "list" }, people.map((each) => card(each, people, again))));
}

function welcome() {
  return h("div", { className: "welcome" },
    h("div", { className: "mark", "aria-hidden": "true" }, icon("live")),
    h("h1", { tabIndex: -1 }, "Welcome to FaceSync"),
    h("p", { className: "lead" }, "FaceSync learns your face from five looks into the camera, in about half a minute. Nothing leaves this computer, and you can delete everything again."),
    leading("Register yourself", "#/register", { className: "primary large" }));
}

let numbered = 0;

function card(one, people, again) {
  const id = `person-${++numbered}`;
  const described = { "aria-describedby": id, className: "quiet" };
  const act = (text, does, properties = {}) => button(text, does, { ...described, ...properties });
  const since = one.registered ? `since ${when(one.registered, false)}` : "from an older store";
  return h("li", { className: "card person" },
    portrait(one.name),
    h("div", { className: "about" },
      h("h2", { id }, bdi(one.name)),
      h("p", {}, `${count(one.samples, "sample", "samples")}, ${since}`),
      one.alike?.length ? h("p", { className: "remark" }, "Too like ", bdi(one.alike.join(", ")), " to be told apart reliably.") : null,
      h("div", { className: "actions" },
        act("Rename", () => rename(one.name, again)),
        people.length > 1 ? act("Merge", () => merge(one.name, people, again)) : null,
        leading("Add samples", `#/register?add=${encodeURIComponent(one.name)}`, described),
        saving("Export", () => `${person(one.name)}/export`, described),
        act("Delete", () => forget(one.name, again), { className: "quiet danger" }))));
}

// The first sample of somebody; a drawing where no image is kept.
export function portrait(name) {
  const image = h("img", { src: `${person(name)}/image`, alt: "", loading: "lazy", className: "portrait" });
  image.addEventListener("error", () => image.replaceWith(h("span", { className: "portrait none" }, icon("face"))));
  return image;
}

// Do something, say what came of it, and draw the screen again; an error is said in its place.
async function done(work, say, again) {
  try {
    const answer = await work();
    if (answer === null) return;
    await again();
    say(answer);
  } catch (error) {
    await regret(error);
  }
}

async function rename(name, again) {
  const input = h("input", { type: "text", value: name, required: true, dir: "auto", autocomplete: "off" });
  const asked = ask({
    title: "Rename", confirm: "Rename", value: () => input.value,
    body: h("label", {}, "New name", input),
  });
  input.select();
  const wanted = await asked;
  if (wanted === null || wanted === name) return;
  await done(() => settled((allowed) => patch(person(name), { name: wanted, ...allowed })),
    (now) => notice(bdi(name), " is now called ", bdi(now.name), "."), again);
}

async function merge(name, people, again) {
  const others = people.filter((each) => each.name !== name);
  const select = h("select", {}, others.map((each) => h("option", { value: each.name }, each.name)));
  const other = await ask({
    title: "Merge two entries of one person", confirm: "Merge", value: () => select.value,
    body: [
      h("label", {}, "Who is the same person?", select),
      h("p", {}, "Their samples join those of ", bdi(name), ", and their own entry is gone."),
    ],
  });
  if (other === null) return;
  await done(() => settled((allowed) => post(`${person(name)}/merge`, { other, ...allowed })),
    (now) => notice(bdi(other), " is merged into ", bdi(now.name), `: ${count(now.samples, "sample", "samples")}.`), again);
}

async function forget(name, again) {
  const sure = await ask({
    title: "Delete this person?", confirm: "Delete", danger: true,
    body: h("p", {}, bdi(name), " will not be recognised any more. All samples and images are deleted, wherever FaceSync keeps them."),
  });
  if (!sure) return;
  await done(() => remove(person(name)), (gone) => stays(bdi(gone.name), ` is deleted. ${gone.proof}`), again);
}
