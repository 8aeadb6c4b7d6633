// Conversations with their pictures, as callers write them.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { PromptError } from '../dist/errors.js';
import { localTime, withPictures } from '../dist/messages.js';

const CASES = new URL('../../../tests/cases/messages/', import.meta.url);
const read = async (name) => JSON.parse(await readFile(new URL(`${name}.json`, CASES), 'utf8'));

const user = (...content) => [{ role: 'user', content }];
const words = { type: 'text', text: 'Where?' };

test('pictures of messages come where they stand', async () => {
  const { messages } = await read('openai_image_url');
  const taken = withPictures(messages, []);
  assert.deepEqual(taken.messages, user({ type: 'image' }, words));
  assert.equal(taken.pictures.length, 1);
  assert.equal(taken.pictures[0].type, 'image/png');
  const bytes = new Uint8Array(await taken.pictures[0].arrayBuffer());
  assert.deepEqual([...bytes.slice(1, 4)], [...'PNG'].map((letter) => letter.charCodeAt(0)));

  const url = 'data:image/png;base64,AQI=';
  const parts = user({ type: 'image' }, { type: 'image', image: url }, words, { type: 'image_url', image_url: url }, { type: 'image' });
  const [first, last] = [new Blob(['first']), new Blob(['last'])];
  const mixed = withPictures(parts, [first, last]);
  assert.deepEqual(mixed.pictures.map((picture) => picture.size), [5, 2, 2, 4]);
  assert.equal(mixed.pictures[0], first);
  assert.equal(mixed.pictures[3], last);
  // What the caller wrote stays as it was.
  assert.equal(parts[0].content[1].image, url);
});

test('what is no part of a picture stays for the engine to read or refuse', async () => {
  for (const name of ['bare_list', 'content_null', 'im_end', 'tool_calls']) {
    const file = await read(name);
    const messages = file.messages ?? file;
    assert.deepEqual(withPictures(messages, [new Blob(['a'])]).messages, messages);
  }
  const odd = [null, 3, { role: 'user' }, { role: 'user', content: [null, 'a', { type: 'video' }] }];
  assert.deepEqual(withPictures(odd, []).messages, odd);
});

test('pictures that cannot be had are refused by their field', () => {
  const refused = (part, images, pattern) =>
    assert.throws(() => withPictures(user(part), images), (error) => error instanceof PromptError && pattern.test(error.message));
  const url = (url) => ({ type: 'image_url', image_url: { url } });
  refused(url('https://a.b/c.png'), [], /^messages\[0\]\.content\[0\]\.image_url\.url is "https:\/\/a\.b\/c\.png": pictures are not fetched/);
  refused(url('data:image/png,abc'), [], /^messages\[0\]\.content\[0\]\.image_url\.url is a data: URL without `;base64,`/);
  refused(url('data:image/png;base64,*'), [], /image_url\.url is no base64$/);
  refused(url(3), [], /image_url\.url must be a data: URL$/);
  refused({ type: 'image', image: '/home/page.png' }, [], /^messages\[0\]\.content\[0\]\.image is "\/home\/page\.png"/);
  refused({ type: 'image' }, [], /^the messages have 1 pictures without a data: URL, images has 0$/);
  refused(words, [new Blob(['a'])], /^the messages have 0 pictures without a data: URL, images has 1$/);
});

test('the time is that of the page', () => {
  assert.deepEqual(localTime(new Date(2026, 10, 30, 22, 6, 33)), [2026, 11, 30, 22, 6, 33]);
  assert.throws(() => localTime(new Date(NaN)), PromptError);
});
