// Attention: softmax(scale q k^T) v for each head, over the keys that a query sees.
// One pass over the keys with a running maximum and sum (Milakov, Gimelshein 2018; Dao et al., FlashAttention, 2022):
// scores never reach memory, no exponent is above zero, and what a maximum left behind is rescaled when it grows.
// A thread owns one query of one head and keeps it and its result in registers. The threads of a workgroup walk through
// the keys together, over the union of what their queries see, so that all read the same key at once.
// Dispatch: (query rows / THREADS rounded up, heads, 1).

struct Params {
    rows: u32,            // queries
    heads: u32,
    group: u32,           // heads that share one key and value head
    head_dim: u32,
    keys: u32,
    query_start: u32,     // first column of the queries
    query_stride: u32,    // columns of the tensor they lie in
    key_start: u32,
    key_stride: u32,
    value_start: u32,
    value_stride: u32,
    past: u32,            // keys before the first query's own, if CAUSAL
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(5) var<storage, read> ranges: array<vec2u>;    // [query rows] start and end, if MASK is RANGES

const CAUSAL = 1u;
const RANGES = 2u;
const LOWEST = -3.0e38;

override MASK: u32 = 0u;
override THREADS: u32 = 64u;

// First key that a query sees, and the one after its last.
fn seen(row: u32) -> vec2u {
    switch MASK {
        case CAUSAL: {
            return vec2u(0u, min(params.past + row + 1u, params.keys));
        }
        case RANGES: {
            return min(ranges[row], vec2u(params.keys));
        }
        default: {
            return vec2u(0u, params.keys);
        }
    }
}

@compute @workgroup_size(THREADS)
fn attention(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let width4 = (params.head_dim + 3u) / 4u;
    let first_row = THREADS * group.x;
    let last_row = min(first_row + THREADS, params.rows) - 1u;
    let row = min(first_row + thread, last_row);
    let head = group.y;

    var all = seen(first_row);
    if MASK == CAUSAL {
        all = seen(last_row);
    }
    if MASK == RANGES {
        for (var other = first_row + 1u; other <= last_row; other++) {
            let range = seen(other);
            all = select(vec2u(min(all.x, range.x), max(all.y, range.y)), all, range.x >= range.y);
        }
    }
    let own = seen(row);

    var query: array<vec4f, MOST4>;
    var sums: array<vec4f, MOST4>;
    for (var i = 0u; i < width4; i++) {
        query[i] = params.scale * query4(row * params.query_stride + params.query_start + head * params.head_dim, i, params.head_dim);
        sums[i] = vec4f();
    }
    let key_start = params.key_start + head / params.group * params.head_dim;
    let value_start = params.value_start + head / params.group * params.head_dim;
    var largest = LOWEST;
    var total = 0.0;

    for (var key = all.x; key < all.y; key += 4u) {
        let four = vec4u(key, key + 1u, key + 2u, key + 3u);
        let key_at = key_start + min(four, vec4u(params.keys - 1u)) * params.key_stride;
        let value_at = value_start + min(four, vec4u(params.keys - 1u)) * params.value_stride;
        var scores = vec4f();
        for (var i = 0u; i < width4; i++) {
            scores += query[i] * mat4x4f(
                key4(key_at.x, i, params.head_dim),
                key4(key_at.y, i, params.head_dim),
                key4(key_at.z, i, params.head_dim),
                key4(key_at.w, i, params.head_dim),
            );
        }
        let inside = (four >= vec4u(own.x)) & (four < vec4u(own.y));
        scores = select(vec4f(LOWEST), scores, inside);
        let grown = max(largest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
        let shrink = exp(largest - grown);
        let chances = select(vec4f(), exp(scores - grown), inside);
        total = total * shrink + dot(chances, vec4f(1.0));
        largest = grown;
        for (var i = 0u; i < width4; i++) {
            sums[i] = sums[i] * shrink + mat4x4f(
                value4(value_at.x, i, params.head_dim),
                value4(value_at.y, i, params.head_dim),
                value4(value_at.z, i, params.head_dim),
                value4(value_at.w, i, params.head_dim),
            ) * chances;
        }
    }

    if first_row + thread <= last_row {
        let heads = params.heads;
        for (var i = 0u; i < width4; i++) {
            let value = select(vec4f(), sums[i] / total, total > 0.0);
            store4((row * heads + head) * params.head_dim, i, params.head_dim, value);
        }
    }
}
