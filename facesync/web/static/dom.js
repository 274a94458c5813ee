// Elements from plain data. Text is always text: a name is never markup.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// A name in any script, in the middle of our text.
export const bdi = (name) => h("bdi", {}, name);

export function button(text, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, text);
}

// A button that leads to a screen.
export const leading = (text, hash, properties = {}) => button(text, () => { location.hash = hash; }, properties);

// A button that saves a file of the app; its name comes with it.
export const saving = (text, path, properties = {}) => button(text, () => h("a", { href: path(), download: "" }).click(), properties);

// A screen's heading, with a sentence below it, and what is done there.
export function heading(title, lead = "", ...actions) {
  return h("header", { className: "heading" },
    h("div", {}, h("h1", { tabIndex: -1 }, title), lead ? h("p", { className: "lead" }, lead) : null), actions);
}

export function facts(pairs) {
  return h("dl", { className: "facts" }, pairs.filter(([, value]) => value !== null).map(
    ([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}

export function banner(text, tone = "") {
  return h("p", { className: `banner ${tone}` }, text);
}

let hiding;

// Say in a line what was done; screen readers say it too.
export function notice(...text) {
  document.getElementById("notice").replaceChildren(h("p", {}, ...text));
  clearTimeout(hiding);
  hiding = setTimeout(unsay, 8000);
}

// What was said is about its screen: it would cover something of the next.
export function unsay() {
  document.getElementById("notice").replaceChildren();
}

// Say what is to be read at leisure, such as a proof: above the screen until it is left.
export function stays(...text) {
  const line = h("p", { className: "banner good", role: "status" });
  document.querySelector("main .screen").prepend(line);
  line.append(...text);
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const sentence = (text) => `${capital(text).replace(/[.!?]$/, "")}.`;

export const percent = (share, places = 1) => `${(100 * share).toFixed(places).replace(/\.0+$/, "")}\u00a0%`;

export const count = (number, one, several) => `${number.toLocaleString("en")} ${number === 1 ? one : several}`;

export function when(iso, time = true) {
  const style = time ? { dateStyle: "medium", timeStyle: "short" } : { dateStyle: "medium" };
  return new Intl.DateTimeFormat(undefined, style).format(new Date(iso));
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// What a probability means beside a similarity, as the app says it: never certain.
export function certainty(probability, accepted) {
  if (probability === null || probability === undefined) return null;
  let share = percent(probability, probability >= 0.01 && probability < 0.99 ? 0 : 1);
  if (probability < 0.001) share = "under 0.1\u00a0%";
  if (probability > 0.999) share = "over 99.9\u00a0%";
  return accepted ? `${share} sure` : `of pairs so similar ${share} match`;
}
