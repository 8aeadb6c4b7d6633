//! The one reader of pictures on its own, for comparison with what browsers show.

use fovea_models::{
    RunError,
    image::{ImageError, Picture, Size},
};
use js_sys::{Object, Uint8Array};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use crate::error::{Failure, set};

/// An encoded file as `{width, height, rgb}`: turned as it is shown, on white, three bytes a pixel.
///
/// # Errors
/// `image`.
#[wasm_bindgen]
pub fn decode_picture(file: &[u8]) -> Result<JsValue, JsValue> {
    plain(Picture::decode(file))
}

/// RGBA pixels, row by row, as [`decode_picture`].
///
/// # Errors
/// `image`.
#[wasm_bindgen]
pub fn composite_picture(rgba: &[u8], width: u32, height: u32) -> Result<JsValue, JsValue> {
    plain(Picture::from_rgba(Size::new(width, height), rgba))
}

fn plain(picture: Result<Picture, ImageError>) -> Result<JsValue, JsValue> {
    let picture = picture.map_err(|error| Failure::from(RunError::from(error)))?;
    let told = Object::new();
    set(&told, "width", &picture.size().width.into());
    set(&told, "height", &picture.size().height.into());
    set(&told, "rgb", &Uint8Array::from(picture.rgb()).into());
    Ok(told.into())
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    /// FNV-1a, 64 bits.
    fn fnv(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// The same hashes as in the tests of `fovea-models`, which run natively.
    #[wasm_bindgen_test]
    fn pictures_are_those_of_the_native_program() {
        macro_rules! file {
            ($name:literal) => {
                (include_bytes!(concat!("../../tests/cases/pictures/", $name)).as_slice(), $name)
            };
        }
        for ((bytes, name), size, hash) in [
            (file!("exif6.png"), (84, 112), 0x6cc2_3a9f_b192_dfa1),
            (file!("palette_trns.png"), (120, 72), 0xbbbe_a08e_e50e_a275),
            (file!("transparent.gif"), (120, 72), 0x91e0_5588_7bf2_7c8e),
            (file!("black_on_transparent.png"), (112, 84), 0x9298_3044_ce65_ca2d),
            (file!("exif6.jpg"), (640, 283), 0xc28f_f199_3f7d_afd6),
            (file!("progressive.jpg"), (120, 72), 0x0eb1_899c_a26e_6fb3),
            (file!("lossy.webp"), (120, 72), 0x701b_b336_10f2_8ec1),
        ] {
            let picture = Picture::decode(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((picture.size().width, picture.size().height), size, "{name}");
            assert_eq!(fnv(picture.rgb()), hash, "{name}");
        }
        let cut = Picture::decode(include_bytes!("../../tests/cases/pictures/cut_b.jpg")).unwrap_err();
        assert!(cut.to_string().contains("cut off"), "{cut}");
    }
}
