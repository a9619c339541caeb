// The model: what its file says of it, and its probabilities of a picture.

import {loadAndCompile, loadLiteRt, getWebGpuDevice, Tensor} from "./runtime/index.js";
import {resize, toBytes, withChannels} from "./pixels.js";

const TOLERANCE = 0.01; // of probabilities, between WebGPU and WebAssembly

/** {about, run, where}: `run` gives probabilities of a picture at the model's size. */
export async function loadModel(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} is not there (${answer.status})`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const about = readAbout(bytes);
  await loadLiteRt(new URL("runtime/litert_wasm_compat_internal.js", location).href);
  const exact = await loadAndCompile(bytes, {accelerator: "wasm"});
  const {size, channels} = about.input;
  const shape = [1, ...size, channels];
  const fast = await compileOnGpu(bytes, exact, shape);
  const run = ({width, height, channels: own, pixels}) => {
    const grey = pixels instanceof Uint16Array ? toBytes(pixels, about.input.value_range) : pixels;
    const seen = resize(withChannels(grey, own, channels), [height, width, channels], size);
    return infer(fast ?? exact, Float32Array.from(seen), shape);
  };
  return {about, run, where: fast ? "WebGPU" : "WebAssembly"};
}

async function infer(model, values, shape) {
  const input = Tensor.fromTypedArray(values, shape);
  const [output] = await model.run(input);
  const found = output.accelerator === "wasm" ? output : await output.moveTo("wasm");
  const probabilities = found.toTypedArray().slice();
  input.delete();
  found.delete();
  return probabilities;
}

/** The model on the graphics card, if there is one and it gives the same answer; else null. */
async function compileOnGpu(bytes, exact, shape) {
  try {
    if (!(await getWebGpuDevice())) return null;
    const fast = await loadAndCompile(bytes, {accelerator: "webgpu"});
    const noise = Float32Array.from({length: shape.reduce((a, b) => a * b)}, (_, i) => (i * 7919) % 256);
    const [found, wanted] = [await infer(fast, noise, shape), await infer(exact, noise, shape)];
    return wanted.every((value, i) => Math.abs(value - found[i]) < TOLERANCE) ? fast : null;
  } catch (error) {
    console.warn(error);
    return null;
  }
}

/** What a .tflite file says of itself: its Metadata by the name "transfuse" (FlatBuffers). */
function readAbout(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const follow = (at) => at + view.getUint32(at, true);
  const field = (table, slot) => {
    const slots = table - view.getInt32(table, true);
    const there = slot < view.getUint16(slots, true) ? view.getUint16(slots + slot, true) : 0;
    return there ? table + there : null;
  };
  const items = (vector) =>
    Array.from({length: view.getUint32(vector, true)}, (_, i) => follow(vector + 4 + 4 * i));
  const text = (at) => new TextDecoder().decode(bytes.subarray(at + 4, at + 4 + view.getUint32(at, true)));
  const root = follow(0);
  const buffers = items(follow(field(root, 12)));
  for (const entry of items(follow(field(root, 16)))) {
    if (text(follow(field(entry, 4))) === "transfuse") {
      const number = view.getUint32(field(entry, 6), true);
      return JSON.parse(text(follow(field(buffers[number], 4))));
    }
  }
  throw new Error("the model does not say what it is");
}
