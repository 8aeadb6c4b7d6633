// Puts the splits of attention_split together: each is rescaled to the largest maximum, then all are added.
// One thread computes one element of the result. Dispatch: (heads * head_dim / THREADS rounded up, 1, 1).

struct Params {
    heads: u32,
    head_dim: u32,
    splits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;         // [heads, splits, head_dim]
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;          // [heads, splits] maximum and sum
@group(0) @binding(3) var<storage, read_write> result: array<f32>;     // [heads, head_dim]

override THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn attention_merge(@builtin(global_invocation_id) thread: vec3u) {
    let width = params.head_dim;
    if thread.x >= params.heads * width {
        return;
    }
    let start = thread.x / width * params.splits;
    var largest = -3.0e38;
    for (var split = 0u; split < params.splits; split++) {
        largest = max(largest, stats[start + split].x);
    }
    var sum = 0.0;
    var total = 0.0;
    for (var split = 0u; split < params.splits; split++) {
        let weight = exp(stats[start + split].x - largest);
        sum += weight * partials[(start + split) * width + thread.x % width];
        total += weight * stats[start + split].y;
    }
    result[thread.x] = select(0.0, sum / total, total > 0.0);
}
