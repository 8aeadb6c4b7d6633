//! The Vulkan drivers that the tests run on.
//!
//! The loader merges the drivers of every manifest in `VK_DRIVER_FILES`, so one process sees them all:
//! Mesa's lavapipe (its device is called llvmpipe) and Chromium's SwiftShader, which has no 16-bit floats,
//! and beside them the machine's GPUs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::target_dir;

/// Parts of device names that must be among the adapters; a test run without them would prove too little. The tests run
/// on every other adapter as well, unless `FOVEA_TEST_ONLY` names some (`engine/src/testing.rs`).
const REQUIRED: &str = "llvmpipe,SwiftShader";

const MANIFESTS: &[&str] = &["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
const SWIFTSHADERS: &[&str] =
    &["/usr/lib/chromium", "/usr/lib64/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome"];

/// Lets `command` see the software adapters and the machine's own, and tells the tests which must be there.
pub(crate) fn with_test_adapters(command: &mut Command) -> Result<&mut Command, String> {
    if cfg!(any(target_os = "macos", windows)) {
        return Ok(command);
    }
    let manifests = manifests()?;
    let joined: OsString = std::env::join_paths(&manifests).map_err(|error| error.to_string())?;
    println!("VK_DRIVER_FILES={}", joined.to_string_lossy());
    println!("FOVEA_TEST_ADAPTERS={REQUIRED}");
    // Loaders before 1.3.207 know only the second name.
    command.env("VK_DRIVER_FILES", &joined).env("VK_ICD_FILENAMES", &joined);
    command.env("FOVEA_TEST_ADAPTERS", REQUIRED);
    Ok(command)
}

fn manifests() -> Result<Vec<PathBuf>, String> {
    let mut installed: Vec<PathBuf> = MANIFESTS
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    installed.sort();

    let (lavapipe, hardware): (Vec<_>, Vec<_>) = installed.into_iter().partition(|path| is_lavapipe(path));
    let lavapipe = lavapipe.into_iter().next().ok_or("no manifest of Mesa's lavapipe (lvp_icd*.json) is installed")?;
    let mut manifests = vec![lavapipe, swiftshader()?];
    if has_gpu() {
        manifests.extend(hardware);
    }
    Ok(manifests)
}

fn is_lavapipe(manifest: &Path) -> bool {
    manifest.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd"))
}

fn has_gpu() -> bool {
    let render_nodes = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    Path::new("/dev/nvidia0").exists()
        || render_nodes.into_iter().any(|node| node.file_name().to_string_lossy().starts_with("renderD"))
}

/// A manifest for SwiftShader: `FOVEA_SWIFTSHADER` names the library or its folder, else Chromium's is taken.
fn swiftshader() -> Result<PathBuf, String> {
    const LIBRARY: &str = "libvk_swiftshader.so";
    let library = match std::env::var_os("FOVEA_SWIFTSHADER").map(PathBuf::from) {
        Some(path) if path.is_dir() => path.join(LIBRARY),
        Some(path) => path,
        None => SWIFTSHADERS
            .iter()
            .map(|folder| Path::new(folder).join(LIBRARY))
            .find(|path| path.exists())
            .ok_or("no libvk_swiftshader.so is installed; Chromium ships one, or set FOVEA_SWIFTSHADER")?,
    };
    let manifest = serde_json::json!({
        "file_format_version": "1.0.0",
        "ICD": { "library_path": library, "api_version": "1.1.0" },
    });
    let path = target_dir().join("swiftshader_icd.json");
    fs::create_dir_all(target_dir())
        .and_then(|()| fs::write(&path, manifest.to_string()))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
