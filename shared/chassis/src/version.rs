//! What the running program was built from.

/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, as `PERDIEM_COMMIT` told the build; `unknown` otherwise.
pub const COMMIT: &str = env!("PERDIEM_COMMIT");
/// Both, as `--version` shows them.
pub const VERSION_AND_COMMIT: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("PERDIEM_COMMIT"),
    ")"
);
