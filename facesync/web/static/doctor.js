// Doctor: what works on this computer, to read and to copy into a report.

import { get } from "./api.js";
import { banner, button, facts, h, heading, notice } from "./dom.js";

export const title = "Doctor";

const LINE = /^(\S+)\s+(.*)$/;

export async function show(place, { signal }) {
  const { words, faults = [] } = await get("/api/doctor", signal);
  const lines = words.trim().split("\n").map((line) => LINE.exec(line)).filter(Boolean);
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(words);
    notice("Copied.");
  });
  place.append(
    heading("Doctor", "What works on this computer."),
    banner(faults.length ? `Not everything works: ${faults.join("; ")}` : "Everything works.", faults.length ? "attention" : "good"),
    h("section", { className: "card", "aria-label": "Details" }, facts(lines.map(([, term, text]) => [term, text]))),
    h("div", { className: "toolbar" }, copy));
}
