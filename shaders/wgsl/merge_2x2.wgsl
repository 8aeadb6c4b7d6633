// Space to depth: y[(r, c)] = x[(2r, 2c)] | x[(2r, 2c + 1)] | x[(2r + 1, 2c)] | x[(2r + 1, 2c + 1)], or the same numbers
// with the four of each channel side by side, as the kernel of a convolution has them.
// One thread for each element. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,       // elements of x and y
    grid_w: u32,      // tokens of a row of x
    width: u32,       // of a token of x
    by_channel: u32,  // whether the four of each channel stand together
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [grid_h * grid_w, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [grid_h / 2 * grid_w / 2, 4 * width]

@compute @workgroup_size(128)
fn merge_2x2(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let token = i / (4u * params.width);
    let within = i % (4u * params.width);
    let corner = select(within / params.width, within % 4u, params.by_channel != 0u);
    let channel = select(within % params.width, within / 4u, params.by_channel != 0u);
    let half_w = params.grid_w / 2u;
    let from_y = 2u * (token / half_w) + corner / 2u;
    let from_x = 2u * (token % half_w) + corner % 2u;
    y[i] = x[(from_y * params.grid_w + from_x) * params.width + channel];
}
