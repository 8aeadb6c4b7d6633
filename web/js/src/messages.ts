/** Conversations on their way to the engine. */

import { PromptError } from './errors.js';
import type { EncodedImageHandle, ImageInput, Message } from './types.js';

type Picture = ImageInput | EncodedImageHandle;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** The picture of a `data:` URL, which a person wrote at `field`. */
function read(url: unknown, field: string): Blob {
  if (typeof url !== 'string') throw new PromptError(`${field} must be a data: URL`);
  if (!/^data:/i.test(url)) {
    const shown = url.length > 60 ? `${url.slice(0, 60)}...` : url;
    throw new PromptError(
      `${field} is ${JSON.stringify(shown)}: pictures are not fetched. Give a data: URL, or a part {"type": "image"} and ` +
        'the picture in `images`',
    );
  }
  const comma = url.indexOf(',');
  const kind = url.slice('data:'.length, comma);
  if (comma < 0 || !/;base64$/i.test(kind)) {
    throw new PromptError(`${field} is a data: URL without \`;base64,\`: the picture must be in base64`);
  }
  let bytes: string;
  try {
    bytes = atob(url.slice(comma + 1).replace(/\s+/g, ''));
  } catch (cause) {
    throw new PromptError(`${field} is no base64`, { cause });
  }
  if (!bytes) throw new PromptError(`${field} is a data: URL without a picture`);
  return new Blob([Uint8Array.from(bytes, (letter) => letter.charCodeAt(0))], { type: kind.split(';')[0] ?? '' });
}

/** The URL that a part names, and the field that it stands in; `undefined` for a picture that is handed over apart. */
function urlOf(part: Record<string, unknown>, field: string): { url: unknown; field: string } | undefined {
  if (part['type'] === 'image') {
    const { image } = part;
    return image === undefined || image === null ? undefined : { url: image, field: `${field}.image` };
  }
  const url = part['image_url'];
  return isObject(url) ? { url: url['url'], field: `${field}.image_url.url` } : { url, field: `${field}.image_url` };
}

/**
 * A conversation with its pictures in the order of their parts: those that stand in the messages as `data:` URLs, and for
 * the other `image` parts those of `images`. What else is wrong with it, the engine says.
 *
 * @throws {@link PromptError} that names the field; if there are not as many `images` as parts.
 */
export function withPictures(
  messages: readonly Message[],
  images: readonly Picture[],
): { messages: Message[]; pictures: Picture[] } {
  const pictures: Picture[] = [];
  let apart = 0;
  const turns = messages.map((message, index): Message => {
    const { content } = (message ?? {}) as { content?: unknown };
    if (!Array.isArray(content)) return message;
    const parts = (content as unknown[]).map((part, place) => {
      if (!isObject(part) || (part['type'] !== 'image' && part['type'] !== 'image_url')) return part;
      const named = urlOf(part, `messages[${index}].content[${place}]`);
      if (named) {
        pictures.push(read(named.url, named.field));
        return { type: 'image' };
      }
      const next = images[apart];
      apart += 1;
      if (next !== undefined) pictures.push(next);
      return part;
    });
    return { ...message, content: parts as Exclude<Message['content'], string | null | undefined> };
  });
  if (apart !== images.length) {
    throw new PromptError(`the messages have ${apart} pictures without a data: URL, images has ${images.length}`);
  }
  return { messages: turns, pictures };
}

/** The time where the page is, as the engine takes it: year, month, day, hour, minute, second. */
export function localTime(now: Date): number[] {
  if (Number.isNaN(now.getTime())) throw new PromptError('now is no date');
  return [now.getFullYear(), now.getMonth() + 1, now.getDate(), now.getHours(), now.getMinutes(), now.getSeconds()];
}
