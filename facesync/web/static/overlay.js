// What is drawn over the camera's image: boxes that move smoothly, labels, the ring.
// The image is shown as in a mirror; text never is.

const EASE = 120;  // milliseconds that a box takes to where it was found
const LABEL = 15, RING = 5;  // pixels

const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.boxes = new Map();  // by track: {from, to, since, mark}
    this.view = null;
  }

  // Take a view of the server, in pixels of a frame of this size; `ring` of samples is drawn too.
  update(view, [wide, high], segments = null) {
    const now = performance.now();
    const boxes = new Map();
    view.marks.forEach((mark, number) => {
      const key = mark.track ?? `#${number}`;
      const before = this.boxes.get(key);
      const from = before && !still.matches ? at(before, now) : mark.box;
      boxes.set(key, { from, to: mark.box, since: now, mark });
    });
    this.boxes = boxes;
    const first = !this.view;
    Object.assign(this, { view, size: [wide, high], segments });
    if (first) requestAnimationFrame(() => this.draw());
  }

  clear() {
    this.view = null;
    this.boxes.clear();
  }

  draw() {
    const { canvas, context } = this;
    const ratio = window.devicePixelRatio || 1;
    const wide = canvas.clientWidth, high = canvas.clientHeight;
    if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(high * ratio)) {
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(high * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, wide, high);
    if (!this.view) return;
    // The image is fitted into the stage, whole and in its middle.
    this.zoom = Math.min(wide / this.size[0], high / this.size[1]);
    this.left = (wide - this.size[0] * this.zoom) / 2;
    this.top = (high - this.size[1] * this.zoom) / 2;
    this.colours = colours(canvas);
    const now = performance.now();
    for (const box of this.boxes.values()) this.drawBox(at(box, now), box.mark);
    if (this.view.ring) this.drawRing(this.view.ring);
    else if (this.segments && this.boxes.size) this.drawSegments();
    requestAnimationFrame(() => this.draw());
  }

  x(value) {
    return this.left + (this.size[0] - value) * this.zoom;
  }

  y(value) {
    return this.top + value * this.zoom;
  }

  drawBox([left, top, right, bottom], mark) {
    if (this.segments) return;  // the ring stands in its place
    const { context } = this;
    const x = this.x(right), y = this.y(top);
    const wide = (right - left) * this.zoom, high = (bottom - top) * this.zoom;
    for (const [colour, line] of [["rgb(0 0 0 / .45)", 5], [this.colours[mark.tone], 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.beginPath();
      context.roundRect(x, y, wide, high, Math.min(16, wide / 5));
      context.stroke();
    }
    if (mark.label) this.drawLabel(mark, x, y, y + high);
  }

  drawLabel(mark, x, above, below) {
    const { context, canvas } = this;
    context.font = `600 ${LABEL}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const most = canvas.clientWidth - 24;
    const text = fitted(context, isolated(mark.label), most);
    const wide = context.measureText(text).width + 16, high = LABEL + 11;
    const left = Math.max(4, Math.min(x, canvas.clientWidth - wide - 4));
    const top = above > high + 10 ? above - high - 6 : Math.min(below + 6, canvas.clientHeight - high - 4);
    context.fillStyle = this.colours[mark.tone];
    context.beginPath();
    context.roundRect(left, top, wide, high, 7);
    context.fill();
    context.fillStyle = this.colours.ground;
    context.fillText(text, left + 8, top + high / 2 + 1);
  }

  // The ring of a challenge: it fills from the side asked for, both ways, with an arrow there.
  drawRing({ centre, radius, side: [dx, dy], filled }) {
    const { context } = this;
    const [x, y, r] = this.placed(centre, radius);
    const towards = dx || dy ? Math.atan2(dy, -dx) : Math.PI / 2;
    this.arc(x, y, r, 0, 2 * Math.PI, this.colours.quiet);
    const half = Math.PI * Math.min(1, filled);
    if (half > 0) this.arc(x, y, r, towards - half, towards + half, this.colours.good);
    if (dx || dy) this.drawArrow(x, y, r, towards);
  }

  // Samples taken, of how many, as parts of a ring; an arrow says where to turn.
  drawSegments() {
    const { context } = this;
    const { taken, of, side } = this.segments;
    const box = at(this.boxes.values().next().value, performance.now());
    const [x, y, r] = this.placed(
      [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], 0.75 * Math.max(box[2] - box[0], box[3] - box[1]));
    const part = 2 * Math.PI / of, gap = 0.05;
    for (let number = 0; number < of; number++) {
      const from = -Math.PI / 2 + number * part;
      this.arc(x, y, r, from + gap, from + part - gap, number < taken ? this.colours.good : this.colours.quiet);
    }
    if (side) this.drawArrow(x, y, r, Math.atan2(side[1], -side[0]));
    context.lineCap = "butt";
  }

  // A circle moved so that it is whole within the stage, with room for its arrow.
  placed([x, y], radius) {
    const wide = this.canvas.clientWidth, high = this.canvas.clientHeight;
    const r = Math.min(radius * this.zoom, 0.4 * Math.min(wide, high)), room = r + 20;
    const within = (value, most) => Math.max(room, Math.min(value, most - room));
    return [within(this.x(x), wide), within(this.y(y), high), r];
  }

  arc(x, y, r, from, to, colour) {
    const { context } = this;
    context.lineCap = "round";
    for (const [stroke, line] of [["rgb(0 0 0 / .45)", RING + 4], [colour, RING]]) {
      context.strokeStyle = stroke;
      context.lineWidth = line;
      context.beginPath();
      context.arc(x, y, r, from, to);
      context.stroke();
    }
  }

  drawArrow(x, y, r, towards) {
    const { context } = this;
    context.save();
    context.translate(x, y);
    context.rotate(towards);
    context.beginPath();
    context.moveTo(r + 17, 0);
    context.lineTo(r - 8, 20);
    context.lineTo(r - 8, -20);
    context.closePath();
    context.fillStyle = this.colours.attention;
    context.strokeStyle = "rgb(0 0 0 / .6)";
    context.lineWidth = 2;
    context.fill();
    context.stroke();
    context.restore();
  }
}

function at({ from, to, since }, now) {
  const share = still.matches ? 1 : Math.min(1, (now - since) / EASE);
  return to.map((value, index) => from[index] + share * (value - from[index]));
}

// Set a name apart from the numbers behind it: it may be written from right to left.
function isolated(label) {
  const end = label.indexOf("  ");
  return end < 0 ? label : `\u2068${label.slice(0, end)}\u2069${label.slice(end)}`;
}

function fitted(context, text, most) {
  let letters = [...text];
  while (letters.length > 1 && context.measureText(`${letters.join("")}…`).width > most) letters = letters.slice(0, -1);
  return letters.length === [...text].length ? text : `${letters.join("")}…`;
}

function colours(canvas) {
  const style = getComputedStyle(canvas);
  const names = ["neutral", "good", "attention", "bad", "quiet", "ground"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--on-image-${name}`)]));
}
