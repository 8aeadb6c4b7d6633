// y = x in f16, two elements in a word, to be read by unpack2x16float on adapters without shader-f16.
// WGSL leaves open which of its two neighbours pack2x16float takes for a number, and what it makes of one beyond the
// largest. So the mantissa is rounded before, to the nearest and ties to even as IEEE 754 has it, and what is too large
// becomes the largest; below 2^-14, where f16 has fewer digits, either neighbour is less than 2^-24 away.
// One thread for a word. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,    // elements of x
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // [count]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;     // [count / 2], rounded up

const LARGEST = 65504.0;

fn rounded(value: f32) -> f32 {
    let bits = bitcast<u32>(clamp(value, -LARGEST, LARGEST));
    return clamp(bitcast<f32>((bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u), -LARGEST, LARGEST);
}

@compute @workgroup_size(128)
fn to_f16(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if 2u * i >= params.count {
        return;
    }
    var second = 0.0;
    if 2u * i + 1u < params.count {
        second = x[2u * i + 1u];
    }
    y[i] = pack2x16float(vec2f(rounded(x[2u * i]), rounded(second)));
}
