//! Compiles the contracts without protoc, and writes for each request what idempotency needs.
#![expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to build scripts by environment"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

/// The contracts that reflection shows.
const PUBLIC: [&str; 5] = [
    "perdiem/plan/v1/plan.proto",
    "perdiem/billing/v1/billing.proto",
    "perdiem/account/v1/account.proto",
    "perdiem/account/v1/customer.proto",
    "perdiem/payments/v1/payments.proto",
];
/// The contract that it does not show.
const CLOCK: &str = "perdiem/clock/v1/clock.proto";
/// The reasons that all of them share, which none of them imports.
const REASONS: &str = "perdiem/type/v1/reason.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=perdiem");
    println!("cargo:rerun-if-changed=build.rs");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);

    fs::write(out.join("descriptors.bin"), compiled(&root, &PUBLIC)?)?;
    let everything = [PUBLIC.as_slice(), &[CLOCK, REASONS]].concat();
    let bytes = compiled(&root, &everything)?;
    let set = FileDescriptorSet::decode(bytes.as_slice())?;
    fs::write(out.join("mutations.rs"), mutations(&set))?;
    fs::write(out.join("listings.rs"), listings(&set))?;

    tonic_prost_build::configure()
        .codec_path("crate::Codec")
        .bytes(".")
        .compile_fds(tonic_prost_build::FileDescriptorSet::decode(
            bytes.as_slice(),
        )?)?;
    Ok(())
}

fn compiled(root: &Path, files: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files.iter().map(|file| root.join(file)))?;
    Ok(compiler.encode_file_descriptor_set())
}

/// An implementation of `Mutation` for each message that has a `request_id`.
fn mutations(set: &FileDescriptorSet) -> String {
    let mut code = String::new();
    for file in &set.file {
        let module = module(file.package());
        for message in &file.message_type {
            let has = |name: &str| {
                message
                    .field
                    .iter()
                    .any(|f| f.name() == name && f.r#type() == Type::String)
            };
            if !has("request_id") || !message.name().ends_with("Request") {
                continue;
            }
            let scope = ["account_id", "parent_account_id", "payer_account_id"];
            let scope = scope.into_iter().find(|name| has(name));
            let scope = scope.map_or("\"\"".to_owned(), |name| format!("&self.{name}"));
            let (package, name) = (file.package(), message.name());
            let method = name.trim_end_matches("Request");
            let has_formulas = message
                .field
                .iter()
                .any(|f| f.type_name().ends_with(".CollectionLine"));
            let tells_of_closing = message.field.iter().any(|f| f.name() == "after_closing");
            // Words come and go with versions: a retry by another one is of the same intent. So is one that comes
            // after the account was closed.
            let words = if has_formulas {
                "for line in &mut self.lines { line.formula.clear(); }"
            } else if tells_of_closing {
                "self.after_closing = false;"
            } else {
                ""
            };
            let after_closing = if tells_of_closing {
                "self.after_closing"
            } else {
                "false"
            };
            let _ = write!(
                code,
                "impl crate::Mutation for crate::{module}::{name} {{\n\
                 const NAME: &'static str = \"{package}.{name}\";\n\
                 const METHOD: &'static str = \"{method}\";\n\
                 fn request_id(&self) -> &str {{ &self.request_id }}\n\
                 fn account_scope(&self) -> &str {{ {scope} }}\n\
                 fn after_closing(&self) -> bool {{ {after_closing} }}\n\
                 fn clear_request_id(&mut self) {{ self.request_id.clear(); {words} }}\n}}\n"
            );
        }
    }
    code
}

/// An implementation of `Listing` for each request for a page, and of `Listed` for each page.
fn listings(set: &FileDescriptorSet) -> String {
    let mut code = String::new();
    for file in &set.file {
        let module = module(file.package());
        for message in &file.message_type {
            let name = message.name();
            let has = |field: &str| message.field.iter().any(|f| f.name() == field);
            if has("page_token") && has("page_size") {
                let _ = write!(
                    code,
                    "impl crate::Listing for crate::{module}::{name} {{\n\
                     const NAME: &'static str = \"{}.{name}\";\n\
                     fn page_token(&mut self) -> &mut String {{ &mut self.page_token }}\n\
                     fn page_size(&mut self) -> &mut i32 {{ &mut self.page_size }}\n}}\n",
                    file.package()
                );
            }
            if has("next_page_token") {
                let _ = write!(
                    code,
                    "impl crate::Listed for crate::{module}::{name} {{\n\
                     fn next_page_token(&mut self) -> &mut String {{ &mut self.next_page_token }}\n}}\n"
                );
            }
        }
    }
    code
}

/// The module of a package: `perdiem.plan.v1` is in `plan::v1`.
fn module(package: &str) -> String {
    let parts: Vec<&str> = package.split('.').skip(1).collect();
    parts.join("::")
}
