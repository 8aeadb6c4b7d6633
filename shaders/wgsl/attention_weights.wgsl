// Where one query looks: its attention weights, the mean over its heads.
// One workgroup goes through the heads; each thread has keys of its own, so that no two write the same weight. Scores
// are computed for the maximum, for the sum and for the weights anew, so that they need no memory.
// Dispatch: (1, 1, 1).

struct Params {
    heads: u32,
    group: u32,           // heads that share one key head
    head_dim: u32,
    first: u32,           // the first key that is seen
    keys: u32,            // the one behind the last
    query_start: u32,     // first column of the query
    key_stride: u32,      // columns of the keys
    scale: f32,
    cap: f32,             // bound of the scores, if CAPPED
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<f32>;            // [1, columns]
@group(0) @binding(2) var<storage, read> keys: array<f32>;             // [capacity, key heads * head_dim]
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;    // [keys], 0 for those before the first

const LOWEST = -3.0e38;

fn score(head: u32, key: u32) -> f32 {
    let at = params.query_start + head * params.head_dim;
    let start = key * params.key_stride + head / params.group * params.head_dim;
    var sum = 0.0;
    for (var i = 0u; i < params.head_dim; i++) {
        sum += query[at + i] * keys[start + i];
    }
    return capped(sum * params.scale, params.cap);
}

@compute @workgroup_size(THREADS)
fn attention_weights(@builtin(local_invocation_index) thread: u32) {
    for (var key = thread; key < params.first; key += THREADS) {
        weights[key] = 0.0;
    }
    for (var key = params.first + thread; key < params.keys; key += THREADS) {
        weights[key] = 0.0;
    }
    for (var head = 0u; head < params.heads; head++) {
        var own = LOWEST;
        for (var key = params.first + thread; key < params.keys; key += THREADS) {
            own = max(own, score(head, key));
        }
        let largest = workgroup_max(own, thread);
        var sum = 0.0;
        for (var key = params.first + thread; key < params.keys; key += THREADS) {
            sum += exp(score(head, key) - largest);
        }
        let share = 1.0 / (workgroup_sum(sum, thread) * f32(params.heads));
        for (var key = params.first + thread; key < params.keys; key += THREADS) {
            weights[key] += exp(score(head, key) - largest) * share;
        }
    }
}
