// Live: names on the boxes of everybody in view; a press of Verify decides who it is.

import { get } from "./api.js";
import { bdi, button, certainty, facts, h, heading, sentence } from "./dom.js";
import { Stage } from "./stage.js";

export const title = "Live";

const STANDS = 4000;  // milliseconds that a verdict stands over the image

export async function show(place, { signal }) {
  const { people } = await get("/api/people", signal);
  const whom = h("select", {}, h("option", { value: "" }, "anybody registered"), people.map(({ name }) => h("option", { value: name }, name)));
  const verdict = h("div", { className: "verdicts", role: "status" });
  const present = h("ul", { className: "present", role: "list" });
  let verifying = false;
  const stage = new Stage(signal, {
    idle: "Your camera shows here once you start it.",
    viewed(view) {
      inView(present, view.people ?? []);
      present.hidden = !view.people;
      if (!view.decision) return;
      verdict.replaceChildren(decided(view.decision));
      verify.disabled = false;
      verifying = false;
      setTimeout(() => verifying || stage.camera?.change({ task: "watch" }), STANDS);
    },
    stopped() {
      start.hidden = false;
      stop.hidden = true;
      verify.disabled = verifying = false;
      present.replaceChildren();
    },
  });
  const run = (task) => {
    start.hidden = true;
    stop.hidden = false;
    if (stage.running) stage.camera.change(task);
    else stage.run(task);
  };
  const start = button("Start camera", () => {
    run({ task: "watch" });
    stop.focus();
  }, { className: "primary" });
  const stop = button("Stop", () => {
    stage.camera?.stop();
    start.focus();
  }, { hidden: true });
  const verify = button("Verify", () => {
    verdict.replaceChildren();
    verifying = verify.disabled = true;
    run({ task: "verify", ...(whom.value ? { name: whom.value } : {}) });
    stage.camera.press("v");
  }, { className: "primary" });
  place.append(
    heading("Live", "Start the camera to see who is in view. Verify decides who is before it, and whether it is a person or only an image of one."),
    h("div", { className: "columns wide" },
      h("section", { className: "card", "aria-label": "Camera" }, stage.element,
        h("div", { className: "actions" }, start, verify, stop, h("label", { className: "inline" }, "Accept", whom))),
      h("div", { className: "side" }, verdict,
        h("section", { className: "card", "aria-labelledby": "in-view" }, h("h2", { id: "in-view" }, "In view"), present,
          h("p", { className: "remark" }, "Who appears is noted in the Log, in memory only.")))));
}

function inView(place, names) {
  if (place.dataset.names === JSON.stringify(names) && place.hasChildNodes()) return;
  place.dataset.names = JSON.stringify(names);
  place.replaceChildren(...(names.length ? names : ["Nobody known"]).map((name) => h("li", {}, bdi(name))));
}

function decided(decision) {
  const { accepted, name, similarity, threshold, probability, liveness, nearly } = decision;
  const two = (value) => (value === null || value === undefined ? null : value.toFixed(2));
  return h("section", { className: `card verdict ${accepted ? "good" : "bad"}`, "aria-label": "Verdict" },
    h("h2", {}, accepted ? ["Accepted: ", bdi(name)] : nearly ? "Denied, but nearly" : "Access denied"),
    nearly ? h("p", {}, "What helps: more light, coming closer, one face in view; or more samples.") : null,
    facts([
      ["Similarity", two(similarity)], ["Needed", two(threshold)],
      // a face that is like enough but refused was refused for another reason
      ["Probability", accepted || similarity < threshold ? certainty(probability, accepted) : null],
      // who is not like enough is not asked to turn: that it would be needed says nothing
      ["Live", liveness && liveness.challenge !== "needed" && liveness.reason !== decision.reason ? liveness.reason : null],
    ]),
    h("p", { className: "remark", dir: "auto" }, sentence(decision.reason)),
    decision.trusted === false ? h("p", { className: "remark" }, `The model is not trusted: ${decision.model?.why ?? ""}`) : null);
}
