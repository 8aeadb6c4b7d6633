//! Sizes of what a browser downloads, as they are and compressed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::step::Outcome;

/// Bytes that the module may have before compression.
const LARGEST_MODULE: u64 = 15 << 19;

/// Prints the size of each file of a folder, an error if the module is too large.
pub(crate) fn print(folder: &Path) -> Outcome {
    println!("\n{:<24} {:>12} {:>12}", "file", "bytes", "gzip -9");
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files: Vec<_> = fs::read_dir(folder).map_err(failed)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "wasm" || end == "js")) {
        let bytes = fs::metadata(file).map_err(failed)?.len();
        let zipped = Command::new("gzip").args(["-9", "-c"]).arg(file).output().map_err(failed)?.stdout.len();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!("{name:<24} {bytes:>12} {zipped:>12}");
        if bytes > LARGEST_MODULE {
            return Err(format!("{name} has {bytes} bytes, at most {LARGEST_MODULE} are allowed"));
        }
    }
    Ok(())
}
