// Sketches of tensors as in engine/src/sketch.rs, which describes the signs and how far the estimate is off.

export const PROJECTIONS = 256;
export const SEED = 0x736b_6574_6368_2d31n;
/** The estimate of an error may be off by this factor, either way, with a probability below 1e-4. */
export const FACTOR = 3;

const HALVES = PROJECTIONS / 32;
const wrap = (value) => BigInt.asUintN(64, value);

// Signs of the first elements: eight words of 32 bits each, of which the low half of a 64-bit word comes first.
let signs = new Uint32Array(0);

function grow(elements) {
  if (elements * HALVES <= signs.length) return;
  const grown = new BigUint64Array((elements * HALVES) / 2);
  let state = SEED;
  for (let k = 0; k < grown.length; k += 1) {
    state = wrap(state + 0x9e37_79b9_7f4a_7c15n);
    let z = state;
    z = wrap((z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n);
    z = wrap((z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn);
    grown[k] = z ^ (z >> 31n);
  }
  signs = new Uint32Array(grown.buffer);
}

/** The 256 projections of a tensor. */
export function project(data) {
  grow(data.length);
  const sums = new Float64Array(PROJECTIONS);
  const signed = new Float64Array(2);
  for (let i = 0; i < data.length; i += 1) {
    [signed[0], signed[1]] = [-data[i], data[i]];
    for (let half = 0; half < HALVES; half += 1) {
      let word = signs[i * HALVES + half];
      for (let j = 32 * half; j < 32 * (half + 1); j += 1) {
        sums[j] += signed[word & 1];
        word >>>= 1;
      }
    }
  }
  return sums;
}

/** Normalised mean square error of `a` against `b`, `sum (a - b)^2 / sum b^2`; NaN if the lengths differ. */
export function nmse(a, b) {
  if (a.length !== b.length) return NaN;
  let [error, norm] = [0, 0];
  b.forEach((value, at) => {
    error += (a[at] - value) ** 2;
    norm += value ** 2;
  });
  return error === 0 ? 0 : error / norm;
}
