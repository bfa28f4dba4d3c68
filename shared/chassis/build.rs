//! Passes the commit on that the programs are built from, as whoever builds an image says it.
//!
//! Git is not asked: every commit would compile everything again.

fn main() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment of the build, which no service reads"
    )]
    let commit = std::env::var("PERDIEM_COMMIT").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rerun-if-env-changed=PERDIEM_COMMIT");
    println!("cargo:rustc-env=PERDIEM_COMMIT={commit}");
}
