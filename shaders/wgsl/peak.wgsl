// Multiply-adds without memory traffic: what the adapter can do at most.
// Eight independent chains of vec4 in each thread hide the latency of each other; 64 operations a round. The factors
// come from the parameters, so that no compiler folds them.
// One thread for each element of y. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,
    rounds: u32,
    factor: f32,    // below 1: the chains stay finite
    term: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;    // [count]

@compute @workgroup_size(128)
fn peak(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let factor = vec4f(params.factor);
    let term = vec4f(params.term);
    let start = vec4f(0.0, 0.1, 0.2, 0.3) + f32(i);
    var a = start;
    var b = start + 1.0;
    var c = start + 2.0;
    var d = start + 3.0;
    var e = start + 4.0;
    var f = start + 5.0;
    var g = start + 6.0;
    var h = start + 7.0;
    for (var round = 0u; round < params.rounds; round++) {
        a = fma(a, factor, term);
        b = fma(b, factor, term);
        c = fma(c, factor, term);
        d = fma(d, factor, term);
        e = fma(e, factor, term);
        f = fma(f, factor, term);
        g = fma(g, factor, term);
        h = fma(h, factor, term);
    }
    let sum = a + b + c + d + e + f + g + h;
    y[i] = sum.x + sum.y + sum.z + sum.w;
}
