//! The one thing that Exif data says of how a picture is seen.

use image::metadata::Orientation;

/// Tag 0x0112 of the first directory.
const ORIENTATION: u16 = 0x0112;

/// How a picture is turned, by its Exif data with or without the six bytes that JPEG puts before it; not at all if that says
/// nothing of it. The standard wants a SHORT; writers have been seen to take other whole numbers.
pub(super) fn orientation(exif: &[u8]) -> Orientation {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    value(tiff)
        .and_then(|value| u8::try_from(value).ok())
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

/// The tag's number.
fn value(tiff: &[u8]) -> Option<u32> {
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |bytes: &[u8]| {
        let bytes = *bytes.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |bytes: &[u8]| {
        let bytes = *bytes.first_chunk::<4>()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = tiff.get(long(tiff.get(4..)?)? as usize..)?;
    let (entries, _) = directory.get(2..)?.as_chunks::<12>();
    let entry = entries.iter().take(short(directory)?.into()).find(|entry| short(&entry[..]) == Some(ORIENTATION))?;
    // Tag, type, count; the value itself, which fits.
    let value = &entry[8..];
    match (short(&entry[2..])?, long(&entry[4..])?) {
        // BYTE and SBYTE; SHORT and SSHORT; LONG and SLONG.
        (1 | 6, 1) => value.first().copied().map(u32::from),
        (3 | 8, 1) => short(value).map(u32::from),
        (4 | 9, 1) => long(value),
        _ => None,
    }
}
