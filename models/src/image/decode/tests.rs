//! Pictures as people have them.

use std::fs;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use proptest::prelude::*;

use super::*;
use crate::image::testing::fnv;

/// Small pictures of `tests/cases/pictures`.
fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/cases/pictures/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn open(name: &str) -> Picture {
    Picture::decode(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn png(size: Size, colour: ExtendedColorType, samples: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    PngEncoder::new(&mut file).write_image(samples, size.width, size.height, colour).unwrap();
    file
}

/// Largest difference of a channel, and the mean one.
fn difference(a: &Picture, b: &Picture) -> (u8, f64) {
    assert_eq!(a.size(), b.size());
    let all = a.rgb().iter().zip(b.rgb()).map(|(a, b)| a.abs_diff(*b));
    let mean = all.clone().map(f64::from).sum::<f64>() / a.rgb().len() as f64;
    (all.max().unwrap_or(0), mean)
}

#[test]
fn pictures_are_turned_as_they_are_shown() {
    // The other file was compressed after it was turned: in blocks of other pixels, at the same quality.
    let (turned, upright) = (open("exif6.jpg"), open("upright.jpg"));
    let (most, mean) = difference(&turned, &upright);
    assert!(most <= 16 && mean < 0.5, "{most} {mean}");
    // What Pillow's `exif_transpose` makes of it.
    let turned = open("exif6.png");
    assert_eq!((turned.size(), fnv(turned.rgb())), (Size::new(84, 112), 0x6cc2_3a9f_b192_dfa1));
}

/// The same in every type of whole numbers that an entry may have, in either order of bytes.
fn exif_in_every_type(orientation: u8) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for kind in [1u16, 3, 4, 6, 8, 9] {
        let width = match kind {
            1 | 6 => 1,
            3 | 8 => 2,
            _ => 4,
        };
        let mut value = [0; 4];
        value[0] = orientation;
        let mut little = b"II*\0\x08\0\0\0\x02\0".to_vec();
        // Something else before it.
        little.extend(b"\x0f\x01\x02\0\x04\0\0\0abc\0");
        little.extend([0x12, 0x01]);
        little.extend(kind.to_le_bytes().iter().chain(&[1, 0, 0, 0]).chain(&value).chain(&[0; 4]));
        let mut value = [0; 4];
        value[width - 1] = orientation;
        let mut big = b"MM\0*\0\0\0\x08\0\x01\x01\x12".to_vec();
        big.extend(kind.to_be_bytes().iter().chain(&[0, 0, 0, 1]).chain(&value).chain(&[0; 4]));
        all.extend([little, big]);
    }
    all
}

#[test]
fn orientations_are_read_in_every_type() {
    for orientation in 1..=8 {
        let expected = Orientation::from_exif(orientation).unwrap();
        for tiff in exif_in_every_type(orientation) {
            assert_eq!(super::exif::orientation(&tiff), expected, "{tiff:?}");
            assert_eq!(super::exif::orientation(&[b"Exif\0\0", &tiff[..]].concat()), expected);
            for length in 0..tiff.len() - 4 {
                assert_eq!(super::exif::orientation(&tiff[..length]), Orientation::NoTransforms, "{length}");
            }
        }
    }
    // No whole number, several of them, and one that is none of the eight.
    for (kind, count, value) in [(2u8, 1u8, 6u8), (5, 1, 6), (11, 1, 6), (3, 2, 6), (4, 1, 9)] {
        let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01".to_vec();
        tiff.extend([kind, 0, count, 0, 0, 0, value, 0, 0, 0]);
        assert_eq!(super::exif::orientation(&tiff), Orientation::NoTransforms, "{kind}");
    }
}

/// The one reader of headers says the size that the picture has when it is decoded; of half a file too.
#[test]
fn sizes_are_read_from_headers() {
    let folder = format!("{}/../tests/cases/pictures", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let bytes = file(&name);
        let size = Picture::size_of(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Ok(picture) = Picture::decode(&bytes) {
            assert_eq!(picture.size(), size, "{name}");
            seen += 1;
        }
        if name.ends_with("png") {
            assert_eq!(Picture::size_of(&bytes[..bytes.len() / 2]), Ok(size), "{name}");
        }
    }
    assert!(seen > 15);
    assert!(matches!(Picture::size_of(b"<html>"), Err(ImageError::Format { .. })));
    assert_eq!(Picture::size_of(b"\x89PNG\r\n\x1a\n"), Err(ImageError::Cut { format: "PNG" }));
}

/// A big-endian TIFF header with one directory of one entry.
fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    tiff.extend([orientation, 0, 0, 0, 0, 0, 0]);
    tiff
}

/// With a chunk of `kind` before or after the pixels. Its checksum is left out of the checks, as it is ancillary.
fn with_png_chunk(file: &[u8], at: &[u8; 4], kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let place = file.windows(4).position(|window| window == at).unwrap() - 4;
    let mut chunk = (body.len() as u32).to_be_bytes().to_vec();
    chunk.extend(kind.iter().chain(body));
    chunk.extend(crc(&chunk[4..]).to_be_bytes());
    [&file[..place], &chunk, &file[place..]].concat()
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// All eight ways, in each format that has Exif data.
#[test]
fn every_orientation_is_applied() {
    // 3 x 2 pixels: a b c / d e f.
    let [a, b, c, d, e, f] = [[200, 0, 0], [0, 200, 0], [0, 0, 200], [9, 9, 9], [255, 255, 0], [0, 255, 255]];
    let stored = [a, b, c, d, e, f].concat();
    let size = Size::new(3, 2);
    let plain = png(size, ExtendedColorType::Rgb8, &stored);
    let mut webp = Vec::new();
    let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut webp);
    encoder.encode(&stored, 3, 2, ExtendedColorType::Rgb8).unwrap();
    let shown = [
        (1, [a, b, c, d, e, f]),
        (2, [c, b, a, f, e, d]),
        (3, [f, e, d, c, b, a]),
        (4, [d, e, f, a, b, c]),
        (5, [a, d, b, e, c, f]),
        (6, [d, a, e, b, f, c]),
        (7, [f, c, e, b, d, a]),
        (8, [c, f, b, e, a, d]),
        // No orientation: as it is stored.
        (0, [a, b, c, d, e, f]),
        (9, [a, b, c, d, e, f]),
    ];
    for (orientation, pixels) in shown {
        let upright = if (5..=8).contains(&orientation) { Size::new(2, 3) } else { size };
        let data = exif(orientation);
        let prefixed = [b"Exif\0\0", data.as_slice()].concat();
        let files = [
            with_png_chunk(&plain, b"IDAT", b"eXIf", &data),
            with_png_chunk(&plain, b"IEND", b"eXIf", &data),
            with_webp_exif(&webp, size, &data),
            with_webp_exif(&webp, size, &prefixed),
        ];
        for file in files {
            let picture = Picture::decode(&file).unwrap();
            assert_eq!((picture.size(), picture.rgb()), (upright, pixels.concat().as_slice()), "{orientation}");
            assert_eq!(Picture::size_of(&file).unwrap(), upright, "{orientation}");
        }
        // JPEG: the size alone, as its colours are not exact.
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut jpeg).encode(&stored, 3, 2, ExtendedColorType::Rgb8).unwrap();
        let mut segment = vec![0xff, 0xe1];
        segment.extend((2 + prefixed.len() as u16).to_be_bytes());
        segment.extend(&prefixed);
        let jpeg = [&jpeg[..2], &segment, &jpeg[2..]].concat();
        assert_eq!(Picture::decode(&jpeg).unwrap().size(), upright, "{orientation}");
        assert_eq!(Picture::size_of(&jpeg).unwrap(), upright, "{orientation}");
    }
}

/// The extended form of a simple WebP, with Exif data at its end.
fn with_webp_exif(simple: &[u8], size: Size, exif: &[u8]) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], body: &[u8]| {
        let mut chunk = [kind.as_slice(), &(body.len() as u32).to_le_bytes(), body].concat();
        chunk.resize(chunk.len().next_multiple_of(2), 0);
        chunk
    };
    let mut extended = vec![0x08, 0, 0, 0];
    extended.extend(&(size.width - 1).to_le_bytes()[..3]);
    extended.extend(&(size.height - 1).to_le_bytes()[..3]);
    let body = [b"WEBP".as_slice(), &chunk(b"VP8X", &extended), &simple[12..], &chunk(b"EXIF", exif)].concat();
    [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
}

#[test]
fn transparent_pages_are_white() {
    // What Pillow's `alpha_composite` on white makes of them.
    for (name, hash) in [
        ("palette_trns.png", 0xbbbe_a08e_e50e_a275),
        ("transparent.gif", 0x91e0_5588_7bf2_7c8e),
        ("trns_rgb.png", 0x6874_0d42_1064_41bd),
        ("black_on_transparent.png", 0x9298_3044_ce65_ca2d),
        ("small.png", 0x6253_8db9_197d_7fdb),
        ("interlaced.gif", 0x6253_8db9_197d_7fdb),
        ("animated.webp", 0x6253_8db9_197d_7fdb),
        ("opaque.png", 0xe1a3_96fe_934b_a2b6),
    ] {
        assert_eq!(fnv(open(name).rgb()), hash, "{name}");
    }
    // The page whose background was left out is the page: edges of letters are rounded in another order.
    let (most, mean) = difference(&open("omit_background.png"), &open("opaque.png"));
    assert!(most <= 5 && mean < 0.01, "{most} {mean}");
}

/// Lossy formats, as decoded here: the browser's module is held to the same hashes (`web/src/picture.rs`).
#[test]
fn lossy_pictures_are_the_same_everywhere() {
    for (name, hash) in [
        ("exif6.jpg", 0xc28f_f199_3f7d_afd6),
        ("progressive.jpg", 0x0eb1_899c_a26e_6fb3),
        ("lossy.webp", 0x701b_b336_10f2_8ec1),
    ] {
        assert_eq!(fnv(open(name).rgb()), hash, "{name}");
    }
}

#[test]
fn every_kind_of_alpha_is_composited() {
    let size = Size::new(2, 1);
    let rgba = png(size, ExtendedColorType::Rgba8, &[10, 20, 30, 0, 40, 50, 60, 255]);
    assert_eq!(Picture::decode(&rgba).unwrap().rgb(), [255, 255, 255, 40, 50, 60]);
    let grey = png(size, ExtendedColorType::La8, &[10, 0, 40, 128]);
    assert_eq!(Picture::decode(&grey).unwrap().rgb(), [255, 255, 255, 147, 147, 147]);
    let samples = [0x10ffu16, 0x20ff, 0x30ff, 0x00ff, 0x40ff, 0x50ff, 0x60ff, 0xff00].map(u16::to_ne_bytes).concat();
    let deep = png(size, ExtendedColorType::Rgba16, &samples);
    assert_eq!(Picture::decode(&deep).unwrap().rgb(), [255, 255, 255, 0x40, 0x50, 0x60]);
    // One grey that is transparent, of 8 and of 16 bits.
    let keyed = with_png_chunk(&png(size, ExtendedColorType::L8, &[7, 9]), b"IDAT", b"tRNS", &[0, 9]);
    assert_eq!(Picture::decode(&keyed).unwrap().rgb(), [7, 7, 7, 255, 255, 255]);
    let samples = [0x12ffu16, 0x4000].map(u16::to_ne_bytes).concat();
    let keyed = with_png_chunk(&png(size, ExtendedColorType::L16, &samples), b"IDAT", b"tRNS", &[0x40, 0]);
    assert_eq!(Picture::decode(&keyed).unwrap().rgb(), [0x12, 0x12, 0x12, 255, 255, 255]);
    let mut webp = Vec::new();
    let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut webp);
    encoder.encode(&[1, 2, 3, 0, 4, 5, 6, 255], 2, 1, ExtendedColorType::Rgba8).unwrap();
    assert_eq!(Picture::decode(&webp).unwrap().rgb(), [255, 255, 255, 4, 5, 6]);
    // Lossy colours, a gradient of alpha from top to bottom.
    let lossy = open("alpha_lossy.webp");
    assert!(lossy.rgb()[..3].iter().all(|&channel| channel >= 252), "{:?}", &lossy.rgb()[..3]);
}

/// A file of each format, in the ways that it stores pixels.
const KINDS: [&str; 10] = [
    "small.png",
    "progressive.jpg",
    "restarts.jpg",
    "subsampled.jpg",
    "cmyk.jpg",
    "grey.jpg",
    "lossy.webp",
    "alpha_lossy.webp",
    "transparent.gif",
    "interlaced.gif",
];

/// A file that ends early is refused, wherever it ends, or is whole.
#[test]
fn half_a_picture_is_an_error() {
    let error = Picture::decode(&file("cut_b.jpg")).unwrap_err();
    assert_eq!(error, ImageError::Cut { format: "JPEG" });
    let mut bmp = Vec::new();
    let small = open("small.png");
    image::codecs::bmp::BmpEncoder::new(&mut bmp).encode(small.rgb(), 120, 72, ExtendedColorType::Rgb8).unwrap();
    let mut files = vec![("BMP", bmp)];
    files.extend(["palette_trns.png", "trns_rgb.png"].into_iter().chain(KINDS).map(|name| (name, file(name))));
    for (name, bytes) in files {
        let whole = Picture::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let end: &[u8] = if name.ends_with("jpg") { &[0xff, 0xd9] } else { &[] };
        for length in (0..bytes.len()).filter(|at| at % 13 == 0 || bytes.len() - at < 40) {
            // Someone may have put an end to it again.
            for cut in [bytes[..length].to_vec(), [&bytes[..length], end].concat()] {
                match Picture::decode(&cut) {
                    // Only what stands after the pixels is missing.
                    Ok(picture) => assert!(picture == whole && bytes.len() - length <= 13, "{name}: {length}"),
                    Err(ImageError::Cut { .. } | ImageError::Decode(_) | ImageError::Format { .. }) => {}
                    Err(error) => panic!("{name}: {length}: {error}"),
                }
            }
        }
    }
}

/// A download that took its room on the disk and did not fill it: zeros, which decoders take for data, in place of the rest, or
/// of a part in the middle.
#[test]
fn zeros_in_place_of_data_are_no_picture() {
    let mut lossless = Vec::new();
    let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut lossless);
    encoder.encode(open("small.png").rgb(), 120, 72, ExtendedColorType::Rgb8).unwrap();
    let mut files = vec![("lossless.webp", lossless)];
    files.extend(KINDS.map(|name| (name, file(name))));
    for (name, bytes) in files {
        assert!(Picture::decode(&bytes).is_ok(), "{name}");
        for share in [2, 3, 4] {
            let mut zeros = bytes.clone();
            zeros[bytes.len() - bytes.len() / share..].fill(0);
            assert!(Picture::decode(&zeros).is_err(), "{name}: the last {share}th");
        }
        if name.ends_with("webp") {
            let mut zeros = bytes.clone();
            zeros[bytes.len() / 2..bytes.len() * 2 / 3].fill(0);
            assert!(Picture::decode(&zeros).is_err(), "{name}: the middle");
        }
    }
}

/// Half a file whose sizes say that it is whole: half its pixels are missing all the same.
#[test]
fn sizes_that_were_mended_hide_no_cut() {
    let check = |cut: &[u8], whole: &[u8], share: usize, name: &str| match share {
        // All of it, to see that the rest was put together rightly.
        10 => assert!(Picture::decode(cut).unwrap() == Picture::decode(whole).unwrap(), "{name}"),
        _ => assert!(Picture::decode(cut).is_err(), "{name}: {share}"),
    };
    let little = |value: usize| (value as u32).to_le_bytes();
    for name in ["small.png", "palette_trns.png"] {
        let bytes = file(name);
        let at = bytes.windows(4).position(|window| window == b"IDAT").unwrap();
        let length = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
        for share in [1, 2, 3, 5, 7, 9, 10] {
            let body = &bytes[at..at + 4 + length * share / 10];
            let size = (body.len() as u32 - 4).to_be_bytes();
            let cut = [&bytes[..at - 4], &size, body, &crc(body).to_be_bytes(), &container::PNG_END].concat();
            check(&cut, &bytes, share, name);
        }
    }
    // RIFF, its size, WEBP; VP8 or VP8L with its size.
    let mut lossless = Vec::new();
    let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut lossless);
    encoder.encode(open("small.png").rgb(), 120, 72, ExtendedColorType::Rgb8).unwrap();
    for (name, bytes) in [("lossy", file("lossy.webp")), ("lossless", lossless)] {
        for share in [1, 2, 3, 5, 7, 9, 10] {
            let body = &bytes[20..20 + (bytes.len() - 20) * share / 20 * 2];
            let riff = little(12 + body.len());
            let cut = [b"RIFF", &riff[..], &bytes[8..16], &little(body.len()), body].concat();
            check(&cut, &bytes, share, name);
        }
    }
    for name in ["transparent.gif", "interlaced.gif"] {
        let bytes = file(name);
        // The descriptor of the only frame, that has no colours of its own, then the width of the first codes.
        let at = bytes
            .windows(10)
            .position(|it| it == b"\x2c\0\0\0\0\x78\0\x48\0\0" || it == b"\x2c\0\0\0\0\x78\0\x48\0\x40");
        let at = at.unwrap() + 11;
        let (mut codes, mut block) = (Vec::new(), at);
        while bytes[block] != 0 {
            let end = block + 1 + usize::from(bytes[block]);
            codes.extend(&bytes[block + 1..end]);
            block = end;
        }
        for share in [1, 2, 3, 5, 7, 9, 10] {
            let kept = &codes[..codes.len() * share / 10];
            let blocks = kept.chunks(255).flat_map(|chunk| [&[chunk.len() as u8], chunk].concat());
            let cut: Vec<u8> = bytes[..at].iter().copied().chain(blocks).chain([0, 0x3b]).collect();
            check(&cut, &bytes, share, name);
        }
    }
}

#[test]
fn an_end_mark_may_be_missing() {
    for name in ["upright.jpg", "progressive.jpg", "restarts.jpg", "subsampled.jpg", "cmyk.jpg", "grey.jpg"] {
        let (bytes, whole) = (file(name), open(name));
        assert_eq!(bytes[bytes.len() - 2..], [0xff, 0xd9], "{name}");
        assert!(Picture::decode(&bytes[..bytes.len() - 2]).unwrap() == whole, "{name}");
        assert!(Picture::decode(&bytes[..bytes.len() - 1]).unwrap() == whole, "{name}");
        // What follows is nobody's business: other pictures in the same file, padding.
        assert!(Picture::decode(&[&bytes[..], &bytes[..999], &[0; 99]].concat()).unwrap() == whole, "{name}");
        // Nor are stray bytes between segments, such as after the first one.
        let first = 4 + usize::from(bytes[5]);
        assert!(Picture::decode(&[&bytes[..first], &[0; 9], &bytes[first..]].concat()).unwrap() == whole, "{name}");
    }
    let bytes = file("small.png");
    assert!(Picture::decode(&bytes[..bytes.len() - 12]).unwrap() == open("small.png"));
    assert!(Picture::decode(&[&bytes[..], b"more"].concat()).unwrap() == open("small.png"));
}

/// zune-jpeg and Pillow differ by roundings of the transform and of colours.
#[test]
fn jpegs_show_what_was_compressed() {
    let small = open("small.png");
    for (name, limit) in [("progressive.jpg", 6.0), ("restarts.jpg", 6.0), ("subsampled.jpg", 12.0), ("cmyk.jpg", 6.0)]
    {
        let (_, mean) = difference(&open(name), &small);
        assert!(mean < limit, "{name}: {mean}");
    }
}

#[test]
fn refuses_what_is_no_picture() {
    for bytes in [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff\xe0", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"GIF89a"] {
        assert!(matches!(Picture::decode(bytes), Err(ImageError::Cut { .. } | ImageError::Decode(_))), "{bytes:?}");
    }
    assert!(matches!(Picture::decode(b"hello"), Err(ImageError::Format { .. })));
}

#[test]
fn keeps_the_high_byte_of_16_bits() {
    let size = Size::new(2, 1);
    let samples: Vec<u8> = [0x12ffu16, 0xffff, 0x0080, 0x00ff, 0x8000, 0x7fff].map(u16::to_ne_bytes).concat();
    let file = png(size, ExtendedColorType::Rgb16, &samples);
    assert_eq!(Picture::decode(&file).unwrap().rgb(), [0x12, 0xff, 0, 0, 0x80, 0x7f]);
    let file = png(size, ExtendedColorType::La16, &[0x12ffu16, 0xff00, 0xffff, 0].map(u16::to_ne_bytes).concat());
    assert_eq!(Picture::decode(&file).unwrap().rgb(), [0x12, 0x12, 0x12, 0xff, 0xff, 0xff]);
    let file = png(size, ExtendedColorType::L8, &[7, 9]);
    assert_eq!(Picture::decode(&file).unwrap().rgb(), [7, 7, 7, 9, 9, 9]);
}

#[test]
fn refuses_bombs_before_taking_memory() {
    // A BMP header that promises 60000x60000 pixels, and nothing behind it.
    let mut bmp = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend(60_000u32.to_le_bytes());
    bmp.extend(60_000u32.to_le_bytes());
    bmp.extend([1, 0, 24, 0]);
    bmp.extend([0; 24]);
    let error = Picture::decode(&bmp).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { width: 60_000, .. }), "{error}");

    // Whatever a decoder for 32-bit machines would say about such a product.
    for (name, at, side) in [("small.png", 16, 1 << 30), ("upright.jpg", 0, 65_535)] {
        let mut bytes = file(name);
        if at > 0 {
            bytes[at..at + 8].copy_from_slice([u32::to_be_bytes(side); 2].as_flattened());
        } else {
            let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
            bytes[frame + 5..frame + 9].fill(0xff);
        }
        let error = Picture::decode(&bytes).unwrap_err();
        assert!(
            matches!(error, ImageError::TooLarge { width, height, .. } if (width, height) == (side, side)),
            "{error}"
        );
    }

    let file = png(Size::new(4, 3), ExtendedColorType::L8, &[0; 12]);
    assert!(Picture::decode_within(&file, 12).is_ok());
    let limit = 11;
    assert_eq!(Picture::decode_within(&file, limit).unwrap_err(), ImageError::TooLarge { width: 4, height: 3, limit });
}

proptest! {
    /// A damaged file is an error or a picture, never a panic.
    #[test]
    fn damaged_files_do_not_panic(which in 0usize..6, at in 0usize..4_000, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = file(["small.png", "palette_trns.png", "progressive.jpg", "subsampled.jpg", "alpha_lossy.webp", "transparent.gif"][which]);
        let at = at % bytes.len();
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        let _ = Picture::decode_within(&bytes, 1 << 20);
    }
}
