//! Files of chunks: whether all of one is there, and its Exif data, before anything is decoded.

use super::super::Size;

/// The end mark of a PNG.
pub(super) const PNG_END: [u8; 12] = *b"\0\0\0\0IEND\xae\x42\x60\x82";

/// How much of a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// All but the end mark.
    Endless,
    Cut,
}

/// How much of a PNG is there, and its `eXIf` chunk, wherever it stands.
pub(super) fn png(bytes: &[u8]) -> (Extent, Option<&[u8]>) {
    let mut exif = None;
    let mut rest = bytes.get(8..).unwrap_or_default();
    let mut data = false;
    while let Some((&[l0, l1, l2, l3, kind @ ..], after)) = rest.split_first_chunk::<8>() {
        if &kind == b"IEND" {
            return (Extent::Whole, exif);
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        // After the chunk comes its checksum.
        let chunk = after.split_at_checked(length).and_then(|(body, after)| Some((body, after.get(4..)?)));
        let Some((body, after)) = chunk else { return (Extent::Cut, exif) };
        match &kind {
            b"IDAT" => data = true,
            b"eXIf" if exif.is_none() => exif = Some(body),
            _ => {}
        }
        rest = after;
    }
    (if data { Extent::Endless } else { Extent::Cut }, exif)
}

/// The size in a PNG's header; decoders compute with it before they say it.
pub(super) fn png_size(bytes: &[u8]) -> Option<Size> {
    let (header, _) = bytes.get(16..24)?.as_chunks::<4>();
    let &[width, height] = header else { return None };
    Some(Size::new(u32::from_be_bytes(width), u32::from_be_bytes(height)))
}

/// The size in a BMP's header, as [`png_size`]. Heights from top to bottom are negative; OS/2's have 16 bits.
pub(super) fn bmp_size(bytes: &[u8]) -> Option<Size> {
    if bytes.get(14..18)? == [12, 0, 0, 0] {
        let &[w0, w1, h0, h1] = bytes.get(18..22)? else { return None };
        return Some(Size::new(u16::from_le_bytes([w0, w1]).into(), u16::from_le_bytes([h0, h1]).into()));
    }
    let (header, _) = bytes.get(18..26)?.as_chunks::<4>();
    let &[width, height] = header else { return None };
    Some(Size::new(u32::from_le_bytes(width), i32::from_le_bytes(height).unsigned_abs()))
}

/// Whether a WebP has as many bytes as it says; the last may be padding.
pub(super) fn webp(bytes: &[u8]) -> bool {
    let size = bytes.get(4..8).and_then(|size| size.try_into().ok()).map(u32::from_le_bytes);
    size.is_some_and(|size| bytes.len() as u64 + 1 >= u64::from(size) + 8)
}

/// Bytes at the end of a WebP's pixels of which a decoder needs some: encoders end where their data ends, but for a few bits.
const WEBP_NEEDED: usize = 32;

/// A WebP's first frame, as a file of its own, without the last of its bytes; its alpha is left out. `None` if it is no longer
/// than that.
pub(super) fn webp_shortened(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes.get(12..)?;
    loop {
        let (kind, after) = rest.split_first_chunk::<4>()?;
        let (length, body) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        rest = match kind {
            b"VP8 " | b"VP8L" => {
                let kept = body.get(..length.min(body.len()).checked_sub(WEBP_NEEDED)?)?;
                let size = |length: usize| u32::try_from(length).map(u32::to_le_bytes).ok();
                let odd = &[0][..kept.len() % 2];
                let (riff, own) = (size(12 + kept.len() + odd.len())?, size(kept.len())?);
                return Some([b"RIFF", &riff[..], b"WEBP", kind, &own, kept, odd].concat());
            }
            // Where the frame stands, its size and how long it is shown; then its chunks.
            b"ANMF" => body.get(16..)?,
            _ => body.get(length.checked_next_multiple_of(2)?..)?,
        };
    }
}

/// Whether the blocks of a GIF's first frame are complete.
pub(super) fn gif(bytes: &[u8]) -> bool {
    let table = |flags: u8| if flags & 0x80 != 0 { 3 << ((flags & 7) + 1) } else { 0 };
    let walk = || {
        let mut at = 13 + table(*bytes.get(10)?);
        loop {
            let frame = match bytes.get(at)? {
                0x21 => false,
                0x2c => true,
                _ => return None,
            };
            at += if frame { 11 + table(*bytes.get(at + 9)?) } else { 2 };
            loop {
                let length = usize::from(*bytes.get(at)?);
                at += 1 + length;
                if length == 0 {
                    break;
                }
            }
            if frame {
                return Some(());
            }
        }
    };
    walk().is_some()
}
