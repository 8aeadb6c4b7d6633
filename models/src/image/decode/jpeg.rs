//! JPEG, with all its rows or not at all.
//!
//! Decoders fill what is missing with grey and say nothing: JPEG ends where its data ends, and zeros are data too. So a
//! file is decoded twice, the second time with other bytes after its last scan: a decoder that needed them made another
//! picture. That costs the time of a second decoding, some milliseconds for a screenshot, and depends on no decoder's
//! opinion of what is an error.

use std::collections::BTreeMap;

use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::super::{ImageError, Size};
use super::kind::Kind;

const EOI: [u8; 2] = [0xff, 0xd9];

/// What is put after the last scan: the first bit is a one, where a decoder's own padding is zeros.
const OTHER: [u8; 8] = [0xa5, 0x3c, 0x96, 0x5a, 0xc3, 0x69, 0xb4, 0x4b];

/// Zeros at the end of a scan from which on they are suspected to stand for what is missing.
const ZEROS: usize = 32;

/// A file's segments.
pub(super) struct Jpeg<'a> {
    pub(super) size: Size,
    /// What stands in the first Exif segment: a TIFF header and its directories.
    pub(super) exif: Option<&'a [u8]>,
    /// The file up to the end of its last scan, without stray bytes between its segments.
    stream: Vec<u8>,
    /// Whether the end is marked as the end.
    ended: bool,
    /// Whether all bits of all coefficients have their scan.
    whole: bool,
}

impl<'a> Jpeg<'a> {
    /// Walks through the segments; nothing is decoded.
    ///
    /// # Errors
    /// [`ImageError::Cut`] if the file ends before the first scan or inside a segment, [`ImageError::Decode`].
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let cut = || ImageError::Cut { format: Kind::Jpeg.name() };
        let (mut frame, mut exif, mut ended) = (None, None, false);
        let mut scans = Scans::default();
        let mut stream = vec![0xff, 0xd8];
        let mut at = 2;
        // Some cameras write stray bytes before a marker.
        while let Some(skipped) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xff)) {
            at += skipped;
            let Some(fill) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte != 0xff)) else { break };
            at += fill;
            let Some(&marker) = bytes.get(at) else { break };
            at += 1;
            match marker {
                0xd9 => {
                    ended = true;
                    break;
                }
                // Stuffing, and markers that stand alone.
                0x00 | 0x01 | 0xd0..=0xd8 => continue,
                _ => {}
            }
            let &[high, low] = bytes.get(at..at + 2).ok_or_else(cut)? else { return Err(cut()) };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let segment = bytes.get(at..at + length).ok_or_else(cut)?;
            let body = segment.get(2..).ok_or_else(|| ImageError::Decode("a JPEG segment of no length".to_owned()))?;
            stream.extend([0xff, marker]);
            stream.extend(segment);
            at += length;
            match marker {
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                    let &[_, h0, h1, w0, w1, _, ref components @ ..] = body else { return Err(cut()) };
                    let side = |high, low| u32::from(u16::from_be_bytes([high, low]));
                    frame = Some(Size::new(side(w0, w1), side(h0, h1)));
                    scans.begin(marker == 0xc2, components);
                }
                0xe1 if exif.is_none() => exif = body.strip_prefix(b"Exif\0"),
                0xda => {
                    scans.add(body);
                    let data = scan_length(bytes.get(at..).unwrap_or_default());
                    stream.extend(bytes.get(at..at + data).unwrap_or_default());
                    at += data;
                }
                _ => {}
            }
        }
        let size = frame.filter(|_| scans.any).ok_or_else(cut)?;
        // After "Exif" come two zeros, of which writers have been seen to vary the second.
        let exif = exif.and_then(|exif| exif.get(1..));
        Ok(Self { size, exif, stream, ended, whole: scans.whole() })
    }

    /// `[height, width, 3]`.
    ///
    /// # Errors
    /// [`ImageError::Cut`] if rows or scans are missing, [`ImageError::Decode`].
    pub(super) fn rgb(self) -> Result<Vec<u8>, ImageError> {
        let cut = ImageError::Cut { format: Kind::Jpeg.name() };
        // A file may lack its end mark, and nothing else.
        if !self.whole {
            return Err(cut);
        }
        let mut stream = self.stream;
        let end = stream.len();
        stream.extend(EOI);
        let rgb = decode(&stream).map_err(|error| if self.ended { ImageError::Decode(error) } else { cut.clone() })?;
        let with_other_end = |at: usize| {
            let other = OTHER.iter().cycle().take(1024);
            let stream: Vec<u8> = stream.iter().take(at).chain(other).chain(&EOI).copied().collect();
            decode(&stream).is_ok_and(|other| other == rgb)
        };
        if !with_other_end(end) {
            return Err(cut);
        }
        // Zeros in place of the rest may be more than the rest was: then the last of them are not needed either.
        let zeros = stream.get(..end).is_some_and(|stream| stream.ends_with(&[0; ZEROS]));
        match zeros && with_other_end(end - ZEROS) {
            true => Err(cut),
            false => Ok(rgb),
        }
    }
}

/// RGB, whatever the file's own colours are.
fn decode(stream: &[u8]) -> Result<Vec<u8>, String> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        // Instructions of one processor round in their own way: everyone takes the plain code.
        .set_use_unsafe(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    JpegDecoder::new_with_options(ZCursor::new(stream), options).decode().map_err(|error| format!("{error:?}"))
}

/// Bytes up to the next marker that is no restart, or all of them.
fn scan_length(data: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = data.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xff)) {
        at += found;
        match data.get(at + 1) {
            Some(0x00 | 0xd0..=0xd7) => at += 2,
            Some(0xff) => at += 1,
            Some(_) | None => return at,
        }
    }
    data.len()
}

/// How far the scans have come.
#[derive(Default)]
struct Scans {
    any: bool,
    progressive: bool,
    /// For each component the bits that are still missing of each coefficient; 255 before its first scan.
    missing: BTreeMap<u8, [u8; 64]>,
}

impl Scans {
    /// `components`: three bytes each, the first of them its name.
    fn begin(&mut self, progressive: bool, components: &[u8]) {
        self.progressive = progressive;
        self.missing = components.as_chunks::<3>().0.iter().map(|&[name, ..]| (name, [255; 64])).collect();
    }

    /// `header`: the number of components, two bytes for each, the first and last coefficient, the bits before and after.
    fn add(&mut self, header: &[u8]) {
        self.any = true;
        let Some((&count, rest)) = header.split_first() else { return };
        let Some((components, &[first, last, bits, ..])) = rest.split_at_checked(2 * usize::from(count)) else {
            return;
        };
        let (first, last, bits) = if self.progressive { (first, last, bits & 15) } else { (0, 63, 0) };
        for &[name, _] in components.as_chunks::<2>().0 {
            let coefficients = self.missing.get_mut(&name);
            let sent = coefficients.and_then(|it| it.get_mut(usize::from(first)..=usize::from(last)));
            sent.into_iter().flatten().for_each(|missing| *missing = bits);
        }
    }

    fn whole(&self) -> bool {
        self.missing.values().flatten().all(|&bits| bits == 0)
    }
}
