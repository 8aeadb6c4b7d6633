// The module's stages beside those of a golden fixture's reference.

import { withSubgroups } from '/dist/subgroups.js';
import { FACTOR, nmse, project } from './sketch.js';
import start, { Device, Model } from '/dist/wasm/fovea_web.js';

const fetchBytes = async (url) => {
  const response = await fetch(url);
  return response.ok ? new Uint8Array(await response.arrayBuffer()) : undefined;
};
const fetchJson = async (url) => (await fetch(url)).json();

const ARRAYS = { F32: Float32Array, F64: Float64Array, U8: Uint8Array, U16: Uint16Array, I64: BigInt64Array };

/**
 * What the reference computed, by tensor: numbers, or `{ count, sketch }`. A tensor of few different values is stored as
 * these and the place of each.
 */
function references(bytes) {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const read = (name) => {
    const { dtype, data_offsets } = header[name];
    const [from, to] = data_offsets.map((offset) => 8 + length + offset);
    return new ARRAYS[dtype](bytes.slice(from, to).buffer);
  };
  const found = {};
  for (const [name, { dtype }] of Object.entries(header)) {
    const [, tensor, suffix] = /^(.*?)(?:\.(\w+))?$/.exec(name);
    if (suffix === 'index') {
      const values = read(`${tensor}.values`);
      found[tensor] = Float32Array.from(read(name), (place) => values[place]);
    } else if (suffix === 'sketch') {
      const count = Number(read(`${tensor}.shape`).reduce((product, side) => product * side, 1n));
      found[tensor] = { count, sketch: read(name) };
    } else if (suffix === undefined && dtype === 'F32') {
      found[tensor] = read(name);
    }
  }
  return found;
}

/** Error of a stage; that by a sketch times the factor by which it may be too small. NaN if the lengths differ. */
function error(actual, expected) {
  if (!expected.sketch) return nmse(actual, expected);
  return actual.length === expected.count ? FACTOR * nmse(project(actual), expected.sketch) : NaN;
}

async function pixels(png) {
  const options = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' };
  const bitmap = await createImageBitmap(new Blob([png], { type: 'image/png' }), options);
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return { rgba: new Uint8Array(context.getImageData(0, 0, width, height).data.buffer), width, height };
}

const SMALL_FILES = [
  'config.json',
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.json',
];

/** Loads a fixture's model in f32, with the template that the case asks for. `tier`: as the package's. */
async function load(name, index, tier) {
  await start({ module_or_path: '/dist/wasm/fovea_web_bg.wasm' });
  const files = new Map();
  for (const file of [...SMALL_FILES, 'model.safetensors']) {
    const bytes = await fetchBytes(`/golden/${name}/${file}`);
    if (bytes) files.set(file, bytes);
  }
  const { template_version } = await fetchJson(`/golden/${name}/cases/${index}/prompt.json`);
  if (template_version) {
    const config = { ...JSON.parse(new TextDecoder().decode(files.get('config.json'))), template_version };
    files.set('config.json', new TextEncoder().encode(JSON.stringify(config)));
  }
  const source = {
    files: Array.from(files, ([name, { length }]) => ({ name, bytes: length })),
    read: async (name, from, to) => files.get(name).slice(from, to),
  };
  const device = await withSubgroups((subgroups) => Device.open(tier, subgroups));
  return Model.load(device, source, 'f32', undefined, undefined);
}

const joined = (...arrays) => Float32Array.from(arrays.flatMap((array) => Array.from(array ?? [])));

/** Errors of all stages of a case by name, and the ids with those expected. */
async function compare(model, name, index) {
  const folder = `/golden/${name}/cases/${index}`;
  const [expected, prompt] = [await fetchJson(`${folder}/expected.json`), await fetchJson(`${folder}/prompt.json`)];
  const reference = references(await fetchBytes(`${folder}/expected.safetensors`));
  const given = reference.pixel_values && joined(reference.pixel_values, reference.cross_pixel_values);
  const images = [];
  const told = { vision_tower: [], image_embeds: [], cross_vision: [] };
  let used = 0;
  for (let n = 0; ; n += 1) {
    const png = await fetchBytes(`${folder}/image${n || ''}.png`);
    if (!png) break;
    const { rgba, width, height } = await pixels(png);
    // How many of the fixture's pixels are this picture's is known from its own.
    let stages = await model.encode_stages(rgba, width, height, undefined);
    if (given) {
      const count = stages.pixel_values.length;
      const values = given.slice(used, (used += count));
      stages = await model.encode_stages(rgba, width, height, values);
    }
    images.push(stages.image);
    for (const [stage, values] of Object.entries(told)) values.push(...stages[stage]);
  }
  // Some have no conversation: a text is handed over with its pictures.
  const content = [...images.map(() => ({ type: 'image' })), { type: 'marks', text: prompt.prompt }];
  const ids = Uint32Array.from(model.conversation_ids(prompt.messages ?? [{ role: 'user', content }]));
  Object.assign(told, await model.answer_stages(ids, images, expected.generated_ids.length));
  const { input_ids, generated_ids, ...stages } = told;
  const errors = {};
  for (const [stage, values] of Object.entries(stages)) if (values.length > 0) errors[stage] = error(values, reference[stage]);
  return {
    errors,
    ownPixels: images.length > 0 && !given,
    // The reference of some systems expands slots before it counts ids, of others behind.
    ids: [...(input_ids.length === expected.input_ids.length ? input_ids : ids)],
    expectedIds: expected.input_ids,
    generated: [...generated_ids],
    expectedGenerated: expected.generated_ids,
  };
}

globalThis.parity = { load, compare };
