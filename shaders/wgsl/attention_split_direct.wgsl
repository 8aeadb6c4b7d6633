// Attention of one query, split over the keys, straight from memory: each workgroup takes one run of keys and one head
// of them, each thread one of the query heads that share it. As in attention.wgsl, a thread keeps its query and its
// result in registers, and all threads read the same keys at once; as in attention_split.wgsl, what is left is the
// unnormalised result with the maximum and the sum that attention_merge needs.
// How many keys there are is read on the GPU, so that a recorded step serves every position.
// Dispatch: (splits, key and value heads, query heads that share one / THREADS rounded up).

struct Params {
    heads: u32,
    group: u32,           // heads that share one key and value head
    head_dim: u32,
    splits: u32,
    query_start: u32,     // first column of the query
    key_stride: u32,      // columns of the caches
    length_at: u32,       // index of the length among `lengths`
    extra: u32,           // keys beyond the length
    capacity: u32,        // rows of the caches
    scale: f32,
    cap: f32,             // bound of the scores, if CAPPED
    window: u32,          // keys that the query sees, the last ones
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(5) var<storage, read> lengths: array<u32>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2f>;    // [heads, splits] maximum and sum

const LOWEST = -3.0e38;

override THREADS: u32 = 8u;

@compute @workgroup_size(THREADS)
fn attention_split_direct(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let width4 = (params.head_dim + 3u) / 4u;
    let member = THREADS * group.z + thread;
    let head = group.y * params.group + min(member, params.group - 1u);
    let lane = own_lane();
    let count = min(lengths[params.length_at] + params.extra, params.capacity);
    let first = max(count, params.window) - params.window;
    let run = 8u * ((count - first + 8u * params.splits - 1u) / (8u * params.splits));
    let begin = min(first + run * group.x, count);
    let end = min(begin + run, count);

    var query = array<vec4f, MOST4>();
    var sums = array<vec4f, MOST4>();
    for (var i = 0u; i < width4; i++) {
        query[i] = params.scale * query4(params.query_start + head * params.head_dim, i, params.head_dim);
        sums[i] = vec4f();
    }
    let start = group.y * params.head_dim;
    var largest = LOWEST;
    var total = 0.0;

    for (var key = begin; key < end; key += 8u) {
        let lines = lines_from(key, end - 1u, lane);
        var low = vec4f();
        var high = vec4f();
        for (var i = 0u; i < width4; i++) {
            let k = keys8(lines, start, params.key_stride, i, params.head_dim);
            low += query[i] * mat4x4f(k[0], k[1], k[2], k[3]);
            high += query[i] * mat4x4f(k[4], k[5], k[6], k[7]);
        }
        low = capped4(low, params.cap);
        high = capped4(high, params.cap);
        let number = key + vec4u(0u, 1u, 2u, 3u);
        low = select(vec4f(LOWEST), low, number < vec4u(end));
        high = select(vec4f(LOWEST), high, number + 4u < vec4u(end));
        let most = max(low, high);
        let grown = max(largest, max(max(most.x, most.y), max(most.z, most.w)));
        let shrink = exp(largest - grown);
        low = select(vec4f(), exp(low - grown), number < vec4u(end));
        high = select(vec4f(), exp(high - grown), number + 4u < vec4u(end));
        total = total * shrink + dot(low + high, vec4f(1.0));
        largest = grown;
        for (var i = 0u; i < width4; i++) {
            let v = values8(lines, start, params.key_stride, i, params.head_dim);
            sums[i] = sums[i] * shrink + mat4x4f(v[0], v[1], v[2], v[3]) * low + mat4x4f(v[4], v[5], v[6], v[7]) * high;
        }
    }

    if member < params.group {
        let at = head * params.splits + group.x;
        stats[at] = vec2f(largest, total);
        for (var i = 0u; i < width4; i++) {
            store4(at * params.head_dim, i, params.head_dim, sums[i]);
        }
    }
}
