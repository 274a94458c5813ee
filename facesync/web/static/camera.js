// The camera and the conversation about it: one JPEG on its way, the next after its answer.

import { gone } from "./api.js";
import { askDoubt } from "./dialogs.js";

const WIDTH = 640, QUALITY = 0.92;  // of the JPEGs sent
const BUSY = 4503, TRIES = 4, WAIT = 500;  // a window that was just closed gives the camera back
const PATIENCE = 250;  // milliseconds to wait for a new frame; a hidden tab gets none

const DEVICE = "camera";  // where the browser remembers which camera was chosen

export const chosenCamera = () => localStorage.getItem(DEVICE) ?? "";
export const chooseCamera = (id) => localStorage.setItem(DEVICE, id);

export class CameraError extends Error {}

// A session with the camera, from the press of a button until it is left.
export class Camera {
  #stream = null;
  #socket = null;
  #messages = [];
  #waiting = null;
  #keys = [];
  #next = null;
  #woken = null;
  #over = false;
  #failure = null;

  // `shown` is called with each view and the size of the frame that it is about.
  constructor(video, shown, signal) {
    this.video = video;
    this.shown = shown;
    this.canvas = document.createElement("canvas");
    signal.addEventListener("abort", () => this.stop());
  }

  // Run until it is stopped; `first` is the first message.
  async run(first) {
    try {
      await this.#open();
      await this.#begin(first);
      while (!this.#over) await this.#turn();
    } catch (error) {
      if (!this.#over) throw error;
    } finally {
      this.stop();
    }
  }

  press(key) {
    this.#keys.push(key);
  }

  // Begin another task on the same camera.
  change(first) {
    this.#next = first;
    this.#keys = [];
    this.#woken?.();
  }

  // Give the camera back, at once.
  stop() {
    this.#over = true;
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.#socket?.close();
    this.#woken?.();
    this.#waiting?.reject(new CameraError("stopped"));
  }

  async #open() {
    this.#stream = await openCamera();
    if (this.#over) return this.stop();
    const [track] = this.#stream.getVideoTracks();
    this.label = track.label;
    track.addEventListener("ended", () => this.#fail("The camera was unplugged or taken away: plug it in, then start it again."));
    this.video.srcObject = this.#stream;
    await this.video.play();
    return undefined;
  }

  async #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/camera`);
    this.#socket = socket;
    this.#messages = [];
    socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    socket.addEventListener("close", ({ code }) => {
      if (this.#socket !== socket || this.#over) return;
      this.#socket = null;
      if (code === 1006 || code === 1001 || code === 1012) gone();
      this.#fail("The connection to FaceSync broke off: start the camera again.");
    });
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("close", () => reject(new CameraError("FaceSync does not answer.")));
    });
  }

  #take(message) {
    if (this.#waiting) this.#waiting.resolve(message);
    else this.#messages.push(message);
    this.#waiting = null;
  }

  #fail(text) {
    this.#failure = new CameraError(text);
    this.#waiting?.reject(this.#failure);
    this.#waiting = null;
  }

  async #reply() {
    if (this.#messages.length) return this.#messages.shift();
    if (this.#failure) throw this.#failure;
    return new Promise((resolve, reject) => { this.#waiting = { resolve, reject }; });
  }

  // Say what the camera is used for; a doubt is asked, and the answer sent along the next time.
  async #begin(first) {
    let asked = first;
    for (let tries = TRIES; ;) {
      if (!this.#socket) await this.#connect();
      this.#send({ ...asked, camera: this.label });
      const socket = this.#socket;
      const answer = await this.#reply();
      if (answer.type === "ready") return;
      this.#socket = null;
      const { code } = await new Promise((resolve) => { socket.onclose = resolve; });
      const by = answer.doubt?.allowed_by;
      if (code === BUSY && --tries) await new Promise((resolve) => { setTimeout(resolve, WAIT); });
      else if (by && !asked[by]) {
        if (!await askDoubt(answer.doubt)) throw new CameraError(`${answer.doubt.what}; nothing is stored`);
        asked = { ...asked, [by]: true };
      } else throw new CameraError(answer.error);
      if (this.#over) return;
    }
  }

  async #turn() {
    if (this.#next) {
      const next = this.#next;
      this.#next = null;
      await this.#begin(next);
    }
    for (const key of this.#keys.splice(0)) this.#send({ type: "key", key });
    const jpeg = await this.#frame();
    if (this.#over || this.#next) return;
    if (this.#failure) throw this.#failure;
    if (!this.#deliver(jpeg)) return;
    const view = await this.#answer();
    if (this.#over || !view) return;
    this.shown(view, [this.canvas.width, this.canvas.height]);
    if (view.done && !this.#next && !this.#over) await new Promise((resolve) => { this.#woken = resolve; });
  }

  // The view of a frame; null where a question was answered in its place.
  async #answer() {
    const message = await this.#reply();
    if (message.type === "error") throw new CameraError(message.error);
    if (message.type !== "doubt") return message;
    const yes = Boolean(await askDoubt(message));
    this.#send({ type: "answer", yes });
    return yes ? null : this.#answer();  // an error that says what is left undone
  }

  #send(message) {
    return this.#deliver(JSON.stringify(message));
  }

  // False if the connection is closing: its end says why, and what was sent now would be lost.
  #deliver(data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(data);
    return true;
  }

  async #frame() {
    const { video, canvas } = this;
    await new Promise((resolve) => {
      video.requestVideoFrameCallback?.(resolve);
      setTimeout(resolve, PATIENCE);
    });
    canvas.width = Math.min(WIDTH, video.videoWidth) || WIDTH;
    canvas.height = Math.round(canvas.width * video.videoHeight / video.videoWidth) || 480;
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  }
}

const WHY = {
  NotAllowedError: "The browser does not let this page use the camera. Allow it with the camera symbol in the address bar (and in the privacy settings of your system), then start the camera again.",
  NotFoundError: "No camera is found: plug one in, or switch it on, then start it again.",
  NotReadableError: "The camera is busy or does not answer: close the other program that uses it, a video call for example, then start it again.",
  OverconstrainedError: "The camera chosen in Settings is not here: choose another one there.",
};

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new CameraError("The browser gives the camera only to pages of this computer or with a certificate: open the address that the app printed.");
  }
  const id = chosenCamera();
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { width: { ideal: 640 }, height: { ideal: 480 }, ...(id ? { deviceId: { exact: id } } : { facingMode: "user" }) },
    });
  } catch (error) {
    throw new CameraError(WHY[error.name] ?? `The camera does not start (${error.name}): unplug it and plug it in, then start it again.`);
  }
}
