// A DICOM file as pixels: one grey image, uncompressed, shown by slope, window and inversion with the
// arithmetic of pydicom. A file that needs more is refused. dicom-parser is a classic script, so global.

import {roundEven} from "./pixels.js";

const PLAIN = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]; // little endian, implicit and explicit
const GREYS = 2 ** 16 - 1; // between the window and the presentation
const MORE = {
  x00283000: "a modality LUT",
  x00283010: "a VOI LUT",
  x20500010: "a presentation LUT",
  x52009229: "functional groups",
  x52009230: "functional groups",
};

export const isDicom = (bytes) => String.fromCharCode(...bytes.subarray(128, 132)) === "DICM";

/** Raises an Error whose message goes on from "cannot be read: ". */
export function readDicom(bytes) {
  const {string, number, whole, elements} = parse(bytes);
  const more = Object.keys(MORE).find((tag) => elements[tag]);
  if (more) refuse(`it has ${MORE[more]}`);
  const [height, width] = [whole("x00280010"), whole("x00280011")];
  if (!height || !width) throw new Error("it holds no image");
  const colours = string("x00280004");
  if (!/^MONOCHROME[12]$/.test(colours) || (whole("x00280002") ?? 1) !== 1) refuse("it is no grey image");
  if ((number("x00280008") ?? 1) > 1) refuse("it holds several frames");
  const [bits, stored, high] = ["x00280100", "x00280101", "x00280102"].map(whole);
  if (![8, 16].includes(bits) || stored > bits || high !== stored - 1) refuse("its values lie in unusual bits");
  const signed = whole("x00280103") === 1;
  const values = readValues(bytes, elements.x7fe00010, height * width, bits, signed);
  const [least, most] = signed ? [-(2 ** (stored - 1)), 2 ** (stored - 1) - 1] : [0, 2 ** stored - 1];
  if (values.some((value) => value < least || value > most)) refuse("its values need more bits than it says");
  const rescale = readRescale(number);
  const shown = windowing(number, string, rescale(least), rescale(most));
  const shape = string("x20500020")?.toUpperCase();
  const inverted = ["IDENTITY", "INVERSE"].includes(shape) ? shape === "INVERSE" : colours === "MONOCHROME1";
  const greys = new Map(); // of each value that occurs
  const grey = (value) => {
    const level = roundEven(Math.min(1, Math.max(0, shown(rescale(value)))) * GREYS);
    return roundEven((inverted ? GREYS - level : level) * (255 / GREYS));
  };
  const pixels = Uint8Array.from(values, (value) => {
    if (!greys.has(value)) greys.set(value, grey(value));
    return greys.get(value);
  });
  return {width, height, channels: 1, pixels};
}

const refuse = (what) => {
  throw new Error(`${what}; use \`transfuse predict\``);
};

function parse(bytes) {
  let syntax, data;
  try {
    syntax = dicomParser.readPart10Header(bytes).string("x00020010");
    if (PLAIN.includes(syntax)) data = dicomParser.parseDicom(bytes);
  } catch {
    throw new Error("it is damaged");
  }
  if (!data) refuse("it is compressed, or not little endian");
  const {elements} = data;
  const string = (tag) => (elements[tag]?.length ? data.string(tag) : undefined);
  const number = (tag) => {
    const found = string(tag)?.split("\\")[0].trim();
    if (found && !Number.isFinite(Number(found))) throw new Error("it is damaged");
    return found ? Number(found) : undefined;
  };
  return {elements, string, number, whole: (tag) => data.uint16(tag)};
}

function readValues(bytes, element, count, bits, signed) {
  const size = (count * bits) / 8;
  const odd = size % 2; // a byte of padding
  if (!element || ![size, size + odd].includes(element.length)) throw new Error("its pixels are missing or damaged");
  const buffer = bytes.slice(element.dataOffset, element.dataOffset + size).buffer;
  if (buffer.byteLength < size) throw new Error("it ends too early");
  if (bits === 8) return signed ? new Int8Array(buffer) : new Uint8Array(buffer);
  const view = new DataView(buffer);
  const read = signed ? "getInt16" : "getUint16";
  return Int32Array.from({length: count}, (_, i) => view[read](2 * i, true));
}

/** The function from stored values to those of the device, as Hounsfield units. */
function readRescale(number) {
  const [intercept, slope] = [number("x00281052"), number("x00281053")];
  if (slope === 0 || (slope === undefined) !== (intercept === undefined)) refuse("its rescaling is incomplete");
  return slope === undefined ? (value) => value : (value) => value * slope + intercept;
}

/** The function from values to 0 ... 1 by the (first) window, PS3.3 C.11.2.1.2. */
function windowing(number, string, low, high) {
  const kind = string("x00281056")?.toUpperCase() ?? "LINEAR";
  let [center, width] = [number("x00281050"), number("x00281051")];
  const usable = center !== undefined && (kind === "LINEAR" ? width >= 1 : kind === "LINEAR_EXACT" && width > 0);
  if (!usable) refuse("it has no linear window");
  if (kind === "LINEAR") [center, width] = [center - 0.5, width - 1];
  return (value) => {
    let shown = ((value - center) / width + 0.5) * (high - low) + low;
    if (value <= center - width / 2) shown = low;
    else if (value > center + width / 2) shown = high;
    return (shown - low) / (high - low || 1);
  };
}
