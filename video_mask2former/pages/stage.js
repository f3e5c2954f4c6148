const by = (id) => document.getElementById(id);

/* The runs of a compressed COCO RLE: background, object, background, ... in column order. */
function runs(text) {
  const found = [];
  for (let place = 0; place < text.length; ) {
    let value = 0, shift = 0, digit;
    do {
      digit = text.charCodeAt(place++) - 48;
      value |= (digit & 31) << shift;
      shift += 5;
    } while (digit & 32);
    if (digit & 16 && shift < 32) value |= -1 << shift;
    found.push(found.length > 2 ? value + found[found.length - 2] : value);
  }
  return found;
}

/* Give the pixels of a mask a value. Returns both ends of its longest column, where a label sits. */
function fill(values, text, height, width, value) {
  let place = 0, longest = 0, ends = [0, 0, 0], isObject = false;
  for (const length of runs(text)) {
    if (isObject) {
      let row = place % height, column = (place - row) / height;
      for (let left = length; left > 0; ) {
        const run = Math.min(left, height - row);
        if (run > longest) { longest = run; ends = [row, row + run, column]; }
        for (let end = row + run; row < end; row++) values[row * width + column] = value;
        left -= run;
        row = 0;
        column++;
      }
    }
    place += length;
    isObject = !isObject;
  }
  return ends;
}

const STUFF_OPACITY = 0.22, OPACITY = 0.45;

/* A video or a picture with masks over it, frame by frame. `paint(pixels, frame)` fills the pixels of the masks, RGBA in
   32 bits, and returns labels {text, color, at: [row, column]}; `changed` is called after every drawing. */
class Stage {
  constructor(paint, changed) {
    Object.assign(this, { paint, changed, frames: [0], rate: 25, position: 0, size: [1, 1], hasLabels: true });
    this.video = by("video");
    this.canvas = by("masks");
    this.context = this.canvas.getContext("2d");
    by("play").onclick = () => this.playOrPause();
    by("back").onclick = () => this.step(-1);
    by("next").onclick = () => this.step(1);
    by("frame").oninput = () => { this.video.pause(); this.show(+by("frame").value); };
    this.video.onplay = this.video.onpause = this.video.onseeked = () => this.draw();
    addEventListener("resize", () => this.draw());
    addEventListener("keydown", (event) => this.press(event));
    requestAnimationFrame(() => this.follow());
  }
  get last() { return this.frames.length - 1; }
  load({ size, frames, frame_rate, video = null, picture = null }) {
    Object.assign(this, { size, frames, rate: frame_rate });
    [this.canvas.height, this.canvas.width] = size;
    this.video.pause();
    for (const [element, source] of [[this.video, video], [by("picture"), picture]]) {
      element.hidden = source === null;
      if (source !== null) element.src = source;
    }
    by("controls").hidden = frames.length < 2;
    by("frame").max = this.last;
    this.show(0);
  }
  show(position) {
    this.position = Math.max(0, Math.min(position, this.last));
    if (!this.video.hidden) this.video.currentTime = (this.position + 0.5) / this.rate;
    this.draw();
  }
  step(count) { this.video.pause(); this.show(this.position + count); }
  playOrPause() {
    if (this.video.hidden) return;
    if (this.video.paused) this.video.play(); else this.video.pause();
  }
  follow() {
    if (!this.video.paused) {
      const now = Math.min(this.last, Math.floor(this.video.currentTime * this.rate + 1e-3));
      if (now !== this.position) { this.position = now; this.draw(); }
    }
    requestAnimationFrame(() => this.follow());
  }
  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "range") return;
    if (event.key === " " && event.target.closest?.("button, input, summary")) return;  // what it does there
    const place = { ArrowLeft: this.position - 1, ArrowRight: this.position + 1, Home: 0, End: this.last }[event.key];
    if (place !== undefined) this.step(place - this.position);
    else if (event.key === " ") this.playOrPause();
    else return;
    event.preventDefault();
  }
  draw() {
    const [height, width] = this.size;
    const image = this.context.createImageData(width, height);
    const labels = this.paint(new Uint32Array(image.data.buffer), this.frames[this.position]);
    this.context.putImageData(image, 0, 0);
    this.write(labels);
    this.canvas.dataset.position = this.position;
    this.canvas.dataset.shown = labels.length;
    by("frame").value = this.position;
    by("time").textContent = `${this.frames[this.position]} / ${this.frames[this.last]}`;
    by("play").innerHTML = this.video.paused ? "&#9654;" : "&#10073;&#10073;";
    this.changed();
  }
  /* Labels, sharp and equally large on every screen, each on its object. */
  write(labels) {
    const sheet = by("labels"), context = sheet.getContext("2d"), [height, width] = this.size;
    const { clientWidth: wide, clientHeight: high } = this.canvas, density = devicePixelRatio || 1;
    [sheet.width, sheet.height] = [wide * density, high * density];
    if (!this.hasLabels) return;
    const scale = Math.min(wide / width, high / height), left = (wide - scale * width) / 2, top = (high - scale * height) / 2;
    context.scale(density, density);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (const { text, color, at: [row, column] } of labels) {
      const box = context.measureText(text).width + 8;
      const x = Math.max(0, Math.min(left + scale * column - box / 2, wide - box));
      const y = Math.max(0, Math.min(top + scale * row - 8, high - 16));
      context.fillStyle = `rgb(${color})`;
      context.fillRect(x, y, box, 16);
      context.fillStyle = "#000";
      context.fillText(text, x + 4, y + 8.5);
    }
  }
}

function rgba([red, green, blue], opacity) {
  return ((Math.round(255 * opacity) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/* Fill the masks of tracks on a frame, stuff first and large before small; `masks` of a track maps frames to RLE. */
function paintTracks(pixels, tracks, frame, [height, width]) {
  const here = tracks.filter((track) => track.masks.has(frame));
  here.sort((one, other) => other.isStuff - one.isStuff || other.area - one.area);
  return here.map((track) => {
    const color = rgba(track.color, track.isStuff ? STUFF_OPACITY : OPACITY);
    const [top, bottom, column] = fill(pixels, track.masks.get(frame), height, width, color);
    return { text: track.text, color: track.color, at: [track.isStuff ? (top + bottom) / 2 : top, column] };
  });
}

/* A button that switches something on and off. */
function switchButton(text, set, key, changed) {
  const button = document.createElement("button");
  button.textContent = text;
  const update = () => button.setAttribute("aria-pressed", !set.has(key));
  button.onclick = () => { if (!set.delete(key)) set.add(key); update(); changed(); };
  update();
  return button;
}
