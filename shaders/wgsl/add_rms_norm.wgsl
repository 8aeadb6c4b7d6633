// sum = x + residual, y = sum / sqrt(mean(sum^2) + eps) * scale, over the last axis.
// Zhang, Sennrich 2019. f32 throughout.
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
@group(0) @binding(4) var<storage, read_write> sum: array<f32>;      // [rows, width]
@group(0) @binding(5) var<storage, read_write> y: array<f32>;        // [rows, width]

@compute @workgroup_size(THREADS)
fn add_rms_norm(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.x + group.y * groups.x;
    let inside = row < params.rows;    // uniform: the whole workgroup agrees
    let start = row * params.width;

    var squares = 0.0;
    if inside {
        for (var i = thread; i < params.width; i += THREADS) {
            let value = x[start + i] + residual[start + i];
            sum[start + i] = value;
            squares += value * value;
        }
    }
    let inv_rms = inverseSqrt(workgroup_sum(squares, thread) / f32(params.width) + params.eps);

    // Each thread reads only those sums that it wrote itself.
    if inside {
        for (var i = thread; i < params.width; i += THREADS) {
            y[start + i] = sum[start + i] * inv_rms * scale[i];
        }
    }
}
