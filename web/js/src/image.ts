/** Turns whatever holds a picture into RGBA bytes. */

import { ImageError } from './errors.js';
import type { ImageInput } from './types.js';

/** What crosses to the engine's thread. The engine owns it, and closes what can be closed. */
export type WireImage = Blob | ImageBitmap | ImageData | VideoFrame;

export interface Pixels {
  /** Row by row; alpha stands beside the colours, which are not multiplied by it. */
  rgba: Uint8Array<ArrayBuffer>;
  width: number;
  height: number;
}

/** Stored bytes as they are: no conversion to the screen's colours, nothing multiplied. */
const AS_STORED: ImageBitmapOptions = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' };

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
        const bitmap = take ? (image as ImageBitmap) : await createImageBitmap(image as ImageBitmap, AS_STORED);
        return { image: bitmap, transfer: [bitmap] };
      }
      case 'HTMLImageElement':
        await (image as HTMLImageElement).decode();
        break;
      case 'HTMLCanvasElement':
      case 'OffscreenCanvas':
        break;
      default:
        throw new TypeError(
          'expected a Blob, ImageBitmap, ImageData, VideoFrame, HTMLImageElement, HTMLCanvasElement or OffscreenCanvas',
        );
    }
    const bitmap = await createImageBitmap(image as HTMLImageElement | HTMLCanvasElement | OffscreenCanvas, AS_STORED);
    return { image: bitmap, transfer: [bitmap] };
  } catch (cause) {
    throw unreadable(image, cause);
  }
}

/** Decodes and reads back. */
export async function toPixels(image: WireImage): Promise<Pixels> {
  try {
    if (tagOf(image) === 'ImageData') {
      const { data, width, height } = image as ImageData;
      if (data.length !== width * height * 4) throw new TypeError('its bytes do not fit its size');
      if (!(data instanceof Uint8ClampedArray)) throw new TypeError('only 8 bits a channel can be read');
      return { rgba: new Uint8Array(data), width, height };
    }
    const bitmap = tagOf(image) === 'ImageBitmap' ? (image as ImageBitmap) : await createImageBitmap(image, AS_STORED);
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

function unreadable(image: unknown, cause: unknown): ImageError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ImageError(`cannot read ${describe(image)} as a picture: ${why}`, { cause });
}

function readBack(bitmap: ImageBitmap): Pixels {
  const { width, height } = bitmap;
  if (width === 0 || height === 0) throw new TypeError('it is empty or closed');
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  if (!context) throw new TypeError('no canvas of this size can be made');
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  let rgba = new Uint8Array(data.buffer as ArrayBuffer);
  if (!isOpaque(rgba)) rgba = readUnmultiplied(bitmap) ?? rgba;
  return { rgba, width, height };
}

function isOpaque(rgba: Uint8Array): boolean {
  for (let at = 3; at < rgba.length; at += 4) if (rgba[at] !== 255) return false;
  return true;
}

/**
 * A 2D canvas multiplies colours by alpha, which rounds them, and blackens what is transparent. The engine drops alpha
 * as the reference does, so it needs the colours as they stand in the file: WebGL hands them out.
 */
function readUnmultiplied(bitmap: ImageBitmap): Uint8Array<ArrayBuffer> | undefined {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext('webgl2');
  if (!gl) return undefined;
  try {
    if (Math.max(width, height) > (gl.getParameter(gl.MAX_TEXTURE_SIZE) as number)) return undefined;
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    const rgba = new Uint8Array(width * height * 4);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
    return gl.getError() === gl.NO_ERROR ? rgba : undefined;
  } finally {
    gl.getExtension('WEBGL_lose_context')?.loseContext();
  }
}
