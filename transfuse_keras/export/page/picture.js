// A picture file as pixels: {width, height, channels, pixels}, equal to those that the package reads.

import {isDicom, readDicom} from "./dicom.js";
import {isPng, readPng, refuseTurned} from "./png.js";

const text = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));

/** Raises an Error whose message goes on from "cannot be read: ". */
export async function readPicture(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (isPng(bytes)) return readPng(bytes);
  if (isDicom(bytes)) return readDicom(bytes);
  const jpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
  if (!jpeg && !(text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 12) === "WEBP")) {
    throw new Error("it is no PNG, JPEG, WebP or DICOM picture");
  }
  const whole = jpeg ? last(bytes, 0xd9) > last(bytes, 0xda) : bytes.length >= riffLength(bytes);
  if (!whole) throw new Error("it ends too early"); // a browser would show what there is
  if (jpeg && samplesOf(bytes) === 4) throw new Error("it is made for print (CMYK); save it as RGB");
  if (!jpeg && text(bytes, 12, 16) === "VP8X" && bytes[20] & 2) throw new Error("it is an animation");
  const exif = jpeg ? null : exifOfWebp(bytes);
  if (exif) refuseTurned(exif); // the package turns it, not every browser does
  return decode(file);
}

/** Where a marker of a JPEG stands last. */
function last(bytes, marker) {
  for (let at = bytes.length - 2; at >= 0; at--) {
    if (bytes[at] === 0xff && bytes[at + 1] === marker) return at;
  }
  return -1;
}

const riffLength = (bytes) => 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);

/** The EXIF data of a WebP file, which some software begins as in a JPEG; null without. */
function exifOfWebp(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let at = 12, length; at + 8 <= bytes.length; at += 8 + length + (length & 1)) {
    length = view.getUint32(at + 4, true);
    const from = at + (text(bytes, at + 8, at + 12) === "Exif" ? 14 : 8);
    if (text(bytes, at, at + 4) === "EXIF") return bytes.subarray(from, at + 8 + length);
  }
  return null;
}

/** The number of samples of a pixel of a JPEG, by its start of frame. */
function samplesOf(bytes) {
  for (let at = 2; at + 10 <= bytes.length; at += 2 + ((bytes[at + 2] << 8) | bytes[at + 3])) {
    const kind = bytes[at + 1];
    if (kind >= 0xc0 && kind <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(kind)) return bytes[at + 9];
  }
  return 0;
}

/** By the browser; upright, without colour management, which Pillow does not do either. */
async function decode(file) {
  const options = {imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none"};
  const bitmap = await createImageBitmap(file, options).catch(() => {
    throw new Error("it is damaged");
  });
  const {width, height} = bitmap;
  const canvas = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
  canvas.drawImage(bitmap, 0, 0);
  bitmap.close();
  const {data} = canvas.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0, to = 0; i < data.length; i += 4) {
    if (data[i + 3] < 255) throw new Error("it is transparent in places; save it without transparency");
    pixels[to++] = data[i];
    pixels[to++] = data[i + 1];
    pixels[to++] = data[i + 2];
  }
  return {width, height, channels: 3, pixels};
}
