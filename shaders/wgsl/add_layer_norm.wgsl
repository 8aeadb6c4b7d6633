// sum = x + residual, y = (sum - mean(sum)) / sqrt(var(sum) + eps) * scale + shift, over the last axis.
// Ba, Kiros, Hinton 2016. Two passes: no E[x^2] - E[x]^2 cancellation.
// One workgroup reduces one row. Dispatch: (rows, 1, 1); rows above 65535 continue in y.

struct Params {
    rows: u32,
    width: u32,      // elements of a row, any size
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [rows, width]
@group(0) @binding(2) var<storage, read> residual: array<f32>;       // [rows, width]
@group(0) @binding(3) var<storage, read> scale: array<f32>;          // [width]
@group(0) @binding(4) var<storage, read> shift: array<f32>;          // [width]
@group(0) @binding(5) var<storage, read_write> sum: array<f32>;      // [rows, width]
@group(0) @binding(6) var<storage, read_write> y: array<f32>;        // [rows, width]

@compute @workgroup_size(THREADS)
fn add_layer_norm(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.x + group.y * groups.x;
    let inside = row < params.rows;    // uniform: the whole workgroup agrees
    let start = row * params.width;

    var total = 0.0;
    if inside {
        for (var i = thread; i < params.width; i += THREADS) {
            let value = x[start + i] + residual[start + i];
            sum[start + i] = value;
            total += value;
        }
    }
    let mean = workgroup_sum(total, thread) / f32(params.width);

    // From here on each thread reads only those sums that it wrote itself.
    var squares = 0.0;
    if inside {
        for (var i = thread; i < params.width; i += THREADS) {
            let d = sum[start + i] - mean;
            squares += d * d;
        }
    }
    let inv_std = inverseSqrt(workgroup_sum(squares, thread) / f32(params.width) + params.eps);

    if inside {
        for (var i = thread; i < params.width; i += THREADS) {
            y[start + i] = (sum[start + i] - mean) * inv_std * scale[i] + shift[i];
        }
    }
}
