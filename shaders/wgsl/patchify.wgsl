// Patches of an RGB image: y[patch] = (channel, frame, y, x), the one frame repeated, normalised by a table.
// The table holds the normalised value of each byte of each channel, computed on the processor exactly as the reference
// does; patches come in blocks of merge x merge, as Qwen2-VL's processor orders them (merge 1: row by row).
// One thread for each element. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,       // elements of y
    width: u32,       // pixels of a row
    grid_w: u32,      // patches of a row
    side: u32,        // pixels of a side of a patch
    temporal: u32,    // how often the frame is repeated
    merge: u32,       // patches of a side of a block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<u32>;         // RGB rows without padding, four bytes a word
@group(0) @binding(2) var<storage, read> values: array<f32>;        // [3, 256]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [patches, 3, temporal, patch, patch]

@compute @workgroup_size(128)
fn patchify(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let area = params.side * params.side;
    let columns = 3u * params.temporal * area;
    let row = i / columns;
    let column = i % columns;

    let block = row / (params.merge * params.merge);
    let inner = row % (params.merge * params.merge);
    let blocks_w = params.grid_w / params.merge;
    let patch_y = (block / blocks_w) * params.merge + inner / params.merge;
    let patch_x = (block % blocks_w) * params.merge + inner % params.merge;

    let channel = column / (params.temporal * area);
    let pixel = column % area;
    let pixel_y = patch_y * params.side + pixel / params.side;
    let pixel_x = patch_x * params.side + pixel % params.side;
    let byte = (pixel_y * params.width + pixel_x) * 3u + channel;
    let value = (image[byte / 4u] >> (8u * (byte % 4u))) & 255u;
    y[i] = values[channel * 256u + value];
}
