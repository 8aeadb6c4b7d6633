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

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use std::{cell::Cell, future::pending, rc::Rc};

    use wasm_bindgen_test::wasm_bindgen_test;
    use web_sys::AbortController;

    use super::*;

    /// Tells when it is dropped.
    struct Dropped(Rc<Cell<bool>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[wasm_bindgen_test]
    async fn work_that_ends_first_is_not_disturbed() {
        let controller = AbortController::new().expect("a controller");
        for signal in [None, Some(controller.signal())] {
            assert_eq!(until_abort(signal, async { Ok(7) }).await, Ok(7));
        }
        controller.abort();
        let failed: Result<(), _> = until_abort(None, async { Err(JsValue::from(8)) }).await;
        assert_eq!(failed, Err(JsValue::from(8)));
    }

    #[wasm_bindgen_test]
    async fn a_signal_drops_the_work_and_gives_its_reason() {
        let controller = AbortController::new().expect("a controller");
        let dropped = Rc::new(Cell::new(false));
        let work = {
            let (held, controller) = (Dropped(Rc::clone(&dropped)), controller.clone());
            async move {
                controller.abort_with_reason(&JsValue::from("enough"));
                pending::<()>().await;
                drop(held);
                Ok(())
            }
        };
        assert_eq!(until_abort(Some(controller.signal()), work).await, Err(JsValue::from("enough")));
        assert!(dropped.get());
    }

    #[wasm_bindgen_test]
    async fn a_signal_that_has_fired_starts_nothing() {
        let controller = AbortController::new().expect("a controller");
        controller.abort_with_reason(&JsValue::from("before"));
        let started = Cell::new(false);
        let work = async {
            started.set(true);
            Ok(())
        };
        assert_eq!(until_abort(Some(controller.signal()), work).await, Err(JsValue::from("before")));
        assert!(!started.get());
    }
}
