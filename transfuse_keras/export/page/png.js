// PNG files, read to the last bit and written as `transfuse predict` writes masks. A canvas would
// halve 16 bits, mix colours with their transparency and follow colour profiles.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}; // colour type -> samples of a pixel
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const CRC = Uint32Array.from({length: 256}, (_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

export const isPng = (bytes) => SIGNATURE.every((value, i) => bytes[i] === value);

/** {width, height, channels: 1 or 3, pixels: Uint8Array or Uint16Array}; transparency is dropped. */
export async function readPng(bytes) {
  const {header, palette, data} = readChunks(bytes);
  const view = new DataView(header.buffer, header.byteOffset);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [bits, colour, , , interlaced] = header.subarray(8);
  const samples = SAMPLES[colour];
  if (!samples || !width || !height) throw new Error("its header makes no sense");
  const raw = await pipe(data, new DecompressionStream("deflate"));
  const channels = colour === 3 || samples > 2 ? 3 : 1;
  const pixels = new (bits === 16 ? Uint16Array : Uint8Array)(width * height * channels);
  const size = Math.max(1, (bits * samples) / 8); // bytes from a sample to the one it is compared with
  let at = 0;
  for (const [x0, y0, dx, dy] of interlaced ? PASSES : [[0, 0, 1, 1]]) {
    const columns = Math.ceil((width - x0) / dx);
    const length = Math.ceil((columns * bits * samples) / 8);
    if (columns < 1) continue;
    let above = new Uint8Array(length);
    for (let y = y0; y < height; y += dy) {
      const row = raw.subarray(at + 1, at + 1 + length);
      if (row.length < length) throw new Error("its pixels end too early");
      unfilter(raw[at], row, above, size);
      for (let i = 0; i < columns; i++) {
        const to = (y * width + x0 + i * dx) * channels;
        for (let k = 0; k < (colour === 3 ? 1 : channels); k++) {
          const value = sample(row, i * samples + k, bits);
          if (colour === 3) pixels.set(palette.subarray(3 * value, 3 * value + 3), to);
          else pixels[to + k] = bits < 8 ? (value * 255) / (2 ** bits - 1) : value;
        }
      }
      above = row;
      at += 1 + length;
    }
  }
  return {width, height, channels, pixels};
}

function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = {};
  const parts = [];
  for (let at = 8; ; ) {
    if (at + 12 > bytes.length) throw new Error("it ends too early");
    const length = view.getUint32(at);
    const end = at + 8 + length;
    if (end + 4 > bytes.length) throw new Error("it ends too early");
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, end);
    if (kind < "a" && crc(bytes.subarray(at + 4, end)) !== view.getUint32(end)) {
      throw new Error(`its part ${kind} is damaged`);
    }
    if (kind === "IHDR") found.header = body;
    if (kind === "PLTE") found.palette = body;
    if (kind === "IDAT") parts.push(body);
    if (kind === "acTL") throw new Error("it is an animation");
    if (kind === "eXIf") refuseTurned(body);
    if (kind === "IEND") break;
    at = end + 4;
  }
  if (!found.header) throw new Error("it has no header");
  return {...found, data: new Blob(parts)};
}

/** Raises an Error if EXIF data has an Orientation other than 1. */
export function refuseTurned(exif) {
  if (isTurned(exif)) throw new Error("it says that it is to be turned; save it upright");
}

function isTurned(exif) {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  const little = exif[0] === 0x49;
  const first = view.getUint32(4, little);
  for (let i = 0; i < view.getUint16(first, little); i++) {
    const entry = first + 2 + 12 * i;
    if (view.getUint16(entry, little) === 0x112) return view.getUint16(entry + 8, little) > 1;
  }
  return false;
}

function unfilter(kind, row, above, size) {
  if (kind > 4) throw new Error("its pixels are damaged");
  for (let i = 0; kind && i < row.length; i++) {
    const left = i < size ? 0 : row[i - size];
    const up = above[i];
    const corner = i < size ? 0 : above[i - size];
    row[i] += kind === 1 ? left : kind === 2 ? up : kind === 3 ? (left + up) >> 1 : paeth(left, up, corner);
  }
}

function paeth(left, up, corner) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

function sample(row, i, bits) {
  if (bits === 8) return row[i];
  if (bits === 16) return (row[2 * i] << 8) | row[2 * i + 1];
  const bit = i * bits;
  return (row[bit >> 3] >> (8 - bits - (bit & 7))) & ((1 << bits) - 1);
}

/** A PNG of 8-bit grey values as a Blob. */
export async function writePng(pixels, width, height) {
  const rows = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y++) {
    rows.set(pixels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8;
  const data = await pipe(new Blob([rows]), new CompressionStream("deflate"));
  const parts = [chunk("IHDR", header), chunk("IDAT", data), chunk("IEND", new Uint8Array())];
  return new Blob([new Uint8Array(SIGNATURE), ...parts], {type: "image/png"});
}

function chunk(kind, body) {
  const bytes = new Uint8Array(body.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  bytes.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(body, 8);
  view.setUint32(body.length + 8, crc(bytes.subarray(4, body.length + 8)));
  return bytes;
}

function crc(bytes) {
  let value = -1;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

async function pipe(blob, through) {
  return new Uint8Array(await new Response(blob.stream().pipeThrough(through)).arrayBuffer());
}
