//! Files of other kinds in a checkpoint's place.

/// Begins of files that are something else, in lower case, and what to do about each.
const STARTS: &[(&[u8], &str)] = &[
    (b"version https://git-lfs.github.com/spec/", LFS),
    (b"version https://hawser.github.com/spec/", LFS),
    (b"# xet version", "this is a Xet pointer, not the file itself: download the file"),
    (b"<!doctype", HTML),
    (b"<html", HTML),
    (b"<head", HTML),
    (b"<!--", HTML),
    (b"\xff\xfe", UTF16),
    (b"\xfe\xff", UTF16),
    (b"{\0", UTF16),
    (b"[\0", UTF16),
    (b"\0{", UTF16),
    (b"\0[", UTF16),
    (b"<?xml", "this is XML, the answer of a server that does not have the file: download it again"),
    (
        b"gguf",
        "this is a GGUF file, which is not read: use the original model, in safetensors; it is quantised on loading",
    ),
    (b"ggml", GGML),
    (b"lmgg", GGML),
    (b"pk\x03\x04", ZIP),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x1f\x8b", "this is compressed with gzip: unpack it"),
    (b"\x28\xb5\x2f\xfd", "this is compressed with zstd: unpack it"),
    (b"\x89hdf\r\n", "this is a Keras file (HDF5), which is not read: use weights in safetensors"),
    (b"{\"error\":", "this is a server's error message, not the file: download it again"),
    (b"entry not found", "this is a server's error message, not the file: download it again"),
];

const LFS: &str =
    "this is a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned, or download the file";
const HTML: &str =
    "this is a web page (HTML), not the file: download it again; a model that asks for consent needs a login";
const UTF16: &str = "this is text in UTF-16: save it in UTF-8";
const GGML: &str = "this is a GGML file, which is not read: use the original model, in safetensors";
const ZIP: &str = "this is a ZIP archive, as PyTorch files are, which is not read: unpack it, or convert weights to \
                   safetensors, with `save_pretrained` of transformers for example";
const PICKLE: &str = "this is a PyTorch file (pickle), which is not read: convert it to safetensors, \
                      with `save_pretrained` of transformers for example";

/// What a file is that begins so, and what to do, if it is known not to belong to a checkpoint.
pub fn foreign(start: &[u8]) -> Option<&'static str> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with));
    STARTS.iter().find(|(with, _)| begins(with)).map(|(_, what)| *what)
}
