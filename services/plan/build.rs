//! Rebuilds when a migration is added, or when columns are read as other types.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=sqlx.toml");
}
