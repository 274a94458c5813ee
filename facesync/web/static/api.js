// Requests to the app. An error is one line that says what to do, as the app put it.

export class ApiError extends Error {
  constructor(status, message, { doubt, outcomes = [] } = {}) {
    super(message);
    Object.assign(this, { status, doubt, outcomes });
  }
}

const RETRY = 1500;  // milliseconds between looks for an app that went away

let waiting = false;

async function request(method, path, { json, form, signal } = {}) {
  const options = { method, signal, credentials: "same-origin", cache: "no-store" };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers = { "Content-Type": "application/json" };
  } else if (form) {
    options.body = new FormData();
    for (const [key, value] of Object.entries(form)) {
      for (const each of [value].flat()) options.body.append(key, each);
    }
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name !== "AbortError") gone();
    throw error.name === "AbortError" ? error : new ApiError(0, "FaceSync does not answer.");
  }
  const answer = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401) signedOut();
  throw new ApiError(response.status, answer.error ?? `the app answered ${response.status}`, answer);
}

export const get = (path, signal) => request("GET", path, { signal });
export const post = (path, json) => request("POST", path, { json });
export const upload = (path, form) => request("POST", path, { form });
export const patch = (path, json) => request("PATCH", path, { json });
export const remove = (path, json) => request("DELETE", path, { json });

// A browser takes "." and ".." out of an address, however written; a space after them keeps them.
export const person = (name) => `/api/people/${encodeURIComponent(name).replace(/^\.\.?$/, "$&%20")}`;

function say(text) {
  const away = document.getElementById("away");
  away.textContent = text;
  away.hidden = !text;
}

function signedOut() {
  say("This page is not signed in: the app was started again. Open the address that it printed in its terminal.");
}

// The app went away: say so, look for it, and draw the screen again once it is back.
export async function gone() {
  if (waiting) return;
  waiting = true;
  say("FaceSync does not answer: it was stopped, or its computer sleeps. Start it with “python faceid_app.py web”; this page goes on by itself.");
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, RETRY));
    const response = await fetch("/api/state", { cache: "no-store" }).catch(() => null);
    if (!response) continue;
    waiting = false;
    if (response.status === 401) return signedOut();
    say("");
    window.dispatchEvent(new Event("hashchange"));
    return undefined;
  }
}
