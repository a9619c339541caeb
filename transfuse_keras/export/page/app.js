// The page: a picture in, masks out. Nothing leaves the device.

import {loadModel} from "./model.js";
import {readPicture} from "./picture.js";
import {toBytes, toMasks, withChannels} from "./pixels.js";
import {writePng} from "./png.js";

// of Okabe and Ito, told apart by colour-blind people too
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2"];
const SCORES = {dice: "Dice", iou: "IoU", hd95_mm: "HD95 in mm", hd95_px: "HD95 in pixels"}; // that are told
const find = (id) => document.getElementById(id);
const spoken = (name) => name.replaceAll("_", " ");
const say = (sentence) => (find("status").textContent = sentence);

let model, picture, probabilities, masks;
let rows = []; // of a class: {name, colour, shown, threshold, area, button}
let stem = "picture";

start().catch((error) => say(`The model cannot be loaded: ${error.message}.`));

async function start() {
  const kept = navigator.serviceWorker?.register("sw.js").then(() => navigator.serviceWorker.ready);
  model = await loadModel("model.tflite");
  const {about} = model;
  if (about.field) throw new Error("it is for volumes, which a page cannot read; use `transfuse predict`");
  document.title = `TransFuse: ${about.task}`;
  find("title").textContent = `Segmentation: ${about.task}`;
  rows = about.classes.map(addRow);
  const exclusive = about.exclusive && rows.length > 1;
  find("labels").hidden = !exclusive;
  find("labels").querySelector("button").onclick = saveLabels;
  for (const row of rows) row.button.hidden = exclusive;
  describe(about);
  find("opacity").oninput = (event) => (find("masks").style.opacity = event.target.value / 100);
  find("file").onchange = (event) => event.target.files[0] && segment(event.target.files[0]);
  for (const name of ["dragover", "dragleave", "drop"]) document.addEventListener(name, drag);
  const offline = await Promise.resolve(kept).catch(() => null);
  find("file").disabled = false;
  say(`Ready (${model.where}). ${offline ? "The page also opens without a network." : ""}`);
}

function drag(event) {
  event.preventDefault();
  find("drop").classList.toggle("over", event.type === "dragover");
  const file = event.type === "drop" && event.dataTransfer.files[0];
  if (file && !find("file").disabled) segment(file);
}

async function segment(file) {
  find("file").disabled = true;
  try {
    say(`${file.name}: reading ...`);
    const read = await readPicture(file);
    say(`${file.name}: computing ...`);
    const begin = performance.now();
    probabilities = await model.run(read);
    const seconds = (performance.now() - begin) / 1000;
    picture = read;
    stem = file.name.replace(/\.[^.]*$/, "");
    find("result").hidden = false;
    showPicture();
    update();
    say(`${file.name}: ${picture.width}x${picture.height} pixels, ${seconds.toFixed(2)} s by ${model.where}.`);
  } catch (error) {
    find("result").hidden = true;
    say(`${file.name} cannot be read: ${error.message}.`);
  }
  find("file").disabled = false;
  find("file").value = "";
}

/** Masks by the thresholds as they are now, drawn and counted. */
function update() {
  const {size} = model.about.input;
  const [h, w] = [picture.height, picture.width];
  const thresholds = rows.map((row) => row.threshold());
  const {exclusive} = model.about;
  const sure = (model.about.sure ?? []).map((name) => model.about.classes.indexOf(name));
  masks = toMasks(probabilities, [...size, rows.length], [h, w], thresholds, exclusive, sure);
  rows.forEach((row, k) => {
    const count = masks[k].reduce((sum, value) => sum + value, 0);
    row.area.textContent = `${count.toLocaleString("en")} pixels (${((100 * count) / (h * w)).toFixed(1)} %)`;
  });
  draw();
}

function showPicture() {
  const {width, height, channels, pixels} = picture;
  const grey = pixels instanceof Uint16Array ? toBytes(pixels, model.about.input.value_range) : pixels;
  const rgb = withChannels(grey, channels, 3);
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    image.data.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  paint("picture", image);
}

function draw() {
  const image = new ImageData(picture.width, picture.height);
  rows.forEach((row, k) => {
    if (!row.shown.checked) return;
    const colour = [1, 3, 5].map((at) => parseInt(row.colour.slice(at, at + 2), 16));
    masks[k].forEach((value, i) => value && image.data.set([...colour, 255], 4 * i));
  });
  paint("masks", image);
}

function paint(id, image) {
  const canvas = find(id);
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function addRow(name, k) {
  const [line, colour] = [document.createElement("li"), COLOURS[k % COLOURS.length]];
  const add = (to, tag, properties, ...content) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...content);
    return to.appendChild(element);
  };
  const label = add(line, "label", {});
  const shown = add(label, "input", {type: "checkbox", checked: true, onchange: draw});
  add(label, "span", {className: "swatch"}).style.background = colour;
  label.append(spoken(name));
  const area = add(line, "span", {});
  let threshold = model.about.thresholds[k]; // not of the slider, which rounds it
  const from = add(line, "label", {}, "From probability");
  const told = document.createElement("output");
  told.textContent = threshold;
  const slider = add(from, "input", {type: "range", min: 0, max: 1, step: 0.01, value: threshold});
  slider.ariaLabel = `${spoken(name)}: from probability`;
  from.append(told);
  slider.oninput = () => {
    threshold = Number(slider.value);
    told.textContent = slider.value;
    update();
  };
  const button = add(line, "button", {type: "button", ariaLabel: `Save mask of ${spoken(name)}`}, "Save mask");
  const file = () => (rows.length === 1 ? `${stem}.png` : `${stem}_${name.replaceAll("/", "_")}.png`);
  button.onclick = () => save(masks[k].map((value) => 255 * value), file());
  find("classes").append(line);
  return {name, colour, shown, threshold: () => threshold, area, button};
}

function saveLabels() {
  const labels = new Uint8Array(masks[0].length);
  masks.forEach((mask, k) => mask.forEach((value, i) => value && (labels[i] = k + 1)));
  return save(labels, `${stem}.png`);
}

async function save(pixels, name) {
  const url = URL.createObjectURL(await writePng(pixels, picture.width, picture.height));
  Object.assign(document.createElement("a"), {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** The scores that a reader looks for. */
function tell(mean) {
  const known = Object.keys(SCORES).filter((name) => Number.isFinite(mean[name]));
  return known.map((name) => `${SCORES[name]} ${mean[name].toPrecision(3)}`).join(", ");
}

/** What the model's file says, for people. */
function describe(about) {
  const {scores, input, versions} = about;
  const facts = {
    Task: `${about.task}: ${about.classes.map(spoken).join(", ")}`,
    "Trained on": about.data === "phantom" ? "phantoms: artificial pictures, drawn by a program" : (about.data ?? "not known"),
    Scores: scores ? `${tell(scores.mean)}: mean of ${scores.n} test cases; ${scores.protocol}` : "not scored",
    Model: `TransFuse ${about.variant}, ${input.size.join("x")} pixels, weights: ${about.quantize === "none" ? "float32" : about.quantize}`,
    "Written by": Object.entries(versions).filter(([, value]) => value).map((pair) => pair.join(" ")).join(", "),
    "Runs by": "LiteRT.js of Google, Apache License 2.0 (runtime/LICENSE.txt); DICOM by dicom-parser, MIT (runtime/dicom-parser-license.txt)",
  };
  for (const [key, value] of Object.entries(facts)) {
    for (const [tag, content] of [["dt", key], ["dd", value]]) {
      find("about").appendChild(Object.assign(document.createElement(tag), {textContent: content}));
    }
  }
}
