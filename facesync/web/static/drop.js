// A place for images: chosen with a button, or dropped on it.

import { button, h, icon } from "./dom.js";

export const TYPES = "image/*,.heic,.heif,.avif,.tif,.tiff,.pnm,.ppm,.pgm";

let numbered = 0;

// `taken` is called with the files; more than one only where `multiple`.
export function dropZone({ label, text, multiple = false, taken }) {
  const id = `images-${++numbered}`;
  const preview = h("div", { className: "preview", hidden: true });
  const take = (files) => {
    const some = [...files].slice(0, multiple ? undefined : 1);
    if (!some.length) return;
    for (const image of preview.children) URL.revokeObjectURL(image.src);
    preview.hidden = false;
    preview.replaceChildren(...some.map((file) => shown(file)));
    zone.classList.add("filled");
    taken(some);
  };
  const input = h("input", {
    id, type: "file", accept: TYPES, multiple, className: "visually-hidden", tabIndex: -1,
    "aria-label": label, onchange: () => take(input.files),
  });
  const zone = h("div", {
    className: "drop",
    ondragover: (event) => { event.preventDefault(); zone.classList.add("over"); },
    ondragleave: () => zone.classList.remove("over"),
    ondrop: (event) => { event.preventDefault(); zone.classList.remove("over"); take(event.dataTransfer.files); },
  }, preview, h("div", { className: "ask" }, icon("image"), h("p", {}, text)),
  button(label, () => input.click()), input);
  return zone;
}

// A small copy of an image; what the browser cannot show is named only.
function shown(file) {
  const image = h("img", { src: URL.createObjectURL(file), alt: file.name, title: file.name });
  image.addEventListener("error", () => image.replaceWith(h("span", { className: "unseen" }, file.name)));
  return image;
}
