// The camera's image with what is drawn over it, and the line that says what is going on.

import { Camera } from "./camera.js";
import { banner, h, icon, sentence } from "./dom.js";
import { Overlay } from "./overlay.js";

const SECONDS = /^(.*) \((\d+) s\)$/;  // a challenge says how much time is left

export class Stage {
  // `viewed` is told each view; `segments` makes the ring of samples from one.
  constructor(signal, { viewed = () => {}, segments = () => null, stopped = () => {}, idle }) {
    Object.assign(this, { signal, viewed, segments, stopped });
    this.video = h("video", { muted: true, playsInline: true, "aria-label": "Your camera, as in a mirror" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.left = h("span", { className: "left", hidden: true, "aria-hidden": "true" });
    this.idle = h("div", { className: "idle" }, icon("face"), h("p", {}, idle));
    this.status = h("p", { className: "status", role: "status", "aria-live": "polite" });
    this.hint = h("p", { className: "hint" });
    this.trouble = h("div", { role: "alert" });
    this.picture = h("div", { className: "picture" }, this.video, this.canvas, this.left, this.idle);
    this.element = h("div", { className: "stage" }, this.picture, this.status, this.hint, this.trouble);
    this.overlay = new Overlay(this.canvas);
    this.say("The camera is off.");
  }

  get running() {
    return Boolean(this.camera);
  }

  // Run the camera for a task until it is stopped, and say why where it ended by itself.
  async run(first) {
    this.trouble.replaceChildren();
    this.say("Starting the camera …");
    const camera = new Camera(this.video, (view, size) => this.show(view, size), this.signal);
    this.camera = camera;
    let trouble = "";
    try {
      await camera.run(first);
    } catch (error) {
      trouble = error.message;
    }
    this.camera = null;
    this.overlay.clear();
    this.picture.classList.remove("on");
    this.left.hidden = true;
    if (this.signal.aborted) return;
    this.say("The camera is off.");
    if (trouble) this.trouble.replaceChildren(banner(sentence(trouble), "bad"));
    this.stopped(trouble);
  }

  show(view, size) {
    this.picture.classList.add("on");
    const [, status, seconds] = SECONDS.exec(view.status) ?? [null, view.status];
    this.say(status, view.tone);
    this.left.hidden = !seconds;
    this.left.textContent = seconds ?? "";
    if (this.hint.textContent !== view.hint) this.hint.textContent = view.hint;
    this.overlay.update(view, size, this.segments(view));
    this.viewed(view);
  }

  // Screen readers say the line each time it changes: only then is it touched.
  say(status, tone = "neutral") {
    if (this.status.textContent !== status) this.status.textContent = status;
    this.status.dataset.tone = tone;
  }
}
