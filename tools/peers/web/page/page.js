// The page of the comparison: Fovea's module and onnxruntime-web, each with a device of its own on the same adapter.
// `compare.mjs` drives it through `peers`.

import { withSubgroups } from '/fovea/subgroups.js';
import fovea, { Device } from '/fovea/wasm/fovea_web.js';
import * as ort from '/ort/ort.webgpu.min.mjs';

import { MICROSOFT, model } from './onnx.js';

/** Products in the graph that shares one run between them, each with an output of its own. */
const SHARED = 32;

/** Largest difference to sums in f64, relative to the largest of them. */
const TOLERANCE = 1e-4;

/** The test of a result reads its first rows. */
const CHECKED_ROWS = 2;

ort.env.wasm.wasmPaths = '/ort/';
ort.env.wasm.numThreads = 1;

/** Dispatches of the page so far, by whichever engine. */
let dispatches = 0;
for (const name of ['dispatchWorkgroups', 'dispatchWorkgroupsIndirect']) {
  const original = GPUComputePassEncoder.prototype[name];
  GPUComputePassEncoder.prototype[name] = function (...sizes) {
    dispatches += 1;
    return original.apply(this, sizes);
  };
}

await fovea({ module_or_path: '/fovea/wasm/fovea_web_bg.wasm' });
const ours = await withSubgroups((subgroups) => Device.open({}, subgroups));

const OPTIONS = {
  executionProviders: ['webgpu'],
  preferredOutputLocation: 'gpu-buffer',
  // Fails if any node is left to WebAssembly.
  extra: { session: { disable_cpu_ep_fallback: '1' } },
};

// onnxruntime-web makes its device, with the features and limits that it wants, for the first session.
const square = {
  nodes: [{ type: 'MatMul', inputs: ['x', 'x'], outputs: ['y'] }],
  inputs: [{ name: 'x', shape: [4, 4] }],
  outputs: [{ name: 'y', shape: [4, 4] }],
};
await ort.InferenceSession.create(model(square), OPTIONS);
const theirs = await ort.env.webgpu.device;

/** Numbers in -1 to 1, the same for the same seed. */
function random(count, seed) {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/**
 * The ways of computing `[rows, width] x [width, outputs]`.
 *
 * A product of one row is over before a run of a session has begun. So it also stands many times in one graph, as the
 * products of a model do.
 */
function products({ rows, width, outputs }) {
  const [x, w] = [random(rows * width, 1), random(width * outputs, 2)];
  const expected = Array.from({ length: Math.min(rows, CHECKED_ROWS) * outputs }, (_, at) => {
    const [row, column] = [Math.floor(at / outputs), at % outputs];
    let sum = 0;
    for (let i = 0; i < width; i += 1) sum += x[row * width + i] * w[i * outputs + column];
    return sum;
  });
  const graph = (count) => {
    const names = Array.from({ length: count }, (_, at) => `y${at}`);
    return {
      nodes: names.map((name) => ({ type: 'MatMul', inputs: ['x', 'w'], outputs: [name] })),
      inputs: [{ name: 'x', shape: [rows, width], values: x }],
      weights: [{ name: 'w', shape: [width, outputs], values: w }],
      outputs: names.map((name) => ({ name, shape: [rows, outputs] })),
    };
  };
  const ways = [{ name: 'MatMul', graph: graph(1), shared: 1 }];
  if (rows === 1) ways.push({ name: `${SHARED} MatMul in a graph`, graph: graph(SHARED), shared: SHARED });
  return { ours: (times) => ours.time_matmul(rows, width, outputs, times), ways, expected };
}

/** The ways of computing attention of `rows` queries to as many keys. */
function attentions({ rows, heads, head_dim: size }) {
  const all = heads * size;
  const scale = 1 / Math.sqrt(size);
  const [q, k, v] = [1, 2, 3].map((seed) => random(rows * all, seed));
  // [rows, heads, size] to [heads, rows, size], or to [heads, size, rows].
  const byHead = (values, place) => {
    const out = new Float32Array(values.length);
    for (let row = 0; row < rows; row += 1)
      for (let column = 0; column < all; column += 1)
        out[Math.floor(column / size) * rows * size + place(row, column % size)] = values[row * all + column];
    return out;
  };
  const result = attention({ q, k, v, rows, heads, size, scale });
  const shape = [1, rows, all];
  const contrib = {
    nodes: [
      {
        type: 'MultiHeadAttention',
        domain: MICROSOFT,
        inputs: ['q', 'k', 'v'],
        outputs: ['y'],
        ints: { num_heads: heads },
        floats: { scale },
      },
    ],
    inputs: [
      { name: 'q', shape, values: q },
      { name: 'k', shape, values: k },
      { name: 'v', shape, values: v },
    ],
    outputs: [{ name: 'y', shape }],
  };
  // Keys lie as the product wants them, and the queries are scaled: no node for either.
  const rowsFirst = (row, column) => row * size + column;
  const columnsFirst = (row, column) => column * rows + row;
  const plain = {
    nodes: [
      { type: 'MatMul', inputs: ['q', 'k'], outputs: ['scores'] },
      { type: 'Softmax', inputs: ['scores'], outputs: ['shares'], ints: { axis: 2 } },
      { type: 'MatMul', inputs: ['shares', 'v'], outputs: ['y'] },
    ],
    inputs: [
      { name: 'q', shape: [heads, rows, size], values: byHead(q, rowsFirst).map((it) => it * scale) },
      { name: 'k', shape: [heads, size, rows], values: byHead(k, columnsFirst) },
      { name: 'v', shape: [heads, rows, size], values: byHead(v, rowsFirst) },
    ],
    outputs: [{ name: 'y', shape: [heads, rows, size] }],
  };
  return {
    ours: (times) => ours.time_attention(rows, heads, size, times),
    ways: [
      { name: 'MultiHeadAttention', graph: contrib, shared: 1 },
      // Its first rows are those of the first head.
      { name: 'MatMul, Softmax, MatMul', graph: plain, shared: 1, expected: result.ofFirstHead },
    ],
    expected: result.rows,
  };
}

/** Attention of the first queries, in f64: their rows, and the part of the first head. */
function attention({ q, k, v, rows, heads, size, scale }) {
  const all = heads * size;
  const out = [];
  for (let query = 0; query < CHECKED_ROWS; query += 1)
    for (let head = 0; head < heads; head += 1) {
      const at = (row) => row * all + head * size;
      const weights = Array.from({ length: rows }, (_, key) => {
        let score = 0;
        for (let i = 0; i < size; i += 1) score += q[at(query) + i] * k[at(key) + i];
        return Math.exp(score * scale);
      });
      const total = weights.reduce((sum, it) => sum + it, 0);
      for (let i = 0; i < size; i += 1)
        out.push(weights.reduce((sum, it, key) => sum + it * v[at(key) + i], 0) / total);
    }
  return { rows: out, ofFirstHead: out.filter((_, at) => at % all < size) };
}

/** A session with its inputs and outputs on the GPU; `wrong` is how far off its result is, if it is. */
async function session({ name, graph, shared, expected }) {
  const created = await ort.InferenceSession.create(model(graph), {
    ...OPTIONS,
    // Equal nodes stay apart.
    graphOptimizationLevel: shared > 1 ? 'disabled' : 'all',
  });
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const tensors = (values) =>
    Object.fromEntries(
      values.map(({ name, shape, values }) => {
        const size = 4 * shape.reduce((product, it) => product * it, 1);
        const buffer = theirs.createBuffer({ size: 16 * Math.ceil(size / 16), usage });
        if (values) theirs.queue.writeBuffer(buffer, 0, values);
        return [name, ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: shape })];
      }),
    );
  const [inputs, outputs] = [tensors(graph.inputs), tensors(graph.outputs)];
  const run = () => created.run(inputs, outputs);

  dispatches = 0;
  const answers = Object.values(await run());
  const ran = dispatches;
  if (ran < graph.nodes.length) throw new Error(`${name}: ${ran} dispatches of ${graph.nodes.length} nodes`);
  if (answers.some((it) => it.location !== 'gpu-buffer')) throw new Error(`${name}: results outside the GPU`);
  const errors = [];
  for (const { gpuBuffer } of answers) errors.push(await difference(gpuBuffer, expected));
  // Written so that a NaN is wrong.
  const wrong = errors.find((it) => !(it <= TOLERANCE));

  return {
    name,
    dispatches: ran / shared,
    wrong,
    async time(times) {
      const runs = Math.ceil(times / shared);
      const start = performance.now();
      for (let i = 0; i < runs; i += 1) await run();
      await theirs.queue.onSubmittedWorkDone();
      return (performance.now() - start) / (runs * shared);
    },
    async end() {
      for (const it of [...Object.values(inputs), ...Object.values(outputs)]) it.gpuBuffer.destroy();
      await created.release();
    },
  };
}

/** The largest difference between the begin of a buffer and what is expected there, relative to the largest of that. */
async function difference(buffer, expected) {
  const size = 4 * expected.length;
  const copy = theirs.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
  const encoder = theirs.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, copy, 0, size);
  theirs.queue.submit([encoder.finish()]);
  await copy.mapAsync(GPUMapMode.READ);
  const actual = new Float32Array(copy.getMappedRange());
  const largest = expected.reduce((most, it) => Math.max(most, Math.abs(it)), 0);
  const error = expected.reduce((most, it, at) => Math.max(most, Math.abs(it - actual[at])), 0) / largest;
  copy.destroy();
  return error;
}

/** The ways of the case that is being measured: ours, theirs, and ours again. */
let ways = [];

globalThis.peers = {
  /** Gets a case ready; says of its ways their names and, of onnxruntime's, dispatches and whether it is wrong. */
  async prepare(shape) {
    for (const { end } of ways) await end?.();
    const work = 'outputs' in shape ? products(shape) : attentions(shape);
    const sessions = [];
    for (const way of work.ways) sessions.push(await session({ expected: work.expected, ...way }));
    // Fovea's module runs once before it measures.
    const own = { time: work.ours, unmeasured: 1 };
    ways = [{ name: 'Fovea', ...own }, ...sessions, { name: 'Fovea again', ...own }];
    return ways.map(({ name, dispatches, wrong, unmeasured = 0 }) => ({ name, dispatches, wrong, unmeasured }));
  },
  /** Milliseconds of one product or attention by a way, the mean of `times`. */
  sample: (way, times) => ways[way].time(times),
  /** What both engines run on. */
  adapters: () => ({ ours: ours.capabilities(), theirs: describe(theirs.adapterInfo), features: [...theirs.features] }),
};

function describe({ vendor, architecture, device, description, isFallbackAdapter }) {
  return { vendor, architecture, device, description, isFallbackAdapter };
}
