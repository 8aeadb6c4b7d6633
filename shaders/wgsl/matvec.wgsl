// Product of at most ROWS (1 to 4) rows with a weight matrix: y = residual + activate(x w^T + bias).
// A workgroup computes four columns: its threads stride along k, eight elements at a time, and sum up at the end.
// Dispatch: (columns / 4 rounded up, 1, 1); workgroups above 65535 continue in y.

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

@compute @workgroup_size(THREADS)
fn matvec(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let column = 4u * (group.x + group.y * groups.x);
    let blocks = (params.k + 31u) / 32u;
    var sums = array<vec4f, 4>();

    for (var octet = thread; octet < (params.k + 7u) / 8u; octet += THREADS) {
        var first = mat4x4f();
        var second = mat4x4f();
        for (var i = 0u; i < 4u; i++) {
            let start = blocks * (params.skipped + min(column + i, params.columns - 1u));
            let w = weight8(4u * start + octet, weight_scale(start + octet / 4u));
            first[i] = w[0];
            second[i] = w[1];
        }
        for (var row = 0u; row < params.rows; row++) {
            let start = input_start(row, params.k);
            sums[row] += input4(start, 2u * octet, params.k) * first + input4(start, 2u * octet + 1u, params.k) * second;
        }
    }

    for (var row = 0u; row < params.rows; row++) {
        for (var i = 0u; i < 4u; i++) {
            let sum = workgroup_sum(sums[row][i], thread);
            if thread == 0u && column + i < params.columns {
                finish(row, params.first_column + column + i, params.width, params.first_bias, sum);
            }
        }
    }
}
