//! How large a test runs: small in every run of the suite, large in the long one.

use std::env;

/// `quick`, or `long` under `scripts/test --long`, which sets `TEST_LONG=1`. The same test either way.
pub fn figure<T>(quick: T, long: T) -> T {
    if env::var_os("TEST_LONG").is_some_and(|value| value == "1") { long } else { quick }
}
