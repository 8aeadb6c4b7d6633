//! Writes every kernel variant as WGSL for browsers into a folder, to be read or handed to another compiler:
//! `cargo run -p fovea-shaders --example variants -- FOLDER`, then for instance `tint FOLDER/gemm*.wgsl`.

use std::{error::Error, path::PathBuf};

use fovea_shaders::{Compiler, KERNELS};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("which folder?")?);
    std::fs::create_dir_all(&folder)?;
    for variant in KERNELS.iter().flat_map(|kernel| kernel.variants()) {
        let name = variant.label().replace(['[', ']', ' '], "-");
        std::fs::write(folder.join(format!("{}.wgsl", name.trim_end_matches('-'))), variant.source(Compiler::Browser))?;
    }
    Ok(())
}
