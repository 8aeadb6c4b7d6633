/** Pictures and where they come from: samples, files, the clipboard, another tab. */

import type { Problem } from './problem.js';

export interface Picture {
  blob: Blob;
  /** Shown by the page; revoked by {@link release}. */
  url: string;
  name: string;
  width: number;
  height: number;
  /** File of the sample that it is, if it is one. */
  sample?: string;
}

/** What goes wrong here is told to the person as it stands. */
export class PictureError extends Error {}

/** Larger ones would take the browser down before the model could refuse them. */
const MOST_PIXELS = 64_000_000;

/** Finds out a picture's size, and whether it is one at all. */
export async function readPicture(blob: Blob, name: string, sample?: string): Promise<Picture> {
  if (blob.type && !blob.type.startsWith('image/')) throw new PictureError(`${name} is not a picture.`);
  const url = URL.createObjectURL(blob);
  try {
    const { width, height } = await measure(url, name);
    return { blob, url, name, width, height, ...(sample !== undefined && { sample }) };
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  }
}

async function measure(url: string, name: string): Promise<{ width: number; height: number }> {
  const broken = new PictureError(`${name} is broken, or of a kind that this browser cannot show.`);
  const image = new Image();
  await new Promise((resolve, reject) => {
    image.onload = resolve;
    image.onerror = () => reject(broken);
    image.src = url;
  });
  // Now the size is known, and the pixels are not decoded yet.
  const { naturalWidth: width, naturalHeight: height } = image;
  if (width * height > MOST_PIXELS) {
    const most = MOST_PIXELS / 1e6;
    throw new PictureError(`${name} is too large: it has ${width} × ${height} pixels, and ${most} million are the most.`);
  }
  await image.decode().catch(() => {
    throw broken;
  });
  return { width, height };
}

export function release(picture: Picture): void {
  URL.revokeObjectURL(picture.url);
}

/** Why a picture was not taken. */
export function pictureProblem(error: unknown): Problem {
  return {
    title: 'No picture was taken',
    text: error instanceof PictureError ? error.message : 'The picture could not be read.',
    ...(!(error instanceof PictureError) && { message: String((error as Error)?.message ?? error) }),
    remedies: [],
  };
}

export async function samplePicture(file: string, title: string): Promise<Picture> {
  const response = await fetch(`samples/${file}`);
  if (!response.ok) throw new PictureError(`The sample ${file} could not be fetched (${response.status}).`);
  return readPicture(await response.blob(), title, file);
}

/** The first picture of a drop or a paste. */
export function pictureIn(data: DataTransfer | null): File | undefined {
  const files = [...(data?.files ?? [])];
  return files.find((file) => file.type.startsWith('image/')) ?? files[0];
}

/** The clipboard's picture, asked for by button; the key combination has an event of its own. */
export async function clipboardPicture(): Promise<Picture> {
  let items: ClipboardItems;
  try {
    items = await navigator.clipboard.read();
  } catch {
    throw new PictureError('The browser did not allow this page to read the clipboard. Ctrl+V (or Cmd+V) works without asking.');
  }
  for (const item of items) {
    const type = item.types.find((known) => known.startsWith('image/'));
    if (type) return readPicture(await item.getType(type), 'Pasted picture');
  }
  throw new PictureError('There is no picture in the clipboard. Take a screenshot of a window first.');
}

/** One frame of a tab or window that the person chooses; `undefined` if they choose none. */
export async function capturePicture(): Promise<Picture | undefined> {
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia(captureOptions());
  } catch (error) {
    if ((error as DOMException).name === 'NotAllowedError') return undefined;
    throw new PictureError(`The browser could not capture: ${(error as Error).message}`);
  }
  try {
    return await readPicture(await firstFrame(stream), 'Captured picture');
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}

/** Not yet in TypeScript's DOM types. */
declare class CaptureController {
  setFocusBehavior(behavior: 'no-focus-change'): void;
}

function captureOptions(): DisplayMediaStreamOptions {
  const options: DisplayMediaStreamOptions & { controller?: CaptureController; selfBrowserSurface?: 'exclude' } = {
    video: true,
    audio: false,
    selfBrowserSurface: 'exclude',
  };
  if ('CaptureController' in globalThis) {
    // Otherwise the browser switches to the captured tab, and the person has to find the way back.
    options.controller = new CaptureController();
    try {
      options.controller.setFocusBehavior('no-focus-change');
    } catch {
      // Older versions accept it only after the choice, where it makes no difference for windows.
    }
  }
  return options;
}

async function firstFrame(stream: MediaStream): Promise<Blob> {
  const video = document.createElement('video');
  video.muted = true;
  video.srcObject = stream;
  await video.play();
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d')!.drawImage(video, 0, 0);
  video.srcObject = null;
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new PictureError('The captured picture is empty.'))), 'image/png');
  });
}
