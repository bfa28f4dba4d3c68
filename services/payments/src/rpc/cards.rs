//! Card numbers, refused in whatever text of whatever request (R31).

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message;
use prost::bytes::Buf as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

use crate::domain::token::holds_card_number;
use crate::error::Error;

/// A field of a message: its name, and its message's name where it is one.
struct Field {
    name: String,
    message: Option<String>,
    is_text: bool,
}

/// Fields by message and number.
static FIELDS: LazyLock<HashMap<(String, u32), Field>> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap_or_default();
    let mut fields = HashMap::new();
    for file in &set.file {
        for message in &file.message_type {
            for field in &message.field {
                let number = u32::try_from(field.number()).unwrap_or(0);
                let message_name = format!(".{}.{}", file.package(), message.name());
                let known = Field {
                    name: field.name().to_owned(),
                    message: (field.r#type() == Type::Message)
                        .then(|| field.type_name().to_owned()),
                    is_text: field.r#type() == Type::String,
                };
                fields.insert((message_name, number), known);
            }
        }
    }
    fields
});

/// Refuses a request of this service that holds a card number in one of its texts.
pub fn refuse<M: Message>(request: &M) -> Result<(), Error> {
    let type_name = std::any::type_name::<M>();
    let name = type_name.rsplit("::").next().unwrap_or_default();
    let found = find(
        &request.encode_to_vec(),
        &format!(".perdiem.payments.v1.{name}"),
    );
    found.map_or(Ok(()), |field| Err(Error::CardNumber(field)))
}

/// The path of a text with a card number in an encoded message; `None` for none.
fn find(mut bytes: &[u8], message: &str) -> Option<String> {
    while bytes.has_remaining() {
        let (number, wire_type) = decode_key(&mut bytes).ok()?;
        let skipped = match wire_type {
            WireType::Varint => {
                decode_varint(&mut bytes).ok()?;
                continue;
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let value = bytes.get(..skipped)?;
        bytes = bytes.get(skipped..)?;
        let Some(field) = FIELDS.get(&(message.to_owned(), number)) else {
            continue;
        };
        if field.is_text && std::str::from_utf8(value).is_ok_and(holds_card_number) {
            return Some(field.name.clone());
        }
        if let Some(inner) = &field.message
            && let Some(path) = find(value, inner)
        {
            return Some(format!("{}.{path}", field.name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proto::payments::v1 as pb;
    use proto::r#type::v1::Money;

    use super::*;

    #[test]
    fn the_field_is_named_wherever_it_stands() {
        let charge = |amount: &str, plan: &str| pb::CreateChargeRequest {
            amount: Some(Money {
                currency_code: "USD".to_owned(),
                amount: amount.to_owned(),
            }),
            plan_code: plan.to_owned(),
            attempt_number: 7,
            ..pb::CreateChargeRequest::default()
        };
        assert!(refuse(&charge("10.00", "business")).is_ok());
        let field = |request| match refuse(&request) {
            Err(Error::CardNumber(field)) => field,
            _ => String::new(),
        };
        assert_eq!(field(charge("10.00", "4242424242424242")), "plan_code");
        assert_eq!(field(charge("4242 4242 4242 4242", "x")), "amount.amount");
    }
}
