//! What a file is, by its first bytes.

use super::super::ImageError;

/// What can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Png,
    Jpeg,
    WebP,
    Gif,
    Bmp,
}

/// Signatures at the beginning of files that cannot be decoded: what it is, and what to do.
const SIGNATURES: &[(&[u8], &str, &str)] = &[
    (b"II*\0", "a TIFF picture", SAVE),
    (b"MM\0*", "a TIFF picture", SAVE),
    (b"II+\0", "a TIFF picture", SAVE),
    (b"MM\0+", "a TIFF picture", SAVE),
    (b"\xff\x0a", "a JPEG XL picture", SAVE),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture", SAVE),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", SAVE),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture", SAVE),
    (b"\x8bJNG\r\n\x1a\n", "a JNG picture", SAVE),
    (b"\x8aMNG\r\n\x1a\n", "an MNG animation", SAVE),
    (b"8BPS", "a Photoshop document", SAVE),
    (b"gimp xcf", "a GIMP picture", SAVE),
    (b"qoif", "a QOI picture", SAVE),
    (b"farbfeld", "a farbfeld picture", SAVE),
    (b"DDS ", "a DirectDraw surface", SAVE),
    (b"v/1\x01", "an OpenEXR picture", SAVE),
    (b"#?RADIANCE", "a Radiance picture", SAVE),
    (b"\0\0\x01\0", "an icon (ICO)", SAVE),
    (b"\0\0\x02\0", "a cursor (CUR)", SAVE),
    (b"wOFF", "a font", "give a picture"),
    (b"%!PS", "a PostScript document", "render its page as a PNG"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video", FRAME),
    (b"OggS", "an Ogg video or sound", FRAME),
    (b"PK\x03\x04", "a ZIP archive", "unpack it and give the picture inside"),
    (b"\x1f\x8b", "a gzip file", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it first"),
    (b"BZh", "a bzip2 file", "unpack it first"),
    (b"\xfd7zXZ\0", "an xz file", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it and give the picture inside"),
    (b"GGUF", "a GGUF model", "give a picture"),
    (b"\x7fELF", "a program", "give a picture"),
    (b"MZ", "a program", "give a picture"),
];

/// Beginnings of texts in small letters, after white space.
const TEXTS: &[(&str, &str, &str)] = &[
    ("version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it with `git lfs pull`"),
    ("data:", "a data: URL", "decode its base64 part and give the bytes"),
    ("http://", "an address", "download the picture and give the file"),
    ("https://", "an address", "download the picture and give the file"),
    ("file:", "an address", "give the path or the bytes of the file"),
    ("blob:", "an address", "give the Blob itself"),
    ("<!doctype html", "a web page (HTML)", PAGE),
    ("<html", "a web page (HTML)", PAGE),
    ("<head", "a web page (HTML)", PAGE),
    ("<body", "a web page (HTML)", PAGE),
    ("ivborw0kggo", "a PNG picture in base64", "decode the base64 first"),
    ("/9j/", "a JPEG picture in base64", "decode the base64 first"),
    ("uklgr", "a WebP picture in base64", "decode the base64 first"),
    ("r0lgod", "a GIF picture in base64", "decode the base64 first"),
    ("{", "JSON", "give a picture"),
    ("[", "JSON", "give a picture"),
];

const SAVE: &str = "save it as PNG";
const FRAME: &str = "give one of its frames as PNG";
const PAGE: &str = "give a screenshot of it; if this was meant to be a picture, the download failed";
const DRAWING: &str = "render it as PNG";

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
        }
    }

    /// # Errors
    /// [`ImageError::Format`] with what it is instead.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, ImageError> {
        let is = |what: &'static str, advice: &'static str| ImageError::Format { what, advice };
        match bytes {
            [] => return Err(is("an empty file", "download or copy it again")),
            [0x89, b'P', b'N', b'G', ..] => return Ok(Self::Png),
            [0xff, 0xd8, 0xff, ..] | [0xff, 0xd8] => return Ok(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, kind @ ..] => match kind {
                [b'W', b'E', b'B', b'P', ..] => return Ok(Self::WebP),
                [b'A', b'V', b'I', ..] => return Err(is("an AVI video", FRAME)),
                _ => {}
            },
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => return Ok(Self::Gif),
            [b'B', b'M', ..] if bytes.len() >= 14 => return Ok(Self::Bmp),
            [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace() => {
                return Err(is("a Netpbm picture (PBM, PGM, PPM or PAM)", SAVE));
            }
            [_, _, _, _, b'f', b't', b'y', b'p', brands @ ..] => return Err(media(brands)),
            _ => {}
        }
        let known = SIGNATURES.iter().find(|(signature, ..)| bytes.starts_with(signature));
        if let Some(&(_, what, advice)) = known {
            return Err(is(what, advice));
        }
        let beginning = bytes.get(..1024).unwrap_or(bytes);
        // Readers look for this anywhere near the beginning.
        if beginning.windows(5).any(|window| window == b"%PDF-") {
            return Err(is("a PDF document", "render its page as PNG, such as with `pdftoppm -png`"));
        }
        if bytes.iter().all(|&byte| byte == 0) {
            return Err(is("a file of nothing but zeros", "download or copy it again"));
        }
        let text = String::from_utf8_lossy(beginning).trim_start_matches('\u{feff}').trim_start().to_lowercase();
        if text.starts_with("<svg") || (text.starts_with("<?xml") || text.starts_with("<!")) && text.contains("<svg") {
            return Err(is("an SVG drawing", DRAWING));
        }
        if let Some(&(_, what, advice)) = TEXTS.iter().find(|(start, ..)| text.starts_with(start)) {
            return Err(is(what, advice));
        }
        if text.starts_with('<') {
            return Err(is("an HTML or XML document", PAGE));
        }
        Err(is("none of the picture formats that are known here", SAVE))
    }
}

/// Files of ISO's base media format, by the brands after `ftyp`: the major one, a version, and those it is compatible to.
fn media(brands: &[u8]) -> ImageError {
    let (all, _) = brands.get(..64).unwrap_or(brands).as_chunks::<4>();
    let has = |brand: &[u8; 4]| all.contains(brand);
    let (what, advice) = if has(b"avif") || has(b"avis") {
        ("an AVIF picture", SAVE)
    } else if [b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"].into_iter().any(has) {
        ("a HEIC picture", SAVE)
    } else if has(b"qt  ") {
        ("a QuickTime video", FRAME)
    } else {
        ("an MP4 video", FRAME)
    };
    ImageError::Format { what, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_for_what_they_are() {
        let cases: [(&[u8], &str); 25] = [
            (b"", "empty"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", "HEIC"),
            (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "AVIF"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "AVIF"),
            (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "MP4"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
            (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x -->\n<SVG/>", "SVG"),
            (b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x'><svg/>", "SVG"),
            (b"%PDF-1.7\n", "PDF"),
            (b"\n\n%PDF-1.7\n", "PDF"),
            (b"data:image/png;base64,iVBORw0KGgo=", "data: URL"),
            (b"iVBORw0KGgoAAAANSUhEUg==", "base64"),
            (b"/9j/4AAQSkZJRgABAQ==", "base64"),
            (b"https://example.com/a.png", "address"),
            (b"II*\0\x08\0\0\0", "TIFF"),
            (b"MM\0*\0\0\0\x08", "TIFF"),
            (b"  <!doctype html><title>404</title>", "HTML"),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
            (b"{\"error\": \"not found\"}", "JSON"),
            (b"P6 3 3 255 ", "Netpbm"),
            (b"RIFF\0\0\0\0AVI LIST", "AVI"),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "zeros"),
            (b"hello, world", "none of the picture formats"),
        ];
        for (bytes, name) in cases {
            let error = Kind::of(bytes).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(name), "{bytes:?}: {message}");
            assert!(matches!(error, ImageError::Format { advice, .. } if !advice.is_empty()), "{message}");
        }
    }
}
