//! Pictures from encoded files: the one reader of them, natively and in the browser.
//!
//! A picture is what a person sees: turned as its Exif data says, and transparent parts on white. Half a picture is an
//! error. Colour profiles and gamma are ignored, and of an animation the first frame is taken, as in the reference.

mod container;
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
        let decode = |error: image::ImageError| match error {
            image::ImageError::IoError(_) => ImageError::Cut { format: kind.name() },
            error => ImageError::Decode(error.to_string()),
        };
        let (picture, exif) = match kind {
            Kind::Jpeg => {
                let jpeg = Jpeg::read(bytes)?;
                check(jpeg.size, limit)?;
                let (size, exif) = (jpeg.size, jpeg.exif.map(<[u8]>::to_vec));
                (Self::from_rgb(size, jpeg.rgb()?)?, exif)
            }
            Kind::Png => {
                check(container::png_size(bytes).ok_or(ImageError::Cut { format: kind.name() })?, limit)?;
                let (extent, exif) = container::png(bytes);
                let header = PngDecoder::with_limits(Cursor::new(bytes), limits(limit)).map_err(decode)?;
                let picture = match extent {
                    Extent::Whole => composited(header, limit, decode)?,
                    Extent::Endless => {
                        let ended = [bytes, &container::PNG_END].concat();
                        let decoder = PngDecoder::with_limits(Cursor::new(ended), limits(limit)).map_err(decode)?;
                        composited(decoder, limit, decode)?
                    }
                    Extent::Cut => return Err(cut),
                };
                (picture, exif.map(<[u8]>::to_vec))
            }
            Kind::WebP => {
                let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(decode)?;
                check(size(&decoder), limit)?;
                if !container::webp(bytes) {
                    return Err(cut);
                }
                let exif = decoder.exif_metadata().ok().flatten();
                (composited(decoder, limit, decode)?, exif)
            }
            Kind::Gif => {
                let decoder = GifDecoder::new(Cursor::new(bytes)).map_err(decode)?;
                check(size(&decoder), limit)?;
                if !container::gif(bytes) {
                    return Err(cut);
                }
                (composited(decoder, limit, decode)?, None)
            }
            Kind::Bmp => {
                check(container::bmp_size(bytes).ok_or(cut)?, limit)?;
                let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(decode)?;
                (composited(decoder, limit, decode)?, None)
            }
        };
        Ok(picture.turned(exif.as_deref().map_or(Orientation::NoTransforms, orientation)))
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

/// What Exif data says, with or without the six bytes that JPEG puts before it.
fn orientation(exif: &[u8]) -> Orientation {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    Orientation::from_exif_chunk(tiff).unwrap_or(Orientation::NoTransforms)
}

#[cfg(test)]
mod tests;
