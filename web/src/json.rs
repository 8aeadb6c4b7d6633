//! Values on their way over the border: plain data goes as JSON.

use js_sys::JSON;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wasm_bindgen::JsValue;

use crate::error::{Failure, message};

/// A JavaScript value of plain data.
pub(crate) fn to_js(value: &Value) -> Result<JsValue, JsValue> {
    JSON::parse(&value.to_string())
}

/// Plain data of JavaScript's as a type; `what` names it in errors.
pub(crate) fn from_js<T: DeserializeOwned>(what: &str, value: &JsValue) -> Result<T, JsValue> {
    let failed = |reason: String| Failure::Argument(format!("{what}: {reason}")).into();
    // Cycles and whole numbers of any size have no JSON.
    let text = JSON::stringify(value).map_err(|thrown| failed(message(&thrown)))?.as_string().unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use fovea_engine::text::Message;
    use js_sys::{BigInt, Reflect};
    use serde_json::json;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test]
    fn plain_data_comes_back_as_it_went() {
        let value = json!({"text": "a \u{1F600} \0", "numbers": [1, -2.5, 1e300], "nothing": null});
        let there = to_js(&value).expect("plain data");
        assert_eq!(from_js::<Value>("it", &there).expect("plain data"), value);
    }

    #[wasm_bindgen_test]
    fn what_has_another_form_is_named() {
        for wrong in [json!(7), json!([{"role": 3}]), json!({"role": "user"})] {
            let error =
                from_js::<Vec<Message>>("messages", &to_js(&wrong).expect("plain data")).expect_err("no messages");
            let field = |name: &str| Reflect::get(&error, &JsValue::from_str(name)).ok().and_then(|it| it.as_string());
            assert_eq!(field("code").as_deref(), Some("prompt"));
            assert!(field("message").is_some_and(|message| message.starts_with("messages: ")), "{error:?}");
        }
        for unwritable in [JsValue::UNDEFINED, BigInt::from(1).into()] {
            let error = from_js::<Vec<Message>>("messages", &unwritable).expect_err("no JSON");
            assert_eq!(
                Reflect::get(&error, &"code".into()).ok().and_then(|it| it.as_string()).as_deref(),
                Some("prompt")
            );
        }
    }
}
