// The bound of scores and logits, if CAPPED: cap tanh(x / cap) (Bello et al., "Neural Combinatorial Optimization", 2016;
// "Gemma 2", 2024). tanh within 2e-7 of its value: below 0.625 an odd polynomial, a minimax fit of ours to 5e-9, where
// 1 - 2 / (exp(2 t) + 1) would cancel; beyond 10 it is 1. There is no tanh, which some drivers overflow.

override CAPPED: u32 = 0u;

fn capped(x: f32, cap: f32) -> f32 {
    if CAPPED == 0u {
        return x;
    }
    let t = min(abs(x / cap), 10.0);
    let s = t * t;
    let odd = t + t * s * (-0.33333284 + s * (0.13331491 + s * (-0.0537435 + s * (0.02065059 - s * 0.00571704))));
    let bounded = cap * select(1.0 - 2.0 / (exp(2.0 * t) + 1.0), odd, t < 0.625);
    return select(bounded, -bounded, x < 0.0);
}

fn capped4(x: vec4f, cap: f32) -> vec4f {
    return vec4f(capped(x.x, cap), capped(x.y, cap), capped(x.z, cap), capped(x.w, cap));
}
