// Writes small ONNX models: the few messages and fields of onnx.proto that they need, in protobuf's wire format.

const FLOAT = 1;
const [ATTRIBUTE_FLOAT, ATTRIBUTE_INT] = [1, 2];
const [IR_VERSION, OPSET] = [8, 17];
/** What contrib operators such as `MultiHeadAttention` belong to. */
export const MICROSOFT = 'com.microsoft';

/**
 * A model's bytes.
 *
 * @typedef {{ name: string, shape: number[], values?: Float32Array }} Value f32; with `values` it is a weight
 * @typedef {{ type: string, domain?: string, inputs: string[], outputs: string[], ints?: object, floats?: object }}
 *   Node
 * @param {{ nodes: Node[], inputs: Value[], outputs: Value[], weights?: Value[] }} graph
 * @returns {Uint8Array}
 */
export function model({ nodes, inputs, outputs, weights = [] }) {
  const graph = [
    ...nodes.map((it) => bytes(1, node(it))),
    text(2, 'graph'),
    ...weights.map((it) => bytes(5, weight(it))),
    ...inputs.map((it) => bytes(11, value(it))),
    ...outputs.map((it) => bytes(12, value(it))),
  ];
  const opset = (domain, version) => bytes(8, [text(1, domain), number(2, version)]);
  return join([number(1, IR_VERSION), bytes(7, graph), opset('', OPSET), opset(MICROSOFT, 1)]);
}

function node({ type, inputs, outputs, domain = '', ints = {}, floats = {} }) {
  return [
    ...inputs.map((it) => text(1, it)),
    ...outputs.map((it) => text(2, it)),
    text(4, type),
    ...Object.entries(ints).map(([name, it]) => bytes(5, [text(1, name), number(3, it), number(20, ATTRIBUTE_INT)])),
    ...Object.entries(floats).map(([name, it]) => bytes(5, [text(1, name), float(2, it), number(20, ATTRIBUTE_FLOAT)])),
    text(7, domain),
  ];
}

function weight({ name, shape, values }) {
  const raw = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return [...shape.map((it) => number(1, it)), number(2, FLOAT), text(8, name), bytes(9, [raw])];
}

function value({ name, shape }) {
  const sizes = shape.map((it) => bytes(1, [number(1, it)]));
  return [text(1, name), bytes(2, [bytes(1, [number(1, FLOAT), bytes(2, sizes)])])];
}

// Fields: a key of number and wire type, then a varint, four bytes, or a length and as many bytes.

function number(field, value) {
  return join([varint(field << 3), varint(value)]);
}

function float(field, value) {
  return join([varint((field << 3) | 5), new Uint8Array(Float32Array.of(value).buffer)]);
}

function bytes(field, parts) {
  const content = join(parts);
  return join([varint((field << 3) | 2), varint(content.length), content]);
}

function text(field, value) {
  return bytes(field, [new TextEncoder().encode(value)]);
}

function varint(value) {
  const out = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return Uint8Array.of(...out, value);
}

function join(parts) {
  const all = new Uint8Array(parts.reduce((sum, it) => sum + it.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
