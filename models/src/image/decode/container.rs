//! Files of chunks: whether all of one is there, and its Exif data, before anything is decoded.

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

/// Whether a WebP has as many bytes as it says; the last may be padding.
pub(super) fn webp(bytes: &[u8]) -> bool {
    let size = bytes.get(4..8).and_then(|size| size.try_into().ok()).map(u32::from_le_bytes);
    size.is_some_and(|size| bytes.len() as u64 + 1 >= u64::from(size) + 8)
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
