// Product of many rows with a weight matrix: y = residual + activate(x w^T + bias), through workgroup memory.
// A workgroup computes 64 rows by 64 columns; each of its 16 x 8 threads keeps 8 rows by 4 columns in registers. Both
// operands pass through workgroup memory in slices of 16 along k, transposed, so that a weight is unpacked once for 64
// rows. Every accumulator adds sums of sixteen products, in f32.
// Dispatch: (columns / 64, rows / 64, 1), rounded up.

struct Params {
    rows: u32,
    k: u32,               // elements of a row of x, any number
    columns: u32,         // rows of the weights that are taken
    skipped: u32,         // rows of the weights that are bound before them
    first_column: u32,    // where the columns lie in y
    width: u32,           // all columns of y
    first_bias: u32,      // where the biases of y begin
}

@group(0) @binding(0) var<uniform> params: Params;

// Of scalars, not vectors: WGSL lets a write to one component of a vector write all of them, so threads that write
// different components of one vector would race.
var<workgroup> inputs: array<array<f32, 64>, 16>;       // [k, row]
var<workgroup> outputs: array<array<f32, 64>, 16>;      // [k, column]: the weights

@compute @workgroup_size(16, 8)
fn gemm_tiled(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_id) local: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let first_row = 64u * group.y;
    let first_column = 64u * group.x;
    let groups = 8u * ((params.k + 31u) / 32u);    // of four weights, in a row
    var sums = array<vec4f, 8>();

    for (var start = 0u; start < params.k; start += 16u) {
        // Each thread fetches four elements of two rows of both operands.
        for (var half = 0u; half < 2u; half++) {
            let line = thread / 4u + 32u * half;
            let k4 = start / 4u + thread % 4u;
            let x4 = input4(input_start(min(first_row + line, params.rows - 1u), params.k), k4, params.k);
            let w4 = weight4(groups * (params.skipped + min(first_column + line, params.columns - 1u)) + k4);
            for (var i = 0u; i < 4u; i++) {
                inputs[4u * (thread % 4u) + i][line] = x4[i];
                outputs[4u * (thread % 4u) + i][line] = w4[i];
            }
        }
        workgroupBarrier();
        var slice = array<vec4f, 8>();
        for (var k = 0u; k < 16u; k++) {
            let r = 8u * local.y;
            let c = 4u * local.x;
            let upper = vec4f(inputs[k][r], inputs[k][r + 1u], inputs[k][r + 2u], inputs[k][r + 3u]);
            let lower = vec4f(inputs[k][r + 4u], inputs[k][r + 5u], inputs[k][r + 6u], inputs[k][r + 7u]);
            let w = vec4f(outputs[k][c], outputs[k][c + 1u], outputs[k][c + 2u], outputs[k][c + 3u]);
            slice[0] += upper.x * w;
            slice[1] += upper.y * w;
            slice[2] += upper.z * w;
            slice[3] += upper.w * w;
            slice[4] += lower.x * w;
            slice[5] += lower.y * w;
            slice[6] += lower.z * w;
            slice[7] += lower.w * w;
        }
        for (var i = 0u; i < 8u; i++) {
            sums[i] += slice[i];
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 8u; i++) {
        let row = first_row + 8u * local.y + i;
        for (var j = 0u; j < 4u; j++) {
            let column = first_column + 4u * local.x + j;
            if row < params.rows && column < params.columns {
                finish(row, params.first_column + column, params.width, params.first_bias, sums[i][j]);
            }
        }
    }
}
