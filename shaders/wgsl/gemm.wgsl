// Product of many rows with a weight matrix: y = residual + activate(x w^T + bias), straight from memory.
// Each thread keeps 8 rows by 8 columns in registers: on a processor that pretends to be a GPU, loads are what costs
// and workgroup memory is no faster than any other. Every accumulator adds sums of four products, in f32.
// Dispatch: (columns / (8 ACROSS), rows / (8 DOWN), 1), rounded up.

struct Params {
    rows: u32,
    k: u32,               // elements of a row of x, any number
    columns: u32,         // rows of the weights that are bound
    first_column: u32,    // where these lie in y
    width: u32,           // all columns of y
}

@group(0) @binding(0) var<uniform> params: Params;

override ACROSS: u32 = 8u;
override DOWN: u32 = 8u;

@compute @workgroup_size(ACROSS, DOWN)
fn gemm(@builtin(global_invocation_id) thread: vec3u) {
    let row = 8u * thread.y;
    let column = 8u * thread.x;
    let blocks = (params.k + 31u) / 32u;
    let last_row = params.rows - 1u;
    let last_column = params.columns - 1u;
    var sums: array<mat2x4f, 8>;

    for (var k4 = 0u; k4 < (params.k + 3u) / 4u; k4++) {
        let left = mat4x4f(
            weight4(8u * blocks * min(column, last_column) + k4),
            weight4(8u * blocks * min(column + 1u, last_column) + k4),
            weight4(8u * blocks * min(column + 2u, last_column) + k4),
            weight4(8u * blocks * min(column + 3u, last_column) + k4),
        );
        let right = mat4x4f(
            weight4(8u * blocks * min(column + 4u, last_column) + k4),
            weight4(8u * blocks * min(column + 5u, last_column) + k4),
            weight4(8u * blocks * min(column + 6u, last_column) + k4),
            weight4(8u * blocks * min(column + 7u, last_column) + k4),
        );
        for (var i = 0u; i < 8u; i++) {
            let x4 = input4(min(row + i, last_row), k4, params.k);
            sums[i] += mat2x4f(x4 * left, x4 * right);
        }
    }

    for (var i = 0u; i < 8u; i++) {
        for (var j = 0u; j < 8u; j++) {
            if row + i < params.rows && column + j < params.columns {
                finish(row + i, params.first_column + column + j, params.width, sums[i][j / 4u][j % 4u]);
            }
        }
    }
}
