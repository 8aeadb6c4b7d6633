// Attention of one query, split over the keys: each workgroup takes one head and every SPLITS-th run of THREADS keys,
// and leaves its unnormalised result with the maximum and the sum that attention_merge needs.
// How many keys there are is read on the GPU, so that a recorded step serves every position.
// Dispatch: (splits, heads, 1).

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
@group(0) @binding(1) var<storage, read> query: array<f32>;            // [1, columns]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;   // [heads, splits, head_dim]
@group(0) @binding(6) var<storage, read_write> stats: array<vec2f>;    // [heads, splits] maximum and sum

const LOWEST = -3.0e38;
const WIDEST = 256u;

var<workgroup> scaled: array<f32, WIDEST>;
var<workgroup> chances: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn attention_split(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let head = group.y;
    let width = params.head_dim;
    let count = min(lengths[params.length_at] + params.extra, params.capacity);
    let begin = max(count, params.window) - params.window;
    let start = head / params.group * width;

    for (var i = thread; i < width; i += THREADS) {
        scaled[i] = params.scale * query[params.query_start + head * width + i];
    }
    var sums = array<f32, WIDEST / 32u>();    // elements thread, thread + THREADS, ... of the result
    var largest = LOWEST;
    var total = 0.0;

    for (var first = begin + THREADS * group.x; first < count; first += THREADS * params.splits) {
        workgroupBarrier();
        let key = first + thread;
        let inside = key < count;
        var score = LOWEST;
        if inside {
            var sum = 0.0;
            for (var i = 0u; i < width; i++) {
                sum += scaled[i] * key1(key * params.key_stride + start + i);
            }
            score = capped(sum, params.cap);
        }
        let grown = max(largest, workgroup_max(score, thread));
        let chance = select(0.0, exp(score - grown), inside);
        let shrink = exp(largest - grown);
        total = total * shrink + workgroup_sum(chance, thread);
        largest = grown;
        chances[thread] = chance;
        workgroupBarrier();
        let here = min(THREADS, count - first);
        for (var i = thread; i < width; i += THREADS) {
            var sum = 0.0;
            for (var j = 0u; j < here; j++) {
                sum += chances[j] * value1((first + j) * params.key_stride + start + i);
            }
            sums[i / THREADS] = sums[i / THREADS] * shrink + sum;
        }
    }

    let at = head * params.splits + group.x;
    for (var i = thread; i < width; i += THREADS) {
        partials[at * width + i] = sums[i / THREADS];
    }
    if thread == 0u {
        stats[at] = vec2f(largest, total);
    }
}
