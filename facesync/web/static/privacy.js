// Privacy: what is stored and where; copies, encryption, and an end of it all.

import { get, person, post, remove } from "./api.js";
import { ask } from "./dialogs.js";
import { button, capital, count, h, heading, notice, saving, sentence, size, stays } from "./dom.js";

export const title = "Privacy";

const WORDS = "delete everything";

export async function show(place, { signal, again }) {
  const [about, { people }] = await Promise.all([get("/api/privacy", signal), get("/api/people", signal)]);
  place.append(
    heading("Privacy", about.network),
    stored(about),
    encryption(about, again),
    copies(about, people),
    end(again));
}

function section(id, text, ...children) {
  return h("section", { className: "card", "aria-labelledby": id }, h("h2", { id }, text), ...children);
}

function stored(about) {
  return section("stored", "What is stored, and where",
    h("ul", { className: "stored", role: "list" }, about.stored.map(({ what, where, items, bytes, sealed }) => h("li", {},
      h("h3", {}, capital(what)), h("code", {}, where),
      h("p", {}, [count(items, "item", "items"), size(bytes), sealed === null ? "" : sealed ? "encrypted" : "not encrypted"].filter(Boolean).join(" · "))))));
}

function encryption({ exists, encrypted, key }, again) {
  return section("encryption", "Encryption", h("p", {}, key),
    encrypted || !exists ? null : h("div", { className: "actions" }, button("Encrypt", async () => {
      const sure = await ask({
        title: "Encrypt everything stored?", confirm: "Encrypt",
        body: h("p", {}, "A key is made and kept in this computer's key store. Who copies the files cannot read them without it."),
      });
      if (!sure) return;
      try {
        const { done } = await post("/api/privacy/encrypt", {});
        await again();
        notice(done);
      } catch (error) {
        notice(sentence(error.message));
      }
    })));
}

function copies({ exists }, people) {
  const select = h("select", {}, people.map(({ name }) => h("option", { value: name }, name)));
  return section("copies", "Take it with you",
    h("p", {}, "A backup holds everybody: keep it where you would keep the originals. “python faceid_app.py store restore FILE” brings it back."),
    exists ? h("div", { className: "actions" }, saving("Back up", () => "/api/privacy/backup")) : h("p", {}, "There is nothing to back up yet."),
    people.length ? h("div", { className: "actions" }, h("label", { className: "inline" }, "Everything about", select),
      saving("Export", () => `${person(select.value)}/export`)) : null);
}

function end(again) {
  const forget = async () => {
    const input = h("input", { type: "text", required: true, pattern: WORDS, autocomplete: "off", title: WORDS });
    const sure = await ask({
      title: "Delete everybody?", confirm: "Delete everything", danger: true,
      body: [
        h("p", {}, "Every person, sample and image is deleted, and cannot be brought back."),
        h("label", {}, h("span", {}, "To go on, type ", h("code", {}, WORDS)), input),
      ],
    });
    if (!sure) return;
    try {
      const { names, proof } = await remove("/api/people", { confirm: WORDS });
      await again();
      stays(`${count(names.length, "person is", "people are")} deleted. ${proof}`);
    } catch (error) {
      notice(sentence(error.message));
    }
  };
  return section("end", "Delete everything", h("p", {}, "All people with their samples and images. Backups that you made are not touched."),
    h("div", { className: "actions" }, button("Delete everything", forget, { className: "danger" })));
}
