//! Pictures from files, and the picture that shows an answer.

use std::{fs, io::Cursor, path::Path};

use fovea_models::{
    grounding::{PixelBox, PixelPoint},
    image::{Picture, Size},
};
use image::{ExtendedColorType, ImageFormat};

use crate::{
    failure::{Failure, Outcome},
    input::read_bounded,
};

/// Largest encoded picture that is read.
const LARGEST_FILE: u64 = 256 << 20;

const RED: [u8; 3] = [230, 30, 60];
const WHITE: [u8; 3] = [255, 255, 255];

/// Reads a picture, as a person sees it: turned as its Exif data says, transparent parts on white.
pub(crate) fn open(path: &Path) -> Outcome<Picture> {
    refuse_addresses(path)?;
    Picture::decode(&read(path)?).map_err(|error| Failure::picture(path, &error))
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    read_bounded(path, LARGEST_FILE).map_err(|error| Failure::file(path, error))
}

/// What stands for a picture elsewhere is no path here. The reader of pictures says what to do with it.
fn refuse_addresses(path: &Path) -> Outcome {
    const SCHEMES: [&str; 5] = ["data:", "http://", "https://", "file:", "blob:"];
    let text = path.to_string_lossy();
    if !SCHEMES.iter().any(|scheme| text.to_ascii_lowercase().starts_with(scheme)) || path.exists() {
        return Ok(());
    }
    let Err(error) = Picture::decode(text.as_bytes()) else { return Ok(()) };
    let beginning: String = text.chars().take(40).collect();
    Err(Failure::file(Path::new(&beginning), error))
}

/// A picture's size as people see it, from its header alone.
pub(crate) fn size(path: &Path) -> Outcome<Size> {
    Picture::size_of(&read(path)?).map_err(|error| Failure::picture(path, &error))
}

/// What is drawn for an answer: its box, and where it clicks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mark {
    pub(crate) region: PixelBox,
    pub(crate) click: PixelPoint,
}

/// Writes the picture with a box around each target and a mark where to click, as PNG or what the file's ending says.
pub(crate) fn write_marked(path: &Path, picture: &Picture, marks: &[Mark]) -> Outcome {
    let size = picture.size();
    let mut canvas = Canvas { size, rgb: picture.clone().into_rgb() };
    for Mark { region, click } in marks {
        let [left, top, right, bottom] = [region.left(), region.top(), region.right(), region.bottom()].map(at);
        // A white line on both sides keeps the box visible on any page.
        for (grow, colour) in [(3, WHITE), (2, RED), (1, RED), (0, WHITE)] {
            canvas.outline(left - grow, top - grow, right + grow, bottom + grow, colour);
        }
        let (x, y) = (at(click.x), at(click.y));
        for (reach, thickness, colour) in [(11, 2, WHITE), (10, 1, RED)] {
            canvas.fill(x - reach, y - thickness, x + reach, y + thickness, colour);
            canvas.fill(x - thickness, y - reach, x + thickness, y + reach, colour);
        }
    }
    let format = ImageFormat::from_path(path).unwrap_or(ImageFormat::Png);
    let (mut encoded, colour) = (Cursor::new(Vec::new()), ExtendedColorType::Rgb8);
    image::write_buffer_with_format(&mut encoded, &canvas.rgb, size.width, size.height, colour, format)
        .map_err(|error| Failure::file(path, error))?;
    // In one piece: the encoders' own files lose errors of a full disk.
    fs::write(path, encoded.into_inner()).map_err(|error| Failure::file(path, error))
}

fn at(coordinate: f32) -> i64 {
    coordinate.round() as i64
}

struct Canvas {
    size: Size,
    rgb: Vec<u8>,
}

impl Canvas {
    fn outline(&mut self, left: i64, top: i64, right: i64, bottom: i64, colour: [u8; 3]) {
        self.fill(left, top, right, top, colour);
        self.fill(left, bottom, right, bottom, colour);
        self.fill(left, top, left, bottom, colour);
        self.fill(right, top, right, bottom, colour);
    }

    /// Corners included; what lies outside is left out.
    fn fill(&mut self, left: i64, top: i64, right: i64, bottom: i64, colour: [u8; 3]) {
        let (width, height) = (i64::from(self.size.width), i64::from(self.size.height));
        for y in top.max(0)..=bottom.min(height - 1) {
            for x in left.max(0)..=right.min(width - 1) {
                let start = 3 * (y * width + x) as usize;
                if let Some(pixel) = self.rgb.get_mut(start..start + 3) {
                    pixel.copy_from_slice(&colour);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_beyond_the_edge_are_cut_off() {
        let mut canvas = Canvas { size: Size::new(4, 3), rgb: vec![0; 36] };
        canvas.outline(-5, 1, 2, 100, RED);
        let red = |x: usize, y: usize| canvas.rgb[3 * (4 * y + x)..][..3] == RED;
        assert!(red(0, 1) && red(2, 1) && red(2, 2));
        assert!(!red(3, 1) && !red(0, 0) && !red(0, 2));
    }
}
