// Doctor: what works on this computer, to read and to copy into a report.

import { get } from "./api.js";
import { banner, button, capital, count, facts, h, heading, notice, sentence } from "./dom.js";

export const title = "Doctor";

// The page has the browser's camera, not that of the window and the terminal.
const TERMS = { camera: "The window's camera" };

const whose = (fault) => fault.replace(/^camera /, "the window's camera ");

const LINE = /^(\S+)\s+(.*)$/;

export async function show(place, { signal }) {
  const { words, faults = [] } = await get("/api/doctor", signal);
  const lines = words.trim().split("\n").map((line) => LINE.exec(line)).filter((line) => line && line[1] !== "verdict");
  const browser = await cameras();
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(`${words.trimEnd()}\nbrowser    ${browser}\n`);
    notice("Copied.");
  });
  place.append(
    heading("Doctor", "What works on this computer.", copy),
    banner(faults.length ? sentence(`Not everything works: ${faults.map(whose).join("; ")}`) : "Everything works.", faults.length ? "attention" : "good"),
    h("section", { className: "card", "aria-label": "Details" },
      facts([...lines.map(([, term, text]) => [TERMS[term] ?? capital(term), text]), ["This page's camera", browser]])));
}

// What the browser says of its cameras; their number is known once one was allowed.
async function cameras() {
  const { state } = await navigator.permissions?.query({ name: "camera" }).catch(() => ({})) ?? {};
  const devices = await navigator.mediaDevices?.enumerateDevices().catch(() => null);
  if (!devices) return "gives this page no camera: open it by 127.0.0.1, or with a certificate";
  const number = devices.filter(({ kind }) => kind === "videoinput").length;
  const may = { granted: "allowed", denied: "refused: allow it in the address bar", prompt: "not asked yet" }[state] ?? "not known";
  return `${count(number, "camera", "cameras")}; permission: ${may}`;
}
