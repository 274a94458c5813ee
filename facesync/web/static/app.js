// The frame around the screens: which one is shown, and the navigation.

import { get } from "./api.js";
import { banner, h, heading, unsay } from "./dom.js";
import * as compare from "./compare.js";
import * as doctor from "./doctor.js";
import * as live from "./live.js";
import * as log from "./log.js";
import * as people from "./people.js";
import * as privacy from "./privacy.js";
import * as register from "./register.js";
import * as settings from "./settings.js";

const SCREENS = { people, register, live, log, compare, settings, privacy, doctor };

const PATIENCE = 250;  // milliseconds until a screen that takes longer says so

const main = document.getElementById("main");
const screens = document.getElementById("screens");
const more = document.getElementById("more");
let leave = new AbortController();

// A screen draws itself into a place; its signal is aborted when it is left.
async function show() {
  const address = new URL(location.hash.replace(/^#\/*/, "/"), location.origin);
  const name = address.pathname.slice(1);
  const screen = Object.hasOwn(SCREENS, name) ? SCREENS[name] : people;
  const first = !main.hasChildNodes();
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  document.title = `${screen.title} · FaceSync`;
  for (const link of document.querySelectorAll("nav li a")) {
    link.toggleAttribute("aria-current", false);
    if (link.hash === `#/${name}` || (screen === people && link.hash === "#/people")) link.setAttribute("aria-current", "page");
  }
  unfold(false);
  unsay();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  const place = h("div", { className: `screen at-${name}` });
  const slow = setTimeout(() => main.replaceChildren(heading(screen.title, "One moment …")), PATIENCE);
  signal.addEventListener("abort", () => clearTimeout(slow));
  try {
    await screen.show(place, { parameters: address.searchParams, signal, again: show });
  } catch (error) {
    place.replaceChildren(h("h1", { tabIndex: -1 }, screen.title), banner(error.message, "bad"));
  }
  clearTimeout(slow);
  if (signal.aborted) return;
  main.replaceChildren(place);
  window.scrollTo(0, 0);
  if (!first) place.querySelector("h1")?.focus({ preventScroll: true });
  state();
}

// Where everything stays, always in view.
async function state() {
  const { version, offline } = await get("/api/state").catch(() => ({}));
  if (!version) return;
  const local = document.getElementById("local");
  local.textContent = `Everything stays on this computer${offline ? ", offline" : ""}. FaceSync ${version}`;
}

function unfold(open) {
  screens.classList.toggle("open", open);
  more.setAttribute("aria-expanded", String(open));
}

more.addEventListener("click", () => unfold(more.getAttribute("aria-expanded") !== "true"));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();  // the address names the screen
  main.focus();
});
window.addEventListener("hashchange", show);
window.addEventListener("pagehide", () => leave.abort());
window.addEventListener("pageshow", (event) => event.persisted && show());
show();
