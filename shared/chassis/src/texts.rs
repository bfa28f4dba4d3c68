//! What no text in a changing request may contain: card numbers (R31) and invisible characters.
//!
//! Card numbers are looked for in free text. The field decides that, not the value: ids, amounts and phone
//! numbers are no free text, and some would pass the Luhn check by chance. A field that is not known to be one of
//! these is checked.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost::bytes::Buf as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::Status;
use values::holds_card_number;

use crate::{Refusal, field_error, wire};

/// Names of fields that are no free text: amounts, addresses, keys, phone and bank account numbers. A reference of a
/// transfer is whatever its sender wrote, and so is free text.
const NO_FREE_TEXT: &[&str] = &[
    "account_number",
    "amount",
    "email",
    "number",
    "refund_key",
    "return_url",
    "timeline_etag",
];

/// A field of a message: its name, and the message's name for a nested message.
struct Field {
    name: String,
    message: Option<String>,
    is_text: bool,
    is_free_text: bool,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It contains a card number.
    Card,
    /// It contains an invisible character.
    Hidden,
}

/// Fields whose content customers write for other programs: anything except NUL is accepted.
const DOCUMENT: &str = "document";

/// Fields by message and number.
static FIELDS: LazyLock<HashMap<String, HashMap<u32, Field>>> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap_or_default();
    let mut messages = HashMap::new();
    for file in &set.file {
        for message in &file.message_type {
            know(message, file.package(), &mut messages);
        }
    }
    messages
});

/// Adds the fields of a message that is declared in `scope`, and those of the messages declared in it.
fn know(
    message: &DescriptorProto,
    scope: &str,
    messages: &mut HashMap<String, HashMap<u32, Field>>,
) {
    let fields = message.field.iter().map(|field| {
        let is_text = field.r#type() == Type::String;
        let known = Field {
            name: field.name().to_owned(),
            message: (field.r#type() == Type::Message)
                .then(|| field.type_name().trim_start_matches('.').to_owned()),
            is_text,
            is_free_text: is_text && is_free_text(field.name()),
        };
        (u32::try_from(field.number()).unwrap_or(0), known)
    });
    let name = format!("{scope}.{}", message.name());
    for inner in &message.nested_type {
        know(inner, &name, messages);
    }
    messages.insert(name, fields.collect());
}

/// Whether a text field of this name holds free text written by a person.
fn is_free_text(name: &str) -> bool {
    let is_id = name.ends_with("_id") || name.ends_with("_ids");
    !is_id && !NO_FREE_TEXT.contains(&name)
}

/// Refuses a request with a text that contains what none may.
pub fn refuse<M: proto::Mutation>(request: &M) -> Result<(), Status> {
    let Some((field, fault)) = find(&request.encode_to_vec(), M::NAME) else {
        return Ok(());
    };
    let (reason, expected) = match fault {
        Fault::Card => ("CARD_NUMBER_REFUSED", "no card number"),
        Fault::Hidden => ("INVALID_FIELD", "no characters that nobody sees"),
    };
    let text = format!("{field}: expected {expected}");
    Err(Refusal::invalid(reason)
        .with("field", &field)
        .with_fields(&[field_error(field, expected)])
        .into_status("perdiem", text))
}

/// What is wrong with a field's text.
fn fault(field: &Field, text: &str) -> Option<Fault> {
    let hidden = if field.name == DOCUMENT {
        text.contains('\0')
    } else {
        wire::hides_something(text)
    };
    if hidden {
        return Some(Fault::Hidden);
    }
    Some(Fault::Card).filter(|_| field.is_free_text && holds_card_number(text))
}

/// The path of the first faulty text in an encoded message, and its fault.
fn find(mut bytes: &[u8], message: &str) -> Option<(String, Fault)> {
    let fields = FIELDS.get(message)?;
    while bytes.has_remaining() {
        let (number, wire_type) = decode_key(&mut bytes).ok()?;
        let length = match wire_type {
            WireType::Varint => {
                decode_varint(&mut bytes).ok()?;
                continue;
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (value, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        let Some(field) = fields.get(&number) else {
            continue;
        };
        if field.is_text
            && let Ok(text) = std::str::from_utf8(value)
            && let Some(fault) = fault(field, text)
        {
            return Some((field.name.clone(), fault));
        }
        if let Some(inner) = &field.message
            && let Some((path, fault)) = find(value, inner)
        {
            return Some((format!("{}.{path}", field.name), fault));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proto::Mutation;
    use proto::account::v1 as account;
    use proto::billing::v1 as billing;
    use proto::payments::v1 as payments;
    use proto::r#type::v1::Money;
    use tonic_types::StatusExt as _;

    use super::*;

    const CARD: &str = "4242.4242.4242.4242";

    fn field<M: Mutation>(request: &M) -> Option<String> {
        let status = refuse(request).err()?;
        let details = status.get_error_details();
        Some(
            details
                .bad_request()?
                .field_violations
                .first()?
                .field
                .clone(),
        )
    }

    #[test]
    fn the_free_text_is_named_wherever_it_stands() {
        let ticket = account::CreateTicketRequest {
            subject: format!("my card {CARD}"),
            ..Default::default()
        };
        assert_eq!(field(&ticket).as_deref(), Some("subject"));
        let catalogue = payments::ImportCatalogueRequest {
            document: format!("note: {CARD}"),
            ..Default::default()
        };
        assert_eq!(field(&catalogue).as_deref(), Some("document"));
        let paid = billing::RecordInvoicePaymentRequest {
            reference: format!("card {CARD}"),
            ..Default::default()
        };
        assert_eq!(field(&paid).as_deref(), Some("reference"));
        let details = account::UpdateBillingDetailsRequest {
            billing_details: Some(account::BillingDetails {
                address: CARD.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(field(&details).as_deref(), Some("billing_details.address"));
    }

    #[test]
    fn a_message_within_a_message_is_known_too() {
        let text = |name: &str| prost_types::FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(1),
            r#type: Some(Type::String.into()),
            ..Default::default()
        };
        let inner = DescriptorProto {
            name: Some("Inner".to_owned()),
            field: vec![text("note")],
            ..Default::default()
        };
        let outer = DescriptorProto {
            name: Some("Outer".to_owned()),
            nested_type: vec![inner],
            ..Default::default()
        };
        let mut messages = HashMap::new();
        know(&outer, "a.v1", &mut messages);
        let note = &messages["a.v1.Outer.Inner"][&1];
        assert!(note.name == "note" && note.is_free_text);
        // Whatever a field of a message can hold is known by its name.
        let held = FIELDS.values().flat_map(HashMap::values);
        for message in held.filter_map(|field| field.message.as_ref()) {
            let known = FIELDS.contains_key(message);
            assert!(known || message.starts_with("google."), "{message}");
        }
    }

    #[test]
    fn no_text_holds_what_nobody_sees() {
        let named = |display_name: &str| account::CreateAccountRequest {
            display_name: display_name.to_owned(),
            ..Default::default()
        };
        for hidden in ["a\0b", "\u{202e}evil", "ann\u{200b}a", "\u{feff}ann"] {
            let found = field(&named(hidden));
            assert_eq!(found.as_deref(), Some("display_name"), "{hidden:?}");
        }
        assert_eq!(field(&named("Łukasz Żółć")), None);
        let resource = |document: &str| account::CreateResourceRequest {
            document: document.to_owned(),
            ..Default::default()
        };
        assert_eq!(field(&resource("{\"x\": \"\u{200b}\"}\n")), None);
        assert_eq!(field(&resource("\0")).as_deref(), Some("document"));
    }

    #[test]
    fn ids_sums_and_phone_numbers_are_no_free_text() {
        let charge = payments::CreateChargeRequest {
            account_id: CARD.to_owned(),
            amount: Some(Money {
                currency_code: "USD".to_owned(),
                amount: "424242424242".to_owned(),
            }),
            ..Default::default()
        };
        assert_eq!(field(&charge), None);
        let number = account::CreateWhitelistedNumberRequest {
            number: "+4242424242424242".to_owned(),
            ..Default::default()
        };
        assert_eq!(field(&number), None);
    }

    #[test]
    fn what_is_no_free_text_is_a_field_of_some_message() {
        for name in NO_FREE_TEXT {
            let known = FIELDS
                .values()
                .flat_map(HashMap::values)
                .any(|field| field.name == *name);
            assert!(known, "{name}");
        }
    }
}
