// Attention: softmax(capped(scale q k^T)) v for each head, over the keys that a query sees.
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
    past: u32,            // keys before the first query's own, if CAUSAL; keys that all queries see, if TREE
    scale: f32,
    cap: f32,             // bound of the scores, if CAPPED
    window: u32,          // keys that a query sees at most, its own the last, if CAUSAL
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(5) var<storage, read> ranges: array<vec2u>;    // [query rows] start and end, if MASK is RANGES;
    // [query rows, 1 + (keys - past) / 64 rounded up] the first key, then a bit for each key behind `past`, the lowest
    // first, if TREE

const CAUSAL = 1u;
const RANGES = 2u;
const TREE = 3u;
const LOWEST = -3.0e38;

override MASK: u32 = 0u;
override THREADS: u32 = 64u;

// First key that a query sees, and the one after its last.
fn seen(row: u32) -> vec2u {
    switch MASK {
        case CAUSAL: {
            let end = params.past + row + 1u;
            return vec2u(max(end, params.window) - params.window, min(end, params.keys));
        }
        case RANGES: {
            return min(ranges[row], vec2u(params.keys));
        }
        case TREE: {
            return vec2u(ranges[row * tree_words()].x, params.keys);
        }
        default: {
            return vec2u(0u, params.keys);
        }
    }
}

// Pairs of words in a row of `ranges`, if TREE.
fn tree_words() -> u32 {
    return 1u + (params.keys - params.past + 63u) / 64u;
}

// Whether a query sees four keys from `key` on, of those that `seen` holds.
fn sees4(row: u32, key: u32) -> vec4<bool> {
    if MASK != TREE {
        return vec4<bool>(true);
    }
    return vec4<bool>(is_ancestor(row, key), is_ancestor(row, key + 1u), is_ancestor(row, key + 2u), is_ancestor(row, key + 3u));
}

fn is_ancestor(row: u32, key: u32) -> bool {
    if key < params.past || key >= params.keys {
        return key < params.past;
    }
    let bit = key - params.past;
    let words = ranges[row * tree_words() + 1u + bit / 64u];
    return ((select(words.x, words.y, (bit & 32u) != 0u) >> (bit & 31u)) & 1u) == 1u;
}

@compute @workgroup_size(THREADS)
fn attention(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let width4 = (params.head_dim + 3u) / 4u;
    let first_row = THREADS * group.x;
    let last_row = min(first_row + THREADS, params.rows) - 1u;
    let row = min(first_row + thread, last_row);
    let head = group.y;
    let lane = own_lane();

    var all = seen(first_row);
    if MASK == CAUSAL {
        all.y = seen(last_row).y;
    }
    if MASK == RANGES || MASK == TREE {
        for (var other = first_row + 1u; other <= last_row; other++) {
            let range = seen(other);
            all = select(vec2u(min(all.x, range.x), max(all.y, range.y)), all, range.x >= range.y);
        }
    }
    let own = seen(row);

    var query = array<vec4f, MOST4>();
    var sums = array<vec4f, MOST4>();
    for (var i = 0u; i < width4; i++) {
        query[i] = params.scale * query4(row * params.query_stride + params.query_start + head * params.head_dim, i, params.head_dim);
        sums[i] = vec4f();
    }
    let key_start = params.key_start + head / params.group * params.head_dim;
    let value_start = params.value_start + head / params.group * params.head_dim;
    var largest = LOWEST;
    var total = 0.0;

    for (var key = all.x; key < all.y; key += 8u) {
        let lines = lines_from(key, params.keys - 1u, lane);
        var low = vec4f();
        var high = vec4f();
        for (var i = 0u; i < width4; i++) {
            let k = keys8(lines, key_start, params.key_stride, i, params.head_dim);
            low += query[i] * mat4x4f(k[0], k[1], k[2], k[3]);
            high += query[i] * mat4x4f(k[4], k[5], k[6], k[7]);
        }
        low = capped4(low, params.cap);
        high = capped4(high, params.cap);
        let number = key + vec4u(0u, 1u, 2u, 3u);
        let low_inside = (number >= vec4u(own.x)) & (number < vec4u(own.y)) & sees4(row, key);
        let high_inside = (number + 4u >= vec4u(own.x)) & (number + 4u < vec4u(own.y)) & sees4(row, key + 4u);
        low = select(vec4f(LOWEST), low, low_inside);
        high = select(vec4f(LOWEST), high, high_inside);
        let most = max(low, high);
        let grown = max(largest, max(max(most.x, most.y), max(most.z, most.w)));
        let shrink = exp(largest - grown);
        low = select(vec4f(), exp(low - grown), low_inside);
        high = select(vec4f(), exp(high - grown), high_inside);
        total = total * shrink + dot(low + high, vec4f(1.0));
        largest = grown;
        for (var i = 0u; i < width4; i++) {
            let v = values8(lines, value_start, params.value_stride, i, params.head_dim);
            sums[i] = sums[i] * shrink + mat4x4f(v[0], v[1], v[2], v[3]) * low + mat4x4f(v[4], v[5], v[6], v[7]) * high;
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
