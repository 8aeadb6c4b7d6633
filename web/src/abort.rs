//! Work that a signal ends.

use std::{future::Future, pin::pin, task::Poll};

use futures_channel::oneshot;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::AbortSignal;

/// Waits for `work`; as soon as `signal` fires, drops it and fails with the signal's reason.
pub(crate) async fn until_abort<T>(
    signal: Option<AbortSignal>,
    work: impl Future<Output = Result<T, JsValue>>,
) -> Result<T, JsValue> {
    let Some(signal) = signal else { return work.await };
    if signal.aborted() {
        return Err(signal.reason());
    }
    let (sender, receiver) = oneshot::channel::<()>();
    let fire = Closure::once(move || {
        // The receiver is gone when the work ended first.
        let _ = sender.send(());
    });
    let listener = fire.as_ref().unchecked_ref();
    signal.add_event_listener_with_callback("abort", listener)?;
    let (mut work, mut receiver) = (pin!(work), pin!(receiver));
    let outcome = std::future::poll_fn(|context| {
        if receiver.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(signal.reason()));
        }
        work.as_mut().poll(context)
    })
    .await;
    signal.remove_event_listener_with_callback("abort", listener)?;
    outcome
}
