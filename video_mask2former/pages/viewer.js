const page = JSON.parse(by("data").textContent), doc = page.tracks;
const hiddenTracks = new Set(), hiddenClasses = new Set();

const nameOf = (track) => track.class_name ?? `class ${track.label}`;
const isShown = (track) => !hiddenTracks.has(track.id) && !hiddenClasses.has(nameOf(track)) && track.score >= +by("score").value;
const shapes = doc.tracks.map((track) => ({
  track,
  text: page.stuff.includes(track.id) ? nameOf(track) : `${track.id} ${nameOf(track)}`,
  color: page.colors[track.id],
  isStuff: page.stuff.includes(track.id),
  area: Math.max(...track.frames.map((entry) => entry.area), 0),
  masks: new Map(track.frames.map((entry) => [entry.frame, entry.segmentation.counts])),
}));

const stage = new Stage(
  (pixels, frame) => paintTracks(pixels, shapes.filter((shape) => isShown(shape.track)), frame, stage.size),
  () => document.body.style.setProperty("--at", (stage.position + 0.5) / stage.frames.length),
);

function refresh() {
  by("least").textContent = (+by("score").value).toFixed(2);
  doc.tracks.forEach((track, index) => by("tracks").children[index].classList.toggle("hidden", !isShown(track)));
  stage.hasLabels = by("names").checked;
  stage.draw();
}

/* The stretches of frames on which a track is, as bars of its line. */
function addBars(line, track, color) {
  const count = page.frames.length, place = new Map(page.frames.map((frame, index) => [frame, index]));
  let start = null, before = null;
  const close = () => {
    if (start === null) return;
    const bar = document.createElement("i");
    bar.style.cssText = `left:${100 * start / count}%;width:${100 * (before + 1 - start) / count}%;background:rgb(${color})`;
    line.append(bar);
  };
  for (const index of track.frames.map((entry) => place.get(entry.frame)).filter((index) => index !== undefined)) {
    if (before === null || index !== before + 1) { close(); start = index; }
    before = index;
  }
  close();
  line.append(document.createElement("b"));
}

function addTrack(track) {
  const row = document.createElement("div"), line = document.createElement("div"), color = page.colors[track.id];
  const button = switchButton(`${track.id} ${nameOf(track)} ${track.score.toFixed(2)}`, hiddenTracks, track.id, refresh);
  button.style.borderLeft = `.6rem solid rgb(${color})`;
  row.className = "track";
  line.className = "line";
  addBars(line, track, color);
  const seek = (event) => {
    const box = line.getBoundingClientRect();
    stage.step(Math.floor((event.clientX - box.left) / box.width * stage.frames.length) - stage.position);
  };
  line.onpointerdown = (event) => { line.setPointerCapture(event.pointerId); seek(event); };
  line.onpointermove = (event) => { if (event.buttons) seek(event); };
  row.append(button, line);
  by("tracks").append(row);
}

function build() {
  by("classes").replaceChildren();
  by("tracks").replaceChildren();
  for (const name of [...new Set(doc.tracks.map(nameOf))].sort()) by("classes").append(switchButton(name, hiddenClasses, name, refresh));
  doc.tracks.forEach(addTrack);
}

/* Every track and class on or off. */
function choose(areShown) {
  hiddenClasses.clear();
  hiddenTracks.clear();
  if (areShown) by("score").value = 0; else doc.tracks.forEach((track) => hiddenTracks.add(track.id));
  build();
  refresh();
}

by("score").oninput = by("names").onchange = refresh;
by("all").onclick = () => choose(true);
by("none").onclick = () => choose(false);
by("download").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({ ...doc, tracks: doc.tracks.filter(isShown) })], { type: "application/json" }));
  link.download = "tracks.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
build();
stage.load({ size: [doc.video.height, doc.video.width], frames: page.frames, frame_rate: page.frame_rate, video: page.video });
refresh();
