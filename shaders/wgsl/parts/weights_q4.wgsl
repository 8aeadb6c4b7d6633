// 4-bit weights: blocks of 32 along k, w = scale * q + minimum with q in 0..15 and f16 scale and minimum.
// Element 8j + i of a block lies in bits 4i..4i+3 of the block's word j.

@group(0) @binding(1) var<storage, read> weights: array<u32>;        // [rows, padded_k / 8], eight nibbles each
@group(0) @binding(2) var<storage, read> scales: array<u32>;         // [rows, padded_k / 32], (scale, minimum) f16

// The four weights of group `group`, counted through all rows.
fn weight4(group: u32) -> vec4f {
    let scale = unpack2x16float(scales[group / 8u]);
    let nibbles = (vec4u(weights[group / 2u] >> (16u * (group % 2u))) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u);
    return scale.x * vec4f(nibbles) + scale.y;
}

