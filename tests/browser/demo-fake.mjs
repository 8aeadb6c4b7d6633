// Stands in for the package's `fovea/index.js` in tests of the demo page: plays states that are rare, or slow, in
// earnest. `globalThis.fake`, set before the page loads, says which:
//
//   info           what `fovea.info` says, in part
//   loads          for each `Fovea.load` in turn: { error, from, to, cache, hold }, shares of the bytes
//                  between which it goes
//   grounds        for each `ground` in turn: { error, reload, answer, hold }; `reload` is a
//                  load that comes before, as after a lost device
//
// An `error` is { code, message, …its fields }; `hold` waits there until the call is aborted, or, if it is 'offline',
// until the connection is gone, or, if it is 'go', until the test sets `globalThis.go`. `step` is the pause between reports in milliseconds, `cached` loads without network,
// `holdEncode` stays in the vision tower.

const fake = globalThis.fake ?? {};
const TOTAL = 10_100_000;
const STEP = fake.step ?? 5;

// Reading the log shows what the page asked for.
globalThis.calls = [];
const note = (name, value) => globalThis.calls.push({ name, ...value });

function failure({ code, message = code, ...fields }) {
  return Object.assign(new Error(message), { code, ...fields });
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
  });
}

const forever = (signal) => pause(2 ** 30, signal);

async function download({ from = 0, to = 1, cache = { kind: 'opfs' }, hold, error, retries = 0 }, signal, onProgress) {
  const progress = { phase: 'open', loaded: 0, total: 0, downloaded: 0, rate: 0, cache, retries };
  onProgress?.({ ...progress });
  for (let share = from; share <= to + 1e-9; share += 0.05) {
    await pause(STEP, signal);
    const loaded = Math.round(share * TOTAL);
    const downloaded = Math.round((share - from) * TOTAL);
    const rate = fake.cached ? 0 : 3_100_000;
    onProgress?.({
      ...progress,
      phase: 'download',
      loaded,
      total: TOTAL,
      downloaded: fake.cached ? 0 : downloaded,
      rate,
      ...(rate && { remaining: (TOTAL - loaded) / rate }),
    });
  }
  if (hold === 'offline') while (navigator.onLine) await pause(STEP, signal);
  else if (hold === 'go') while (!globalThis.go) await pause(STEP, signal);
  else if (hold) await forever(signal);
  if (error) throw failure(error);
  onProgress?.({ ...progress, phase: 'ready', loaded: TOTAL, total: TOTAL, downloaded: fake.cached ? 0 : TOTAL });
}

function heatAround(point, width, height) {
  const [columns, rows] = [Math.max(1, Math.round(width / 28)), Math.max(1, Math.round(height / 28))];
  const values = new Float32Array(columns * rows);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const [x, y] = [((column + 0.5) * width) / columns - point.x, ((row + 0.5) * height) / rows - point.y];
      const ripple = 0.02 * (1 + Math.sin(3 * column) * Math.cos(2 * row));
      values[row * columns + column] = Math.min(1, Math.exp(-(x * x + 3 * y * y) / (2 * 90 * 90)) + ripple);
    }
  }
  return { columns, rows, values };
}

export class Fovea {
  static async load({ onProgress, signal, ...options }) {
    note('load', options);
    await download(fake.loads?.shift() ?? {}, signal, onProgress);
    return new Fovea(options, onProgress);
  }

  static async stored() {
    return fake.cleared ? [] : [{ location: 'nano', bytes: TOTAL, stored: TOTAL }];
  }

  static async clear() {
    fake.cleared = true;
  }

  constructor({ quantisation, tier, model }, onProgress) {
    this.onProgress = onProgress;
    this.info = {
      architecture: 'qwen2_5_vl',
      parameters: model === 'nano' ? 5_030_000 : 3_750_000_000,
      quantisation,
      adapter: 'Test adapter',
      f16: tier.f16,
      subgroups: tier.subgroups,
      software: false,
      ...fake.info,
    };
  }

  async encodeImage(blob, { signal, onStage }) {
    const bitmap = await createImageBitmap(blob);
    const { width, height } = bitmap;
    bitmap.close();
    note('encode', { width, height });
    onStage({ stage: 'image', done: 1 });
    for (let done = 0; done <= 1.001; done += 0.1) {
      await pause(STEP, signal);
      onStage({ stage: 'encode', done });
      if (fake.holdEncode && done > 0.4) await forever(signal);
    }
    return { id: 1, width, height, tokens: 1334, release: () => note('release') };
  }

  async ground(image, instruction, { signal, onStage, onToken }) {
    note('ground', { instruction });
    const { error, reload, hold, answer } = fake.grounds?.shift() ?? {};
    if (reload) await download(reload === true ? {} : reload, signal, this.onProgress);
    for (let done = 0; done <= 1.001; done += 0.25) {
      onStage({ stage: 'prefill', done });
      await pause(STEP, signal);
    }
    const { width, height } = image;
    const box = answer?.box ?? {
      left: Math.round(0.7367 * width),
      top: Math.round(0.7125 * height),
      right: Math.round(0.9508 * width),
      bottom: Math.round(0.76125 * height),
    };
    const thousandths = [box.left / width, box.top / height, box.right / width, box.bottom / height]
      .map((part) => String(Math.round(1000 * part)).padStart(3, '0'))
      .join(',');
    const text = answer?.text ?? `Grounded Operation: CLICK(box=[[${thousandths}]])`;
    const pieces = text.match(/.{1,6}/gs) ?? [];
    for (const [index, piece] of pieces.entries()) {
      await pause(STEP, signal);
      onToken({ id: index, text: piece });
      if (hold && index > pieces.length / 2) await forever(signal);
    }
    if (error) throw failure(error);
    const point = { x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 };
    const placed = ['end', 'absent'].includes(answer?.action?.kind) ? {} : { box, point };
    return {
      action: { kind: 'click', ...answer?.action, ...placed },
      ...placed,
      text,
      heat: heatAround(point, width, height),
      timings: {
        image: 0,
        encode: 0,
        prefill: 812,
        decode: 640,
        total: 1452,
        imageTokens: 1334,
        promptTokens: 1391,
        answerTokens: 17,
      },
    };
  }

  async memory() {
    return { gpu: 48_200_000, weights: 3_400_000, kvCache: 5_600_000, wasm: 11_400_000, stored: 10_100_000 };
  }

  dispose() {
    note('dispose');
  }
}
