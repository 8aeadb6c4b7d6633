// The package and a few helpers, for tests to use from `page.evaluate`.

import * as fovea from '/dist/index.js';
import { fromBridge } from '/dist/failures.js';
import { toPixels, toWire, unreadableFile } from '/dist/image.js';
import * as store from '/dist/store.js';
import start, { composite_picture, decode_picture, wasm_bytes } from '/dist/wasm/fovea_web.js';

/** What an error is, in a form that leaves the page. */
function report(error) {
  const known = Object.entries(fovea).find(([name, it]) => /Error$/.test(name) && error?.constructor === it);
  return {
    class: known?.[0] ?? error?.constructor?.name,
    base: error instanceof fovea.FoveaError,
    name: error?.name,
    message: error?.message ?? String(error),
    ...(error instanceof Error ? { ...error } : {}),
  };
}

/** The report of what a promise rejects with; an error if it does not. */
async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return report(error);
  }
  throw new Error('it did not fail');
}

/** A part of the sample screenshot, small enough for a processor's WebGPU. */
async function crop(x = 0, y = 0, width = 224, height = 140) {
  const blob = await (await fetch('/samples/signin.png')).blob();
  const bitmap = await createImageBitmap(blob, x, y, width, height);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  return canvas.convertToBlob();
}

const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');
const digest = async (bytes) => hex(await crypto.subtle.digest('SHA-256', bytes));

let started;
const module = () => (started ??= start({ module_or_path: '/dist/wasm/fovea_web_bg.wasm' }));

/** What the engine sees of a file or of pixels: three bytes a pixel. */
async function asRead(pixels) {
  await module();
  try {
    return 'file' in pixels ? decode_picture(pixels.file) : composite_picture(pixels.rgba, pixels.width, pixels.height);
  } catch (error) {
    throw unreadableFile({ what: 'pixels', ...pixels }, fromBridge(error));
  }
}

/** Bytes of the module's memory. */
async function wasmBytes() {
  await module();
  return wasm_bytes();
}

globalThis.test = { ...fovea, toPixels, toWire, asRead, wasmBytes, store, report, failure, crop, digest, kept: {} };
