// Product of ROWS (1 to 4) rows with a weight matrix: y = residual + activate(x w^T + bias), straight from memory.
// Each thread computes one column, so that nothing passes between threads but the input, which a lane can load for all.
// Every accumulator adds sums of eight products, in f32.
// Dispatch: (columns / ACROSS rounded up, 1, 1); workgroups above 65535 continue in y.

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

override ROWS: u32 = 1u;
override ACROSS: u32 = 8u;

// A block's products with one row.
fn products(w: array<mat2x4f, 4>, x: array<vec4f, 8>) -> vec4f {
    return (w[0][0] * x[0] + w[0][1] * x[1] + w[1][0] * x[2] + w[1][1] * x[3])
        + (w[2][0] * x[4] + w[2][1] * x[5] + w[3][0] * x[6] + w[3][1] * x[7]);
}

fn total(sum: vec4f) -> f32 {
    return (sum.x + sum.y) + (sum.z + sum.w);
}

@compute @workgroup_size(ACROSS)
fn matvec_direct(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let column = ACROSS * (group.x + group.y * groups.x) + thread;
    let lane = own_lane();
    let blocks = (params.k + 31u) / 32u;
    let start = blocks * (params.skipped + min(column, params.columns - 1u));
    let k = params.k;
    var sum_0 = vec4f();
    var sum_1 = vec4f();
    var sum_2 = vec4f();
    var sum_3 = vec4f();

    for (var block = 0u; block < blocks; block++) {
        let scale = weight_scale(start + block);
        let octet = 4u * (start + block);
        let w = array<mat2x4f, 4>(
            weight8(octet, scale),
            weight8(octet + 1u, scale),
            weight8(octet + 2u, scale),
            weight8(octet + 3u, scale),
        );
        sum_0 += products(w, block8(input_start(0u, k), block, k, lane));
        if ROWS > 1u {
            sum_1 += products(w, block8(input_start(1u, k), block, k, lane));
        }
        if ROWS > 2u {
            sum_2 += products(w, block8(input_start(2u, k), block, k, lane));
        }
        if ROWS > 3u {
            sum_3 += products(w, block8(input_start(3u, k), block, k, lane));
        }
    }

    if column < params.columns {
        let sums = vec4f(total(sum_0), total(sum_1), total(sum_2), total(sum_3));
        for (var row = 0u; row < ROWS; row++) {
            finish(row, params.first_column + column, params.width, params.first_bias, sums[row]);
        }
    }
}
