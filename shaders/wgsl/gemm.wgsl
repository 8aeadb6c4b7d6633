// Product of many rows with a weight matrix: y = residual + activate(x w^T + bias), straight from memory.
// Each thread keeps 16 rows by 4 columns in registers; a workgroup spans columns only, so that all its threads want the
// same rows, and one lane can load a row for all. On a processor that pretends to be a GPU loads are what costs,
// registers are free, and only what is written out is in registers.
// Every accumulator adds sums of four products, in f32.
// Dispatch: (columns / (4 ACROSS), rows / 16, 1), rounded up.

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

override ACROSS: u32 = 8u;

@compute @workgroup_size(ACROSS)
fn gemm(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let row = 16u * group.y;
    let column = 4u * (ACROSS * group.x + thread);
    let upper_rows = rows_from(row, params.rows - 1u, params.k);
    let lower_rows = rows_from(row + 8u, params.rows - 1u, params.k);
    let blocks = (params.k + 31u) / 32u;
    let starts = blocks * (params.skipped + min(column + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u)));

    var sum_0 = vec4f();
    var sum_1 = vec4f();
    var sum_2 = vec4f();
    var sum_3 = vec4f();
    var sum_4 = vec4f();
    var sum_5 = vec4f();
    var sum_6 = vec4f();
    var sum_7 = vec4f();
    var sum_8 = vec4f();
    var sum_9 = vec4f();
    var sum_a = vec4f();
    var sum_b = vec4f();
    var sum_c = vec4f();
    var sum_d = vec4f();
    var sum_e = vec4f();
    var sum_f = vec4f();

    let groups = 8u * starts;
    for (var block = 0u; block < blocks; block++) {
        let scale_0 = weight_scale(starts.x + block);
        let scale_1 = weight_scale(starts.y + block);
        let scale_2 = weight_scale(starts.z + block);
        let scale_3 = weight_scale(starts.w + block);
        let end = min(8u * block + 8u, (params.k + 3u) / 4u);
        for (var k4 = 8u * block; k4 < end; k4++) {
            let w = mat4x4f(
                scaled4(groups.x + k4, scale_0),
                scaled4(groups.y + k4, scale_1),
                scaled4(groups.z + k4, scale_2),
                scaled4(groups.w + k4, scale_3),
            );
            let upper = rows8(upper_rows, k4, params.k);
            sum_0 += upper[0] * w;
            sum_1 += upper[1] * w;
            sum_2 += upper[2] * w;
            sum_3 += upper[3] * w;
            sum_4 += upper[4] * w;
            sum_5 += upper[5] * w;
            sum_6 += upper[6] * w;
            sum_7 += upper[7] * w;
            let lower = rows8(lower_rows, k4, params.k);
            sum_8 += lower[0] * w;
            sum_9 += lower[1] * w;
            sum_a += lower[2] * w;
            sum_b += lower[3] * w;
            sum_c += lower[4] * w;
            sum_d += lower[5] * w;
            sum_e += lower[6] * w;
            sum_f += lower[7] * w;
        }
    }

    var sums = array<vec4f, 16>(
        sum_0, sum_1, sum_2, sum_3, sum_4, sum_5, sum_6, sum_7, sum_8, sum_9, sum_a, sum_b, sum_c, sum_d, sum_e, sum_f,
    );
    for (var i = 0u; i < min(16u, params.rows - row); i++) {
        for (var j = 0u; j < 4u; j++) {
            if column + j < params.columns {
                finish(row + i, params.first_column + column + j, params.width, params.first_bias, sums[i][j]);
            }
        }
    }
}
