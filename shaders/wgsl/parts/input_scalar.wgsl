// The input of a matrix product whose rows have any width.

@group(0) @binding(3) var<storage, read> input: array<f32>;    // [rows, k]

// Elements 4 * k4 .. 4 * k4 + 3 of a row that is `k` wide; zero beyond its end.
fn input4(row: u32, k4: u32, k: u32) -> vec4f {
    let start = row * k + 4u * k4;
    var value = vec4f();
    for (var i = 0u; i < 4u; i++) {
        if 4u * k4 + i < k {
            value[i] = input[start + i];
        }
    }
    return value;
}

