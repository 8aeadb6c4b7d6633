/** `manifest.json`: what a model's files are, with a SHA-256 for each chunk, so that chunks can be checked and kept. */

import { ModelError } from './errors.js';

/** Bytes of a chunk, except the last of a file. */
export const CHUNK = 4 * 1024 * 1024;
/** Bytes that a manifest may make a chunk have: a smaller one is a request too many, a larger one too much memory. */
export const SMALLEST_CHUNK = 64 * 1024;
export const LARGEST_CHUNK = 8 * 1024 * 1024;
/** Bytes that a file may have; Hugging Face takes none above 50 GB. */
export const LARGEST_FILE = 64 * 1024 ** 3;
/** Files that a model may have. */
export const MOST_FILES = 1024;

export interface ManifestFile {
  /** Path within the model's folder. */
  name: string;
  bytes: number;
  /** SHA-256 of the whole file, in hexadecimal. */
  sha256: string;
  /** SHA-256 of each chunk, in order. */
  chunks: string[];
}

export interface Manifest {
  version: 1;
  /** Bytes of a chunk, except the last of a file. */
  chunk: number;
  files: ManifestFile[];
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const isHash = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** A name that stays inside the model's folder, whatever it is joined to. */
export function isFileName(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value.split('/').every((part) => /^[\w.+@-]+$/.test(part) && part !== '.' && part !== '..')
  );
}

/** Checks a parsed manifest; `where` names it in errors. */
export function parseManifest(json: unknown, where: string): Manifest {
  const wrong = (what: string): never => {
    throw new ModelError(`${where}: ${what}`);
  };
  if (!isRecord(json)) return wrong('a manifest is an object');
  const { version, chunk, files } = json;
  if (version !== 1) return wrong(`version ${JSON.stringify(version)} is unknown; this package reads version 1`);
  if (!isSize(chunk) || chunk < SMALLEST_CHUNK || chunk > LARGEST_CHUNK) {
    return wrong(`chunk: expected ${SMALLEST_CHUNK} to ${LARGEST_CHUNK} bytes`);
  }
  if (!Array.isArray(files) || files.length === 0 || files.length > MOST_FILES) {
    return wrong(`files: expected a list of 1 to ${MOST_FILES}`);
  }
  const names = new Set<string>();
  files.forEach((file: unknown, index) => {
    const at = `files[${index}]`;
    if (!isRecord(file)) return wrong(`${at}: expected an object`);
    if (!isFileName(file.name)) return wrong(`${at}.name: ${JSON.stringify(file.name)} is not a relative file name`);
    if (names.has(file.name)) return wrong(`${at}.name: ${file.name} is listed twice`);
    names.add(file.name);
    if (!isSize(file.bytes) || file.bytes > LARGEST_FILE) return wrong(`${at}.bytes: expected at most ${LARGEST_FILE} bytes`);
    if (!isHash(file.sha256)) return wrong(`${at}.sha256: expected 64 hexadecimal digits`);
    const count = Math.ceil(file.bytes / chunk);
    if (!Array.isArray(file.chunks) || !file.chunks.every(isHash) || file.chunks.length !== count) {
      return wrong(`${at}.chunks: expected ${count} hashes of 64 hexadecimal digits`);
    }
  });
  return json as unknown as Manifest;
}

/** SHA-256 in hexadecimal. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  let hex = '';
  for (const byte of digest) hex += byte.toString(16).padStart(2, '0');
  return hex;
}
