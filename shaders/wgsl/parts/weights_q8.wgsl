// 8-bit weights: blocks of 32 along k, w = scale * q with q in -127..127 and an f16 scale.
// Quants and scales lie in planes of their own, so that every load is aligned.

@group(0) @binding(1) var<storage, read> weights: array<u32>;        // [rows, padded_k / 4], four i8 each
@group(0) @binding(2) var<storage, read> scales: array<u32>;         // [rows * padded_k / 32] f16, two each

// The four weights of group `group`, counted through all rows.
fn weight4(group: u32) -> vec4f {
    let block = group / 8u;
    let scale = unpack2x16float(scales[block / 2u])[block % 2u];
    return scale * vec4f(unpack4xI8(weights[group]));
}

