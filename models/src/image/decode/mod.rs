//! Pictures from encoded files: the one reader of them, natively and in the browser.
//!
//! A picture is what a person sees: turned as its Exif data says, and transparent parts on white. Half a picture is an
//! error. Colour profiles and gamma are ignored, and of an animation the first frame is taken, as in the reference.

mod container;
mod exif;
mod jpeg;
mod kind;

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder, Limits, RgbImage,
    codecs::{bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
    metadata::Orientation,
};

use super::{ImageError, Picture, Size};
use container::Extent;
use jpeg::Jpeg;
use kind::Kind;

impl Picture {
    /// From an encoded file (PNG, JPEG, WebP, GIF, BMP) of at most [`Picture::PIXEL_LIMIT`] pixels.
    ///
    /// # Errors
    /// As [`Picture::decode_within`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        Self::decode_within(bytes, Self::PIXEL_LIMIT)
    }

    /// From an encoded file of at most `limit` pixels; the size is read from its header, and checked before memory is
    /// taken for pixels.
    ///
    /// The orientation of Exif data is applied (JPEG, PNG, WebP), so that the picture is as browsers show it. Alpha is
    /// composited on white, as [`Picture::from_rgba`]; 16-bit channels keep their high byte; CMYK is converted without
    /// a profile; colour profiles are ignored. A JPEG or PNG that lacks nothing but its end mark is whole.
    ///
    /// # Errors
    /// [`ImageError::Format`] for what is no picture of these formats, [`ImageError::Cut`] if part of the file is
    /// missing, [`ImageError::Decode`] if it is damaged, [`ImageError::TooLarge`], [`ImageError::Empty`].
    pub fn decode_within(bytes: &[u8], limit: u64) -> Result<Self, ImageError> {
        let kind = Kind::of(bytes)?;
        let cut = ImageError::Cut { format: kind.name() };
        let decode = errors(kind);
        let header = Header::read(kind, bytes)?;
        check(header.size, limit)?;
        let picture = match kind {
            Kind::Jpeg => Self::from_rgb(header.size, Jpeg::read(bytes)?.rgb()?)?,
            Kind::Png => {
                let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits(limit)).map_err(decode)?;
                match container::png(bytes).0 {
                    Extent::Whole => composited(decoder, limit, decode)?,
                    Extent::Endless => {
                        let ended = [bytes, &container::PNG_END].concat();
                        let decoder = PngDecoder::with_limits(Cursor::new(ended), limits(limit)).map_err(decode)?;
                        composited(decoder, limit, decode)?
                    }
                    Extent::Cut => return Err(cut),
                }
            }
            Kind::WebP => {
                if !container::webp(bytes) {
                    return Err(cut);
                }
                let picture = composited(WebPDecoder::new(Cursor::new(bytes)).map_err(decode)?, limit, decode)?;
                // Zeros are data too, and there are more of them than are needed.
                let shorter = container::webp_shortened(bytes).and_then(|it| WebPDecoder::new(Cursor::new(it)).ok());
                if shorter.is_some_and(|shorter| composited(shorter, limit, decode).is_ok()) {
                    return Err(cut);
                }
                picture
            }
            Kind::Gif => {
                if !container::gif(bytes) {
                    return Err(cut);
                }
                composited(GifDecoder::new(Cursor::new(bytes)).map_err(decode)?, limit, decode)?
            }
            Kind::Bmp => composited(BmpDecoder::new(Cursor::new(bytes)).map_err(decode)?, limit, decode)?,
        };
        Ok(picture.turned(header.orientation))
    }

    /// A picture's size as people see it, from its header alone: turned as [`Picture::decode`] turns it. Its pixels may be
    /// more than any limit, cut off or damaged.
    ///
    /// # Errors
    /// As [`Picture::decode`], for the header.
    pub fn size_of(bytes: &[u8]) -> Result<Size, ImageError> {
        let Header { size: Size { width, height }, orientation } = Header::read(Kind::of(bytes)?, bytes)?;
        let lies = matches!(
            orientation,
            Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
        );
        Ok(if lies { Size::new(height, width) } else { Size::new(width, height) })
    }

    fn turned(self, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let Size { width, height } = self.size();
        let Some(pixels) = RgbImage::from_raw(width, height, self.rgb().to_vec()) else { return self };
        let mut turned = DynamicImage::ImageRgb8(pixels);
        turned.apply_orientation(orientation);
        let size = Size::new(turned.width(), turned.height());
        Self::from_rgb(size, turned.into_rgb8().into_raw()).unwrap_or(self)
    }
}

/// What a file says of its pixels.
struct Header {
    /// As they are stored.
    size: Size,
    orientation: Orientation,
}

impl Header {
    fn read(kind: Kind, bytes: &[u8]) -> Result<Self, ImageError> {
        let (decode, cut) = (errors(kind), || ImageError::Cut { format: kind.name() });
        let (size, exif) = match kind {
            Kind::Jpeg => {
                let jpeg = Jpeg::read(bytes)?;
                (jpeg.size, jpeg.exif.map(exif::orientation))
            }
            Kind::Png => {
                let size = container::png_size(bytes).ok_or_else(cut)?;
                (size, container::png(bytes).1.map(exif::orientation))
            }
            Kind::WebP => {
                let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(decode)?;
                let exif = decoder.exif_metadata().ok().flatten();
                (size(&decoder), exif.as_deref().map(exif::orientation))
            }
            Kind::Gif => (size(&GifDecoder::new(Cursor::new(bytes)).map_err(decode)?), None),
            Kind::Bmp => (container::bmp_size(bytes).ok_or_else(cut)?, None),
        };
        Ok(Self { size, orientation: exif.unwrap_or(Orientation::NoTransforms) })
    }
}

/// A decoder's error as one of a format's: what ends early is cut off.
fn errors(kind: Kind) -> impl Fn(image::ImageError) -> ImageError + Copy {
    move |error| match error {
        image::ImageError::IoError(_) => ImageError::Cut { format: kind.name() },
        error => ImageError::Decode(error.to_string()),
    }
}

fn size(decoder: &impl ImageDecoder) -> Size {
    let (width, height) = decoder.dimensions();
    Size { width, height }
}

fn check(size: Size, limit: u64) -> Result<(), ImageError> {
    let Size { width, height } = size;
    if size.pixels() == 0 {
        return Err(ImageError::Empty { width, height });
    }
    if size.pixels() > limit {
        return Err(ImageError::TooLarge { width, height, limit });
    }
    Ok(())
}

/// 8 bytes a pixel is the widest of the formats (16-bit RGBA); as much again for a decoder's own buffers.
fn limits(pixels: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(pixels.saturating_mul(16).saturating_add(1 << 20));
    limits
}

/// The picture on white.
fn composited<'a>(
    mut decoder: impl ImageDecoder + 'a,
    limit: u64,
    error: impl Fn(image::ImageError) -> ImageError,
) -> Result<Picture, ImageError> {
    let size = size(&decoder);
    decoder.set_limits(limits(limit)).map_err(&error)?;
    let high = |samples: &[u16]| samples.iter().map(|sample| (sample >> 8) as u8).collect::<Vec<_>>();
    let spread = |greys: &[u8]| greys.iter().flat_map(|&grey| [grey; 3]).collect();
    let spread_alpha = |pixels: &[u8]| {
        let (pixels, _) = pixels.as_chunks::<2>();
        pixels.iter().flat_map(|&[grey, alpha]| [grey, grey, grey, alpha]).collect::<Vec<_>>()
    };
    match DynamicImage::from_decoder(decoder).map_err(error)? {
        DynamicImage::ImageLuma8(it) => Picture::from_rgb(size, spread(it.as_raw())),
        DynamicImage::ImageLumaA8(it) => Picture::from_rgba(size, &spread_alpha(it.as_raw())),
        DynamicImage::ImageRgb8(it) => Picture::from_rgb(size, it.into_raw()),
        DynamicImage::ImageRgba8(it) => Picture::from_rgba(size, it.as_raw()),
        DynamicImage::ImageLuma16(it) => Picture::from_rgb(size, spread(&high(it.as_raw()))),
        DynamicImage::ImageLumaA16(it) => Picture::from_rgba(size, &spread_alpha(&high(it.as_raw()))),
        DynamicImage::ImageRgb16(it) => Picture::from_rgb(size, high(it.as_raw())),
        DynamicImage::ImageRgba16(it) => Picture::from_rgba(size, &high(it.as_raw())),
        other => Picture::from_rgba(size, other.into_rgba8().as_raw()),
    }
}

#[cfg(test)]
mod tests;
