//! Points at which a process ends as a kill would end it: for tests of what is left half done.

use std::process::abort;
use std::sync::OnceLock;

static AT: OnceLock<String> = OnceLock::new();

/// Arms the point `at` for this process.
pub(crate) fn arm(at: &str) {
    let _ = AT.set(at.to_owned());
}

/// Ends the process at once where this point is armed.
pub fn crash_point(name: &str) {
    if AT.get().is_some_and(|at| at == name) {
        abort();
    }
}

/// The same for a commit of a method, such as `billing.CollectOrder.after`.
pub(crate) fn crash_point_of(schema: &str, method: &str, place: &str) {
    let Some(at) = AT.get() else { return };
    let mut parts = at.splitn(3, '.');
    if [schema, method, place]
        .into_iter()
        .all(|part| parts.next() == Some(part))
    {
        abort();
    }
}
