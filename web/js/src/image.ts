/**
 * Makes any picture ready for the engine. Files stay encoded: the engine has one reader of them, the same as natively.
 * What the browser holds in pixels is read back as RGBA, for the engine to composite on white.
 */

import { ImageError } from './errors.js';
import type { ImageInput } from './types.js';

/** What crosses to the engine's thread. The engine owns it, and closes what can be closed. */
export type WireImage = Blob | ImageBitmap | ImageData | VideoFrame;

/** An encoded file. */
export interface PictureFile {
  file: Uint8Array<ArrayBuffer>;
  /** What it is, for messages. */
  what: string;
}

export interface Pixels {
  /** Row by row; alpha stands beside the colours, which are not multiplied by it. */
  rgba: Uint8Array<ArrayBuffer>;
  width: number;
  height: number;
}

/** Most pixels of a picture: `Picture::PIXEL_LIMIT` of the engine. */
export const PIXEL_LIMIT = 100_000_000;

/** Largest encoded file, in bytes. */
const FILE_LIMIT = 256 * 1024 * 1024;

/** As people see it and as it is stored: turned, no conversion to the screen's colours, nothing multiplied. */
const AS_SHOWN: ImageBitmapOptions = {
  imageOrientation: 'from-image',
  colorSpaceConversion: 'none',
  premultiplyAlpha: 'none',
};

/** The kind of an object; unlike `instanceof`, also for objects of another frame. */
const tagOf = (value: unknown) => Object.prototype.toString.call(value).slice(8, -1);

/** What the caller gave, for messages. */
function describe(image: unknown): string {
  const tag = tagOf(image);
  if (image instanceof Blob) return `a ${tag} of type ${JSON.stringify(image.type)} with ${image.size} bytes`;
  if (image === null || image === undefined || typeof image === 'boolean') return String(image);
  if (typeof image !== 'object') return `a ${typeof image}`;
  if ('width' in image && 'height' in image) return `${article(tag)} of ${String(image.width)} x ${String(image.height)} pixels`;
  return article(tag);
}

const article = (tag: string) => (/^[AEIOU]|^HTML/.test(tag) ? `an ${tag}` : `a ${tag}`);

/**
 * Makes a picture ready to cross: cheap, and on the caller's thread only what needs the document. Unless `take`, what
 * the caller gave stays usable.
 */
export async function toWire(image: ImageInput, take: boolean): Promise<{ image: WireImage; transfer: Transferable[] }> {
  try {
    switch (tagOf(image)) {
      case 'Blob':
      case 'File':
        return { image: image as Blob, transfer: [] };
      case 'ImageData': {
        const data = image as ImageData;
        return { image: data, transfer: take ? [data.data.buffer] : [] };
      }
      case 'VideoFrame': {
        const frame = take ? (image as VideoFrame) : (image as VideoFrame).clone();
        return { image: frame, transfer: [frame] };
      }
      case 'ImageBitmap': {
        const bitmap = take ? (image as ImageBitmap) : await createImageBitmap(image as ImageBitmap, AS_SHOWN);
        return { image: bitmap, transfer: [bitmap] };
      }
      case 'HTMLImageElement':
        await (image as HTMLImageElement).decode();
        checkSize((image as HTMLImageElement).naturalWidth, (image as HTMLImageElement).naturalHeight);
        break;
      case 'HTMLCanvasElement':
      case 'OffscreenCanvas':
        checkSize((image as OffscreenCanvas).width, (image as OffscreenCanvas).height);
        break;
      default:
        throw new TypeError(
          'expected a Blob, ImageBitmap, ImageData, VideoFrame, HTMLImageElement, HTMLCanvasElement or OffscreenCanvas',
        );
    }
    const bitmap = await createImageBitmap(image as HTMLImageElement | HTMLCanvasElement | OffscreenCanvas, AS_SHOWN);
    return { image: bitmap, transfer: [bitmap] };
  } catch (cause) {
    throw unreadable(image, cause);
  }
}

/** Reads a file's bytes, or the pixels of anything else. */
export async function toPixels(image: WireImage): Promise<Pixels | PictureFile> {
  try {
    if (image instanceof Blob) {
      if (image.size > FILE_LIMIT) throw new TypeError(`it has more than ${FILE_LIMIT / 1024 / 1024} MiB`);
      return { file: new Uint8Array(await image.arrayBuffer()), what: describe(image) };
    }
    if (tagOf(image) === 'ImageData') {
      const { data, width, height } = image as ImageData;
      checkSize(width, height);
      if (data.length !== width * height * 4) throw new TypeError('its bytes do not fit its size');
      if (!(data instanceof Uint8ClampedArray)) throw new TypeError('only 8 bits a channel can be read');
      return { rgba: new Uint8Array(data), width, height };
    }
    if (tagOf(image) === 'VideoFrame') {
      const { displayWidth, displayHeight } = image as VideoFrame;
      checkSize(displayWidth, displayHeight);
    }
    const bitmap = tagOf(image) === 'ImageBitmap' ? (image as ImageBitmap) : await createImageBitmap(image, AS_SHOWN);
    try {
      return readBack(bitmap);
    } finally {
      bitmap.close();
    }
  } catch (cause) {
    throw unreadable(image, cause);
  } finally {
    if ('close' in image) image.close();
  }
}

/** What the engine says about a file, with what the file is. */
export function unreadableFile({ what }: PictureFile, cause: ImageError): ImageError {
  return new ImageError(`cannot read ${what} as a picture: ${cause.message}`, { cause });
}

/** Says which of several pictures an error is about. */
export async function numbered<T>(index: number, count: number, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof ImageError) || count === 1) throw error;
    throw new ImageError(`picture ${index + 1} of ${count}: ${error.message}`, { cause: error });
  }
}

function checkSize(width: number, height: number): void {
  if (width * height > PIXEL_LIMIT) throw new TypeError(`${width} x ${height} are more than ${PIXEL_LIMIT} pixels`);
}

function unreadable(image: unknown, cause: unknown): ImageError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ImageError(`cannot read ${describe(image)} as a picture: ${why}`, { cause });
}

/**
 * A 2D canvas multiplies colours by alpha and divides again, which rounds what is transparent: composited on white, a
 * channel may be off by one.
 */
function readBack(bitmap: ImageBitmap): Pixels {
  const { width, height } = bitmap;
  if (width === 0 || height === 0) throw new TypeError('it is empty or closed');
  checkSize(width, height);
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  if (!context) throw new TypeError('no canvas of this size can be made');
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { rgba: new Uint8Array(data.buffer as ArrayBuffer), width, height };
}
