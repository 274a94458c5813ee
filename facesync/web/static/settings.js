// Settings: how strict the app is, with what it compares, and the camera.

import { get, patch } from "./api.js";
import { chooseCamera, chosenCamera } from "./camera.js";
import { banner, capital, h, heading, notice, percent, sentence } from "./dom.js";

export const title = "Settings";

const FIXED = "Given when the app was started: it cannot be changed here.";

export async function show(place, { signal, again }) {
  const settings = await get("/api/settings", signal);
  const save = async (setting, value) => {
    try {
      await patch("/api/settings", { [setting]: value });
      notice("Saved.");
    } catch (error) {
      await again();
      notice(sentence(error.message));
    }
  };
  const rates = settings.false_match_rate, models = settings.model, liveness = settings.liveness;
  const group = (setting, legend, lead, choices) => choice({
    setting, legend, lead, choices, value: settings[setting].value, fixed: settings.fixed.includes(setting), save,
  });
  place.append(
    heading("Settings"),
    group("false_match_rate", "How strict", "How often a stranger may be taken for somebody registered. The stricter, the more often you yourself are refused.",
      rates.choices.map(({ value, words, refused }) => ({ value, words, beside: refused === null ? null : `owners refused: ${percent(refused)}` }))),
    group("liveness", "A person, or an image of one", "What somebody who is recognised has to show before the camera.", liveness.choices),
    group("model", "Model", "What turns a face into numbers. People with images are read again for another model.",
      models.choices.map(({ name, title: words, here, licence }) => ({ value: name, words, beside: [licence, here ? null : "not on this computer yet"].filter(Boolean).join("; ") }))),
    await camera());
}

function choice({ setting, legend, lead, choices, value, fixed, save }) {
  return h("fieldset", { className: "card choices", disabled: fixed },
    h("legend", {}, legend), h("p", {}, lead), fixed ? banner(FIXED) : null,
    choices.map((each) => h("label", { className: "check" },
      h("input", { type: "radio", name: setting, checked: each.value === value, onchange: () => save(setting, each.value) }),
      h("span", {}, capital(each.words), each.beside ? h("small", {}, each.beside) : null))));
}

// The browser has the cameras; it says their names once it may use one.
async function camera() {
  const devices = await navigator.mediaDevices?.enumerateDevices().catch(() => []) ?? [];
  const cameras = devices.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
  const select = h("select", { onchange: () => { chooseCamera(select.value); notice("Saved."); } },
    h("option", { value: "" }, "The browser's choice"),
    cameras.map(({ deviceId, label }, number) => h("option", { value: deviceId, selected: deviceId === chosenCamera() }, label || `Camera ${number + 1}`)));
  return h("section", { className: "card", "aria-labelledby": "which-camera" },
    h("h2", { id: "which-camera" }, "Camera"), h("label", {}, "Camera of this browser", select),
    cameras.length ? null : h("p", { className: "remark" }, "The browser names its cameras once one was started in Live."));
}
