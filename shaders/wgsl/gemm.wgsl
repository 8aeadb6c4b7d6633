// Product of many rows with a weight matrix: y = residual + activate(x w^T + bias), straight from memory.
// Each thread keeps 16 rows by 4 columns in registers; a workgroup spans columns only, so that all its threads want the
// same rows, and one lane can load a row for all. On a processor that pretends to be a GPU loads are what costs,
// registers are free, and only what is written out is in registers.
// Every accumulator adds sums of four products, in f32.
// Dispatch: (columns / (4 ACROSS), rows / 16, 1), rounded up.

struct Params {
    rows: u32,
    k: u32,               // elements of a row of x, any number
    columns: u32,         // rows of the weights that are bound
    first_column: u32,    // where these lie in y
    width: u32,           // all columns of y
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
    let starts = blocks * min(column + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));

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

    for (var block = 0u; block < blocks; block++) {
        let scale_0 = weight_scale(starts.x + block);
        let scale_1 = weight_scale(starts.y + block);
        let scale_2 = weight_scale(starts.z + block);
        let scale_3 = weight_scale(starts.w + block);
        let end = min(4u * block + 4u, (params.k + 7u) / 8u);
        for (var octet = 4u * block; octet < end; octet++) {
            let w_0 = weight8(4u * starts.x + octet, scale_0);
            let w_1 = weight8(4u * starts.y + octet, scale_1);
            let w_2 = weight8(4u * starts.z + octet, scale_2);
            let w_3 = weight8(4u * starts.w + octet, scale_3);
            let first = mat4x4f(w_0[0], w_1[0], w_2[0], w_3[0]);
            let second = mat4x4f(w_0[1], w_1[1], w_2[1], w_3[1]);
            let upper_first = rows8(upper_rows, 2u * octet, params.k);
            sum_0 += upper_first[0] * first;
            sum_1 += upper_first[1] * first;
            sum_2 += upper_first[2] * first;
            sum_3 += upper_first[3] * first;
            sum_4 += upper_first[4] * first;
            sum_5 += upper_first[5] * first;
            sum_6 += upper_first[6] * first;
            sum_7 += upper_first[7] * first;
            let lower_first = rows8(lower_rows, 2u * octet, params.k);
            sum_8 += lower_first[0] * first;
            sum_9 += lower_first[1] * first;
            sum_a += lower_first[2] * first;
            sum_b += lower_first[3] * first;
            sum_c += lower_first[4] * first;
            sum_d += lower_first[5] * first;
            sum_e += lower_first[6] * first;
            sum_f += lower_first[7] * first;
            let upper_second = rows8(upper_rows, 2u * octet + 1u, params.k);
            sum_0 += upper_second[0] * second;
            sum_1 += upper_second[1] * second;
            sum_2 += upper_second[2] * second;
            sum_3 += upper_second[3] * second;
            sum_4 += upper_second[4] * second;
            sum_5 += upper_second[5] * second;
            sum_6 += upper_second[6] * second;
            sum_7 += upper_second[7] * second;
            let lower_second = rows8(lower_rows, 2u * octet + 1u, params.k);
            sum_8 += lower_second[0] * second;
            sum_9 += lower_second[1] * second;
            sum_a += lower_second[2] * second;
            sum_b += lower_second[3] * second;
            sum_c += lower_second[4] * second;
            sum_d += lower_second[5] * second;
            sum_e += lower_second[6] * second;
            sum_f += lower_second[7] * second;
        }
    }

    var sums = array<vec4f, 16>(
        sum_0, sum_1, sum_2, sum_3, sum_4, sum_5, sum_6, sum_7, sum_8, sum_9, sum_a, sum_b, sum_c, sum_d, sum_e, sum_f,
    );
    for (var i = 0u; i < min(16u, params.rows - row); i++) {
        for (var j = 0u; j < 4u; j++) {
            if column + j < params.columns {
                finish(row + i, params.first_column + column + j, params.width, sums[i][j]);
            }
        }
    }
}
