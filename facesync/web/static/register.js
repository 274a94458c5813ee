// Register: consent, then samples from the camera or from images.

import { get, upload } from "./api.js";
import { ask, settled } from "./dialogs.js";
import { banner, bdi, button, count, h, heading, leading, sentence } from "./dom.js";
import { dropZone } from "./drop.js";
import { Stage } from "./stage.js";

export const title = "Register";

// Where the frame, not mirrored, shows a turn; left and right are the person's own.
const SIDES = [[/your left/, [1, 0]], [/your right/, [-1, 0]], [/lift your chin/i, [0, -1]], [/lower your chin/i, [0, 1]]];

export async function show(place, { parameters, signal }) {
  const { people } = await get("/api/people", signal);
  const more = parameters.get("add");
  const name = h("input", {
    type: "text", required: true, dir: "auto", autocomplete: "off", value: more ?? "", readOnly: Boolean(more), maxLength: 100,
    placeholder: "Ada Lovelace",
  });
  const consent = h("input", { type: "checkbox", required: true });
  const form = h("form", { className: "card form", onsubmit: (event) => event.preventDefault() },
    h("label", {}, "Name", name),
    h("label", { className: "check" }, consent, h("span", {}, "I may register this person: they have agreed")));
  let adds = false;
  const done = (answer) => place.replaceChildren(registered(answer, adds));
  // What is asked for; null where the form is not complete, or the owner thought better of it.
  const asked = async () => {
    if (!form.reportValidity()) return null;
    const known = people.some((each) => each.name === name.value.trim());
    adds = Boolean(more);
    if (more || !known) return { name: name.value, ...(more ? { add: true } : {}) };
    const how = await moreOrAnew(name.value);
    adds = how === "add";
    return how && { name: name.value, [how]: true };
  };
  const first = people.length === 0;
  place.append(
    more ? heading("Add samples", "More samples of a person: in another light, with glasses, with a new beard.")
      : heading(first ? "Register yourself" : "Register", "Look straight into the camera, then turn your head a little as the ring says. The samples are taken by themselves."),
    form,
    h("div", { className: "columns" },
      camera({ asked, done, signal }), images({ asked, done })));
}

function moreOrAnew(name) {
  const option = (value, text, checked) => h("label", { className: "check" }, h("input", { type: "radio", name: "how", value, checked }), text);
  const choice = h("div", { className: "choices", role: "radiogroup", "aria-label": "What to do" },
    option("add", "Add samples to those that there are", true), option("replace", "Start over: the samples that there are go", false));
  return ask({
    title: "Already registered", confirm: "Go on", body: [h("p", {}, bdi(name), " is registered already."), choice],
    value: () => choice.querySelector(":checked").value,
  });
}

function camera({ asked, done, signal }) {
  const dots = h("ol", { className: "dots", "aria-hidden": "true" });
  const samples = h("p", { className: "samples" });
  const stage = new Stage(signal, {
    idle: "Your camera shows here once you start it.",
    segments: ({ progress, status, done }) => (progress && !done
      ? { taken: progress[0], of: progress[1], side: SIDES.find(([words]) => words.test(status))?.[1] } : null),
    viewed(view) {
      const [taken, of] = view.progress ?? [0, 0];
      samples.textContent = of ? `${taken} of ${of} samples` : "";
      dots.replaceChildren(...Array.from({ length: of }, (_, number) => h("li", { className: number < taken ? "taken" : "" })));
      take.disabled = view.done || !view.keys.some(([key]) => key === "C");
      if (!view.person) return;
      stage.camera?.stop();
      done(view.person);
    },
    stopped() {
      start.hidden = false;
      take.hidden = stop.hidden = true;
      samples.textContent = "";
      dots.replaceChildren();
    },
  });
  const start = button("Start camera", async () => {
    const request = await asked();
    if (!request) return;
    start.hidden = true;
    take.hidden = stop.hidden = false;
    take.disabled = true;
    stage.run({ task: "register", ...request });
    stop.focus();
  }, { className: "primary" });
  const take = button("Take sample", () => stage.camera?.press("c"), { hidden: true, className: "primary" });
  const stop = button("Stop", () => {
    stage.camera?.stop();
    start.focus();
  }, { hidden: true });
  return h("section", { className: "card", "aria-labelledby": "by-camera" },
    h("h2", { id: "by-camera" }, "With the camera"), stage.element,
    h("div", { className: "progress" }, dots, samples),
    h("div", { className: "actions" }, start, take, stop));
}

function images({ asked, done }) {
  const outcome = h("div", { role: "status" });
  const send = async (files) => {
    const request = await asked();
    if (!request) return;
    outcome.replaceChildren(banner(`Looking at ${count(files.length, "image", "images")} …`));
    try {
      const answer = await settled((allowed) => upload("/api/people", { ...request, images: files, ...allowed }));
      if (answer === null) outcome.replaceChildren(banner("Nothing is stored."));
      else done(answer);
    } catch (error) {
      outcome.replaceChildren(banner(sentence(error.message), "bad"), ofEach(error.outcomes ?? []) ?? "");
    }
  };
  let chosen = [];
  const go = button("Register from images", () => send(chosen), { disabled: true });
  return h("section", { className: "card", "aria-labelledby": "by-images" },
    h("h2", { id: "by-images" }, "With images"),
    dropZone({
      label: "Choose images", text: "Three or more images that show one person. Drop them here.", multiple: true,
      taken(files) {
        chosen = files;
        go.disabled = false;
      },
    }),
    h("div", { className: "actions" }, go), outcome);
}

function registered({ name, samples, outcomes = [], notes = [] }, added) {
  const title = h("h1", { tabIndex: -1 }, bdi(name), added ? " has more samples" : " is registered");
  queueMicrotask(() => title.focus());  // once it is in the page
  return h("div", { className: "card verdict good", role: "status" }, title,
    h("p", {}, `${count(samples, "sample", "samples")} in all.`),
    notes.map((note) => h("p", { className: "remark" }, sentence(note.replace("note: ", "").replace(/; to have.*/, "; add some in People")))),
    ofEach(outcomes),
    h("div", { className: "actions" },
      leading("Try it", "#/live", { className: "primary" }),
      leading("See everybody", "#/people")));
}

// What became of each image.
function ofEach(outcomes) {
  if (!outcomes.length) return null;
  return h("ul", { className: "outcomes" }, outcomes.map((each) => h("li", {},
    bdi(each.image), `: ${each.taken ? "used" : "left out"}${each.reason ? `, ${each.reason}` : ""}`)));
}
