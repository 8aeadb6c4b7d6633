//! Every stage of an answer, for comparison with a reference implementation.

use fovea_models::{
    GenerateOptions, RunError,
    image::{Picture, Size},
};
use js_sys::{Float32Array, Object, Uint32Array};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use crate::{
    error::{Failure, set},
    model::{ImageRef, Model},
};

#[wasm_bindgen]
impl Model {
    /// Encodes a picture of RGBA pixels and reads every stage back: `{image, pixel_values, vision_tower,
    /// image_embeds, cross_vision}`, all but the first `Float32Array`, the last empty without a cross tower. With `pixel_values`, those are taken instead of the prepared
    /// ones.
    ///
    /// # Errors
    /// As [`Model::encode`]; `prompt` if they are not as many as the picture's patches need.
    pub async fn encode_stages(
        &self,
        rgba: &[u8],
        width: u32,
        height: u32,
        pixel_values: Option<Float32Array>,
    ) -> Result<JsValue, JsValue> {
        let picture = Picture::from_rgba(Size::new(width, height), rgba);
        let picture = picture.map_err(|error| Failure::from(RunError::from(error)))?;
        let mut session = self.session()?;
        let pixels = pixel_values.map(|values| values.to_vec());
        let (encoded, stages) = session.encode_stages(&picture, pixels.as_deref()).await.map_err(Failure::from)?;
        let told = Object::new();
        set(&told, "image", &self.hold(encoded, 0.0).into());
        let cross = stages.cross.unwrap_or_default();
        for (name, values) in [
            ("pixel_values", &stages.pixel_values),
            ("vision_tower", &stages.tower),
            ("image_embeds", &stages.embeds),
            ("cross_vision", &cross),
        ] {
            set(&told, name, &Float32Array::from(values.as_slice()));
        }
        Ok(told.into())
    }

    /// Reads a prompt of token ids, one placeholder for each picture, and answers with exactly `new_tokens` of the
    /// likeliest tokens: `{hidden_first, hidden_last, logits_prompt, logits_steps, input_ids, generated_ids}`.
    ///
    /// # Errors
    /// `prompt` if ids and pictures do not fit together; the device's failures.
    pub async fn answer_stages(
        &self,
        ids: Vec<u32>,
        images: Vec<ImageRef>,
        new_tokens: usize,
    ) -> Result<JsValue, JsValue> {
        let images = images.iter().map(|image| self.image(image)).collect::<Result<Vec<_>, _>>()?;
        let mut session = self.session()?;
        let prompt = session.prepare_ids(&ids, &images).map_err(Failure::from)?;
        let prefill = session.prefill_stages(&prompt).await.map_err(Failure::from)?;
        let options = GenerateOptions { max_tokens: new_tokens, ignore_stop: true, ..GenerateOptions::default() };
        let (generated, steps) = session.generate_stages(&prompt, &options).await.map_err(Failure::from)?;
        let told = Object::new();
        for (name, values) in [
            ("hidden_first", &prefill.hidden_first),
            ("hidden_last", &prefill.hidden_last),
            ("logits_prompt", &prefill.logits),
            ("logits_steps", &steps),
        ] {
            set(&told, name, &Float32Array::from(values.as_slice()));
        }
        set(&told, "input_ids", &Uint32Array::from(prompt.ids.as_slice()));
        set(&told, "generated_ids", &Uint32Array::from(generated.as_slice()));
        Ok(told.into())
    }

    /// Token ids of a conversation, image placeholders not expanded.
    ///
    /// # Errors
    /// `prompt`; `model` without a chat template.
    pub fn conversation_ids(&self, messages: JsValue) -> Result<Vec<u32>, JsValue> {
        let messages = crate::model::conversation(&messages)?;
        Ok(self.system().ids(&messages).map_err(Failure::from)?)
    }
}
