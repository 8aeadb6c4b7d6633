//! Files that are handed over as pictures: each is named, for what it is.

#![allow(missing_docs)]

mod common;

use std::{fs, path::PathBuf};

use common::{Scratch, assert_fails, fovea};

const INPUT: i32 = 3;

fn picture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/pictures").join(name)
}

#[test]
fn what_is_no_picture_is_named_for_what_it_is() {
    let files = Scratch::new();
    let cases: [(&str, &[u8], &[&str]); 9] = [
        ("empty.png", b"", &["empty file"]),
        ("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", &["HEIC", "save it as PNG"]),
        ("photo.jpg", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", &["AVIF", "save it as PNG"]),
        ("logo.svg", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", &["SVG", "render it as PNG"]),
        ("page.pdf", b"%PDF-1.7\n%", &["PDF", "pdftoppm"]),
        ("scan.tif", b"II*\0\x08\0\0\0", &["TIFF", "save it as PNG"]),
        ("shot.png", b"<!DOCTYPE html><title>Not found</title>", &["HTML", "screenshot"]),
        ("lfs.png", b"version https://git-lfs.github.com/spec/v1\n", &["Git LFS", "git lfs pull"]),
        ("url.txt", b"data:image/png;base64,iVBORw0KGgo=", &["data: URL", "base64"]),
    ];
    for (name, bytes, said) in cases {
        let path = files.write(name, bytes);
        let output = fovea().arg("ground").arg(&path).arg("Click Sign in").output().unwrap();
        assert_fails(&output, INPUT, &[&[name], said].concat());
    }
    for (address, said) in
        [("data:image/png;base64,iVBORw0KGgo=", "data: URL"), ("https://example.com/a.png", "download")]
    {
        let output = fovea().args(["ground", address, "Click Sign in"]).output().unwrap();
        assert_fails(&output, INPUT, &[&address[..20], said]);
    }
}

#[test]
fn half_a_picture_is_an_error_with_its_name() {
    let output = fovea().arg("ground").arg(picture("cut_b.jpg")).arg("Click Sign in").output().unwrap();
    assert_fails(&output, INPUT, &["cut_b.jpg", "JPEG", "cut off"]);
    let files = Scratch::new();
    let whole = fs::read(picture("opaque.png")).unwrap();
    let cut = files.write("half.png", &whole[..whole.len() / 2]);
    // The bad one of several is the one that is named.
    let mut generate = fovea();
    generate.args(["generate", "What is this?", "--image"]).arg(picture("opaque.png")).arg("--image").arg(&cut);
    assert_fails(&generate.output().unwrap(), INPUT, &["half.png", "PNG", "cut off"]);
}
