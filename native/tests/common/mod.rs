//! What the tests of the command line share: the program, the fixtures, adapters, directories of their own.

#![allow(dead_code, missing_docs, unused_imports)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// `fovea` with nothing inherited that would change what it does.
pub(crate) fn fovea() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fovea"));
    command.env_remove("FOVEA_MODEL").env_remove("WGPU_ADAPTER_NAME").env("NO_COLOR", "1");
    command
}

/// A file or folder of a fixture: `qwen2_vl/config.json`.
pub(crate) fn golden(name: &str) -> PathBuf {
    fovea_engine::testing::golden::path(name)
}

/// Names of the adapters to test.
pub(crate) fn adapters() -> Vec<String> {
    fovea_engine::testing::adapters()
}

/// A directory that goes away with its test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fovea-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A copy of a fixture's checkpoint, to be damaged.
pub(crate) fn checkpoint(name: &str) -> Scratch {
    let scratch = Scratch::new();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            scratch.write(path.file_name().unwrap().to_str().unwrap(), fs::read(&path).unwrap());
        }
    }
    scratch
}

/// Header and data of a safetensors file.
pub(crate) fn parts(path: &Path) -> (serde_json::Value, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), bytes[8 + length..].to_vec())
}

/// A safetensors file of a header and data, whatever they are.
pub(crate) fn join(header: &serde_json::Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// Checks how a run failed: its exit code, what its message names, and that nothing panicked.
#[track_caller]
pub(crate) fn assert_fails(output: &Output, code: i32, named: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for name in named {
        assert!(message.contains(name), "{name:?} is not in: {message}");
    }
}
