//! Messages to attack with, made by the descriptors: for the tests and for the attacks.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// Texts that nobody should send.
pub const TEXTS: [&str; 27] = [
    "",
    " ",
    "\0",
    "a\0b",
    "\u{202e}x",
    "💥💥",
    "' OR 1=1; --",
    "../../etc/passwd",
    "%s%n{}",
    "-1",
    "+1",
    "1e9",
    "NaN",
    "0x10",
    "１２",
    "99999999999999999999999999",
    "0.00000000001",
    "AC",
    "ACFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
    "AC0000000000000000000000000000000g",
    "RU00000000000000000000000000000001",
    "00000000-0000-0000-0000-000000000000",
    "2026-13",
    "2026-02-30",
    "99999-01",
    "4242424242424242",
    "\r\nx: y",
];

/// A text that would pass, by the field's name; `None` for what is better left out.
fn text(name: &str, real: &BTreeMap<&str, String>) -> Option<String> {
    if name == "request_id" {
        return Some(uuid::Uuid::new_v4().to_string());
    }
    if let Some(text) = real.get(name) {
        return Some(text.clone());
    }
    let text = match name {
        _ if name.ends_with("account_id") => return real.get("account_id").cloned(),
        "family_code" => "SUPPORT",
        "plan_code" => "business",
        "profile_code" => "global",
        "month" => "2026-02",
        "priority_code" => "P1",
        "channel_code" => "EMAIL",
        "role_code" => "OWNER",
        "feature_code" => "phone_numbers",
        "currency_code" => "USD",
        "amount" | "quantity" => "1.00",
        "email" => "somebody@example.com",
        "source" | "category" => "test",
        "period_start_date" => "2026-02-01",
        "period_end_date" => "2026-03-01",
        _ if name.ends_with("_token")
            || name.starts_with("import_")
            || name.starts_with("change_")
            || name == "level"
            || name == "message_text" =>
        {
            return None;
        }
        _ => "x",
    };
    Some(text.to_owned())
}

/// A value that would pass, by the field's name: so that one bad field is not hidden by another.
fn plausible(field: &FieldDescriptor, real: &BTreeMap<&str, String>) -> Option<Value> {
    match field.kind() {
        Kind::String => text(field.name(), real).map(Value::String),
        Kind::Int32 => (field.name() == "shard_count").then_some(Value::I32(1)),
        Kind::Enum(_) => Some(Value::EnumNumber(1)),
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            let mut at = DynamicMessage::new(inner);
            at.set_field_by_name("seconds", Value::I64(1_772_366_400)); // 1 March 2026, noon
            Some(Value::Message(at))
        }
        Kind::Message(inner) => Some(Value::Message(filled(&inner, real))),
        Kind::Double
        | Kind::Float
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64
        | Kind::Bool
        | Kind::Bytes => None,
    }
}

/// A message whose fields would all pass, as far as their names tell; `real` are ids of what there is, by the names of
/// fields.
pub fn filled(descriptor: &MessageDescriptor, real: &BTreeMap<&str, String>) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        // Of several kinds, the first.
        if field
            .containing_oneof()
            .is_some_and(|it| it.fields().next() != Some(field.clone()))
        {
            continue;
        }
        if let Some(value) = plausible(&field, real) {
            let value = if field.is_list() {
                Value::List(vec![value])
            } else {
                value
            };
            message.set_field(&field, value);
        }
    }
    message
}
