const elements = [...document.querySelectorAll("script.case")];
const MODES = { g: "ground truth", p: "prediction", e: "errors", n: "nothing" };
const AGREES = [45, 164, 78], MISSED = [209, 36, 47], EXTRA = [47, 129, 247], OTHER = [232, 163, 23];
const hidden = { truth: new Set(), prediction: new Set() };
let current = null, mode = "prediction", chosen = -1;

const stage = new Stage(paint, () => (stage.canvas.dataset.mode = mode));

function shapesOf(side, tracks) {
  return tracks.map((track) => ({
    ...track,
    text: side === "truth" || track.is_stuff ? track.name : `${track.name} ${track.score.toFixed(2)}`,
    isStuff: track.is_stuff,
    masks: new Map(Object.entries(track.masks).map(([frame, counts]) => [+frame, counts])),
  }));
}

function visible(side) { return current[side].filter((track) => !hidden[side].has(track)); }

function paint(pixels, frame) {
  if (current === null || mode === "nothing") return [];
  if (mode !== "errors") return paintTracks(pixels, visible(mode === "prediction" ? "prediction" : "truth"), frame, stage.size);
  const [truth, prediction] = ["truth", "prediction"].map((side) => owners(visible(side), frame));
  const crowds = owners(visible("truth").filter((track) => track.is_crowd), frame);
  const [agrees, missed, extra, other] = [AGREES, MISSED, EXTRA, OTHER].map((color) => rgba(color, 0.6));
  for (let place = 0; place < pixels.length; place++) {
    const one = truth[place], two = prediction[place];
    if ((one || two) && !crowds[place]) pixels[place] = one === two ? agrees : !two ? missed : !one ? extra : other;
  }
  return [];
}

/* The id of the object at each pixel, that of a predicted one being the id of the object it fits. */
function owners(tracks, frame) {
  const [height, width] = stage.size, ids = new Int32Array(height * width);
  for (const track of [...tracks].sort((one, other) => other.isStuff - one.isStuff || other.area - one.area)) {
    if (track.masks.has(frame)) fill(ids, track.masks.get(frame), height, width, track.id);
  }
  return ids;
}

function setMode(name) {
  mode = name;
  for (const button of by("show").children) button.setAttribute("aria-current", button.textContent === name);
  by("legend").hidden = name !== "errors";
  stage.draw();
}

function cell(row, side, track) {
  const place = row.insertCell();
  if (!track) { place.textContent = side === "truth" ? "nothing" : "missed"; place.className = "wrong"; return; }
  const text = track.is_crowd ? `${track.name} (crowd)` : track.text;
  const button = switchButton(text, hidden[side], track, () => stage.draw());
  button.style.borderLeftColor = `rgb(${track.color})`;
  place.append(button);
}

function listObjects() {
  const body = by("objects").tBodies[0], matched = new Map(current.prediction.map((track) => [track.id, track]));
  body.replaceChildren();
  const truths = new Set(current.truth.map((track) => track.id));
  const rows = current.truth.map((track) => [track, matched.get(track.id)]);
  rows.push(...current.prediction.filter((track) => !truths.has(track.id)).map((track) => [null, track]));
  for (const [truth, prediction] of rows) {
    const row = body.insertRow(), iou = truth && prediction ? current.iou[truth.id] : undefined;
    cell(row, "truth", truth);
    if (truth?.is_crowd && !prediction) row.insertCell(); else cell(row, "prediction", prediction);
    if (truth && prediction && truth.name !== prediction.name) row.cells[1].classList.add("wrong");
    row.insertCell().textContent = iou === undefined ? "" : iou.toFixed(3);
  }
  if (!rows.length) body.insertRow().insertCell().textContent = "nothing";
}

function choose(index) {
  chosen = Math.max(0, Math.min(index, elements.length - 1));
  const data = JSON.parse(elements[chosen].textContent);
  for (const side of ["truth", "prediction"]) hidden[side].clear();
  current = { ...data, truth: shapesOf("truth", data.truth), prediction: shapesOf("prediction", data.prediction) };
  stage.load(data);
  listObjects();
  [...by("list").querySelectorAll("button")].forEach((button, place) => {
    button.setAttribute("aria-current", place === chosen);
    if (place === chosen) button.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}

function build() {
  let group = null;
  elements.forEach((element, index) => {
    const { group: name, name: title, quality } = element.dataset, button = document.createElement("button");
    if (name !== group) {
      const heading = document.createElement("span");
      heading.textContent = group = name;
      by("list").append(heading);
    }
    for (const text of [title, quality]) {
      const part = document.createElement("span");
      part.textContent = part.title = text;
      button.append(part);
    }
    button.onclick = () => choose(index);
    by("list").append(button);
  });
  for (const name of Object.values(MODES)) {
    const button = document.createElement("button");
    button.textContent = name;
    button.onclick = () => setMode(name);
    by("show").append(button);
  }
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (event.key in MODES) setMode(MODES[event.key]);
  else if (step && by("cases").contains(document.activeElement)) { choose(chosen + step); event.preventDefault(); }
});
by("names").onchange = () => { stage.hasLabels = by("names").checked; stage.draw(); };
if (elements.length) {
  by("looking").hidden = false;
  build();
  choose(0);
  setMode(mode);
}
