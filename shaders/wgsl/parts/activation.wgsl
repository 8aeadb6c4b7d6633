// Activations of a single number, chosen when the pipeline is built: 0 none, 1 GELU (erf), 2 GELU (tanh), 3 GELU
// (quick), 4 SiLU, 5 ReLU. Hendrycks, Gimpel 2016; Elfwing et al. 2017; Nair, Hinton 2010.
// No exponent of exp exceeds 88, so that it never overflows, and there is no tanh, which some drivers overflow.

override ACTIVATION: u32 = 0u;

// x / (1 + exp(-z)). Where the exponent is cut, exp(-z) is 1.7e38 and the true result is below 1e-36 as well.
fn times_sigmoid(x: f32, z: f32) -> f32 {
    return x / (1.0 + exp(min(-z, 88.0)));
}

// The error function within 1e-7: an odd polynomial below 1, 1 - exp(polynomial) up to 4, beyond which it is 1.
// Both are minimax fits of ours, to 1e-9.
fn erf_f32(x: f32) -> f32 {
    let t = min(abs(x), 4.0);
    let s = t * t;
    let odd = t + t * (0.128379151 + s * (-0.376126051 + s * (0.112834305 + s * (-0.0268485919
        + s * (0.00517974934 + s * (-0.000794235617 + s * 7.64711731e-05))))));
    let log_rest = -0.000353717682 + t * (-1.12704003 + t * (-0.638225675 + t * (-0.10303738
        + t * (0.0218053218 + t * (-0.00293960841 + t * 0.000185574114)))));
    let value = select(1.0 - exp(log_rest), odd, t < 1.0);
    return select(value, -value, x < 0.0);
}

fn activate(x: f32) -> f32 {
    switch ACTIVATION {
        case 1u: {
            return 0.5 * x * (1.0 + erf_f32(0.70710678 * x));
        }
        case 2u: {
            // (1 + tanh(u)) / 2 = sigmoid(2u), with u = sqrt(2 / pi) (x + 0.044715 x^3); it is 0 or 1 beyond 16.
            let t = clamp(x, -16.0, 16.0);
            return times_sigmoid(x, 1.59576912 * t * (1.0 + 0.044715 * t * t));
        }
        case 3u: {
            return times_sigmoid(x, 1.702 * x);
        }
        case 4u: {
            return times_sigmoid(x, x);
        }
        case 5u: {
            return max(x, 0.0);
        }
        default: {
            return x;
        }
    }
}

