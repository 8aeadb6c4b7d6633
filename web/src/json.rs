//! Values on their way over the border: plain data goes as JSON.

use js_sys::JSON;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wasm_bindgen::JsValue;

use crate::error::Failure;

/// A JavaScript value of plain data.
pub(crate) fn to_js(value: &Value) -> Result<JsValue, JsValue> {
    JSON::parse(&value.to_string())
}

/// Plain data of JavaScript's as a type; `what` names it in errors.
pub(crate) fn from_js<T: DeserializeOwned>(what: &str, value: &JsValue) -> Result<T, JsValue> {
    let text = JSON::stringify(value)?.as_string().unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| Failure::Argument(format!("{what}: {error}")).into())
}
