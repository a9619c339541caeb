// From a picture to what the model sees, and from its answer to masks: the arithmetic of OpenCV,
// which the Python package resizes with, operation by operation, so that no pixel differs.

const round32 = Math.fround;

/** Resize (h, w, c) to (H, W, c): by area where it shrinks, else bilinear; type as of `data`. */
export function resize(data, [h, w, c], [H, W]) {
  if (h === H && w === W) return data;
  if (h >= H && w >= W) return byArea(data, [h, w, c], [H, W]);
  return data instanceof Float32Array
    ? bilinear(data, [h, w, c], [H, W])
    : bilinearBytes(data, [h, w, c], [H, W]);
}

function byArea(data, [h, w, c], [H, W]) {
  const [sy, sx] = [h / H, w / W];
  const out = new data.constructor(H * W * c);
  const store = data instanceof Float32Array ? (x) => x : roundEven;
  if (Number.isInteger(sy) && Number.isInteger(sx)) {
    // of bytes, four make one with halves rounded up; more with halves to even
    const bytes = sx === 2 && sy === 2 && !(data instanceof Float32Array);
    const scale = round32(1 / (sx * sy));
    for (let y = 0, to = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        for (let k = 0; k < c; k++, to++) {
          let sum = 0;
          for (let j = 0; j < sy; j++) {
            for (let i = 0; i < sx; i++) sum = round32(sum + data[((y * sy + j) * w + x * sx + i) * c + k]);
          }
          out[to] = bytes ? (sum + 2) >> 2 : store(round32(sum * scale));
        }
      }
    }
    return out;
  }
  const columns = shares(w, W);
  const sum = new Float32Array(W * c);
  const row = new Float32Array(W * c);
  let last = 0;
  for (const [y, from, share] of shares(h, H)) {
    row.fill(0);
    for (const [x, at, part] of columns) {
      for (let k = 0; k < c; k++) row[x * c + k] += round32(data[(from * w + at) * c + k] * part);
    }
    if (y !== last) {
      for (let i = 0; i < W * c; i++) out[last * W * c + i] = store(sum[i]);
      sum.fill(0);
      last = y;
    }
    for (let i = 0; i < W * c; i++) sum[i] += round32(row[i] * share);
  }
  for (let i = 0; i < W * c; i++) out[last * W * c + i] = store(sum[i]);
  return out;
}

/** [new pixel, old pixel, share of the new one that it covers] along an axis of n to N pixels. */
function shares(n, N) {
  const found = [];
  const scale = n / N;
  for (let i = 0; i < N; i++) {
    const [begin, end] = [i * scale, i * scale + scale];
    const cell = Math.min(scale, n - begin);
    const last = Math.min(Math.floor(end), n - 1);
    const first = Math.min(Math.ceil(begin), last);
    if (first - begin > 1e-3) found.push([i, first - 1, round32((first - begin) / cell)]);
    for (let j = first; j < last; j++) found.push([i, j, round32(1 / cell)]);
    if (end - last > 1e-3) found.push([i, last, round32(Math.min(end - last, 1, cell) / cell)]);
  }
  return found;
}

export function roundEven(x) {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
}

/** For each of N new pixels: its two neighbours among n old ones and the weight of the second. */
function neighbours(n, N) {
  const scale = 1 / (N / n);
  return Array.from({length: N}, (_, i) => {
    const at = round32((i + 0.5) * scale - 0.5);
    const first = Math.floor(at);
    return [Math.max(0, Math.min(first, n - 1)), Math.max(0, Math.min(first + 1, n - 1)), round32(at - first)];
  });
}

function bilinear(data, [h, w, c], [H, W]) {
  const columns = neighbours(w, W);
  const out = new Float32Array(H * W * c);
  neighbours(h, H).forEach(([top, bottom, down], y) => {
    columns.forEach(([left, right, across], x) => {
      for (let k = 0; k < c; k++) {
        const at = (row, column) => data[(row * w + column) * c + k];
        const mix = (row) =>
          round32(round32(at(row, left) * round32(1 - across)) + round32(at(row, right) * across));
        out[(y * W + x) * c + k] = round32(mix(top) * round32(1 - down)) + round32(mix(bottom) * down);
      }
    });
  });
  return out;
}

/** Of bytes OpenCV keeps weights in 11 bits and drops 4, then 16, then 2 bits on the way. */
function bilinearBytes(data, [h, w, c], [H, W]) {
  const fixed = ([first, second, weight]) => [first, second, roundEven(round32(1 - weight) * 2048), roundEven(weight * 2048)];
  const columns = neighbours(w, W).map(fixed);
  const out = new Uint8Array(H * W * c);
  neighbours(h, H).map(fixed).forEach(([top, bottom, up, down], y) => {
    columns.forEach(([left, right, a, b], x) => {
      for (let k = 0; k < c; k++) {
        const mix = (row) => data[(row * w + left) * c + k] * a + data[(row * w + right) * c + k] * b;
        out[(y * W + x) * c + k] =
          (((up * (mix(top) >> 4)) >> 16) + ((down * (mix(bottom) >> 4)) >> 16) + 2) >> 2;
      }
    });
  });
  return out;
}

const RANGES = [255, 1023, 4095, 16383, 65535]; // white of images of 8, 10, 12, 14 and 16 bits

/** Values of 16 bits as bytes; `range`: [black, white], or null: of the smallest that holds all. */
export function toBytes(values, range) {
  const [low, high] = range ?? [0, RANGES.find((top) => values.every((value) => value <= top))];
  return Uint8Array.from(values, (value) =>
    roundEven(Math.min(255, Math.max(0, (value - low) * (255 / (high - low)))))
  );
}

/** Pixels of 1 or 3 channels as bytes of the channels that the model takes. */
export function withChannels(pixels, from, to) {
  if (from === to) return pixels;
  const out = new Uint8Array((pixels.length / from) * to);
  for (let i = 0; i < out.length / to; i++) {
    if (to === 3) out.fill(pixels[i], 3 * i, 3 * i + 3);
    else out[i] = (pixels[3 * i] * 19595 + pixels[3 * i + 1] * 38470 + pixels[3 * i + 2] * 7471 + 32768) >> 16;
  }
  return out;
}

const MARGIN = 0.05; // a component may be so much less sure than the surest

/**
 * Probabilities (h, w, M) as M masks of 0 and 1, each Uint8Array (H, W), of the picture's size. Of
 * the classes `sure`, by their index, only sure components stay.
 */
export function toMasks(probabilities, [h, w, M], [H, W], thresholds, exclusive, sure) {
  const maps = resize(probabilities, [h, w, M], [H, W]);
  const masks = thresholds.map(() => new Uint8Array(H * W));
  const limits = thresholds.map(round32);
  for (let i = 0; i < H * W; i++) {
    let best = 0;
    for (let k = 1; k < M; k++) if (maps[i * M + k] > maps[i * M + best]) best = k;
    for (let k = 0; k < M; k++) {
      masks[k][i] = maps[i * M + k] >= limits[k] && (!exclusive || k === best) ? 1 : 0;
    }
  }
  for (const k of sure) keepSure(masks[k], W, (i) => maps[i * M + k]);
  return masks;
}

/** Clear the components of a mask of width W whose mean is lower than the highest by more than MARGIN. */
function keepSure(mask, W, probability) {
  const components = findComponents(mask, W);
  const means = components.map((pixels) => pixels.reduce((sum, i) => sum + probability(i), 0) / pixels.length);
  const least = means.reduce((highest, mean) => Math.max(highest, mean), 0) - MARGIN;
  components.forEach((pixels, at) => means[at] < least && pixels.forEach((i) => (mask[i] = 0)));
}

/** The pixels of each component of a mask of width W, connected by sides. */
function findComponents(mask, W) {
  const [seen, components] = [new Uint8Array(mask.length), []];
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || seen[start]) continue;
    const pixels = [start];
    seen[start] = 1;
    for (let at = 0; at < pixels.length; at++) {
      const [i, x] = [pixels[at], pixels[at] % W];
      for (const next of [i - W, i + W, x ? i - 1 : -1, x < W - 1 ? i + 1 : -1]) {
        if (mask[next] && !seen[next]) {
          seen[next] = 1;
          pixels.push(next);
        }
      }
    }
    components.push(pixels);
  }
  return components;
}
