// What happens to the sum of a matrix product on its way into y: residual + activate(sum + bias).

override BIAS: bool = false;
override RESIDUAL: bool = false;

@group(0) @binding(4) var<storage, read> bias: array<f32>;            // [width] from first_bias on, if BIAS
@group(0) @binding(5) var<storage, read> residual: array<f32>;        // [rows, width], if RESIDUAL
@group(0) @binding(6) var<storage, read_write> y: array<f32>;         // [rows, width]

fn finish(row: u32, column: u32, width: u32, first_bias: u32, sum: f32) {
    let index = row * width + column;
    var value = sum;
    if BIAS {
        value += bias[first_bias + column];
    }
    value = activate(value);
    if RESIDUAL {
        value += residual[index];
    }
    y[index] = value;
}

