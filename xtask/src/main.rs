//! Tasks of the Fovea workspace.
fn main() {}
