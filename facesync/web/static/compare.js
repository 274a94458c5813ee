// Compare: whether two images show one person. Nothing is stored.

import { upload } from "./api.js";
import { banner, button, certainty, facts, h, heading } from "./dom.js";
import { dropZone } from "./drop.js";

export const title = "Compare";

export async function show(place) {
  const chosen = {};
  const result = h("div", { className: "outcome", role: "status" });
  const go = button("Compare", async () => {
    result.replaceChildren(banner("Comparing …"));
    try {
      result.replaceChildren(compared(await upload("/api/compare", chosen)));
    } catch (error) {
      result.replaceChildren(banner(error.message, "bad"));
    }
  }, { className: "primary", disabled: true });
  const zone = (key, label) => h("section", { className: "card", "aria-label": label }, dropZone({
    label: `Choose the ${key} image`, text: "Drop an image here.",
    taken([file]) {
      chosen[key] = file;
      go.disabled = !(chosen.first && chosen.second);
      result.replaceChildren();
    },
  }));
  place.append(
    heading("Compare", "Do two images show the same person? Nothing is stored."),
    h("div", { className: "columns" }, zone("first", "First image"), zone("second", "Second image")),
    h("div", { className: "toolbar" }, go), result);
}

function compared({ same_person: same, similarity, threshold, probability, reason }) {
  if (similarity === null) return banner(reason, "bad");
  return h("section", { className: `card verdict ${same ? "good" : "bad"}`, "aria-label": "Result" },
    h("h2", {}, same ? "The same person" : "Not the same person"),
    h("meter", { min: 0, max: 1, value: Math.max(0, similarity), "aria-label": "Similarity" }),
    facts([["Similarity", similarity.toFixed(3)], ["Needed", threshold?.toFixed(3) ?? null], ["Probability", certainty(probability, same)]]));
}
