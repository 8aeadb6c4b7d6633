//! `fovea-web-bundle [--tests] MODULE.wasm FOLDER`: wasm-bindgen's work as a library, so that its version is the lock
//! file's. `--tests`: a module of tests, for Node (`web/js/scripts/bridge-tests.cjs`).

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let (flags, paths): (Vec<OsString>, Vec<OsString>) =
        std::env::args_os().skip(1).partition(|argument| argument == "--tests");
    let [module, folder] = &paths[..] else {
        eprintln!("usage: fovea-web-bundle [--tests] MODULE.wasm FOLDER");
        return ExitCode::from(2);
    };
    let (module, folder) = (PathBuf::from(module), PathBuf::from(folder));
    let mut bindgen = Bindgen::new();
    bindgen.input_path(&module).out_name("fovea_web").typescript(false);
    let made = if flags.is_empty() {
        bindgen.remove_name_section(true).remove_producers_section(true);
        bindgen.web(true)
    } else {
        // Tests are plain exports, reached through `__wasm`; the main function would run libtest.
        bindgen.export_wasm(true).emit_start(false);
        bindgen.nodejs(true)
    };
    match made.and_then(|bindgen| bindgen.generate(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error:#}", module.display());
            ExitCode::FAILURE
        }
    }
}
