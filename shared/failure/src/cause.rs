//! Which of an error's causes says what happened.

use std::error::Error;

/// The innermost cause: it says what happened, the layers around it only that something did.
pub fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost
}
