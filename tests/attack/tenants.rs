//! Two customers: what one has can't be told, by the other, from what nobody has.

use std::collections::{BTreeMap, BTreeSet};

use chassis::Who;
use perdiem::connect::request_id;
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use proto::account::v1 as account;
use proto::billing::v1 as billing;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::raw::{Method, Raw, methods};
use crate::{Random, Victim, dollars};

/// The most ids of one kind that are tried in one field.
const TRIED: usize = 3;
/// How deep messages within messages are looked into for fields.
const DEPTH: usize = 3;

/// A customer.
struct Customer {
    bearer: [String; 1],
    /// Its ids, by the names of the fields in which they stood.
    ids: BTreeMap<String, BTreeSet<String>>,
}

/// Calls each method of people as one customer with the ids of another; gives the promises that were broken.
pub async fn attack(victim: &Victim, mut random: Random) -> Vec<String> {
    let methods = methods();
    let of_people: Vec<&Method> = methods
        .iter()
        .filter(|it| it.access.who.contains(&Who::Person))
        .collect();
    let (ann, bob) = (
        customer(victim, &of_people).await,
        customer(victim, &of_people).await,
    );
    let count: usize = ann.ids.values().map(BTreeSet::len).sum();
    println!("{count} ids of one customer, in {} fields", ann.ids.len());
    let (mut broken, mut cells) = (Vec::new(), 0);
    for method in &of_people {
        let raw = Raw::new(victim.urls.of(method.service));
        let input = method.descriptor.input();
        for path in paths(&input, DEPTH) {
            let name = path.last().unwrap().name();
            // A role is given to whoever has the user id, which is how another person joins an account.
            if name == "user_id" && ["GrantRole", "RevokeRole"].contains(&method.access.method) {
                continue;
            }
            let hers = candidates(&ann, name);
            for id in hers.into_iter().take(TRIED) {
                let nobodys = like(&id, &mut random);
                cells += 1;
                let mut told = Vec::new();
                for id in [&id, &nobodys] {
                    let message = filled(&input, &bob, &path, id).encode_to_vec();
                    let answer = raw.call(&method.path, &bob.bearer, message).await;
                    told.push(without(&answer, id));
                }
                if told[0] != told[1] {
                    broken.push(format!(
                        "{} {name}: {id} of another is answered {}, nobody's {}",
                        method.path, told[0], told[1]
                    ));
                }
            }
        }
    }
    println!(
        "{cells} fields of {} methods held an id of another",
        of_people.len()
    );
    if ann.ids.len() < 3 || cells < 40 {
        broken.push("too little was found to attack with".to_owned());
    }
    broken
}

/// A new customer with something of many kinds, and the ids that its own lists tell.
async fn customer(victim: &Victim, methods: &[&Method]) -> Customer {
    let operator = victim.operator.clone();
    let request = account::CreateUserRequest {
        email: format!("{}@example.com", request_id()),
        display_name: "Somebody".to_owned(),
        request_id: request_id(),
    };
    let user = operator.account.clone().create_user(request).await.unwrap();
    let user = user.into_inner().user.unwrap().user_id;
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "Theirs".to_owned(),
        owner_user_id: user.clone(),
        r#type: account::account::Type::Full.into(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = operator
        .account
        .clone()
        .create_account(request)
        .await
        .unwrap();
    let account_id = made.into_inner().account.unwrap().account_id;
    let request = billing::GrantCreditRequest {
        account_id: account_id.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(dollars("1000")),
        reason: "attack".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    operator
        .billing
        .clone()
        .grant_credit(request)
        .await
        .unwrap();
    let bearer = [format!(
        "Bearer {}",
        victim.suite.keys.person(&user).unwrap()
    )];
    let mut customer = Customer {
        bearer,
        ids: BTreeMap::from([
            ("account_id".to_owned(), BTreeSet::from([account_id])),
            ("user_id".to_owned(), BTreeSet::from([user])),
        ]),
    };
    // What can be made is made, and then what there is is listed.
    for verb in ["Create", "List"] {
        for method in methods {
            if method.access.streams || !method.access.method.starts_with(verb) {
                continue;
            }
            let raw = Raw::new(victim.urls.of(method.service));
            let message = filled(&method.descriptor.input(), &customer, &[], "").encode_to_vec();
            let answer = raw.call(&method.path, &customer.bearer, message).await;
            if let Ok(bytes) = answer
                && let Ok(answer) = DynamicMessage::decode(method.descriptor.output(), &bytes[..])
            {
                harvest(&answer, &mut customer.ids);
            }
        }
    }
    customer
}

/// Adds the ids in a message.
fn harvest(message: &DynamicMessage, ids: &mut BTreeMap<String, BTreeSet<String>>) {
    for (field, value) in message.fields() {
        let values = value
            .as_list()
            .unwrap_or_else(|| std::slice::from_ref(value));
        for value in values {
            if let Some(inner) = value.as_message() {
                harvest(inner, ids);
            } else if let Some(id) = value.as_str().filter(|it| is_id(it))
                && let Some(name) = field_of_ids(field.name())
            {
                ids.entry(name.to_owned())
                    .or_default()
                    .insert(id.to_owned());
            }
        }
    }
}

/// The name of one id, if a field of this name holds ids.
fn field_of_ids(name: &str) -> Option<&str> {
    let one = name.strip_suffix('s').unwrap_or(name);
    (one.ends_with("_id") && one != "request_id").then_some(one)
}

/// Whether a text is two capitals and a UUID in hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 34
        && text.bytes().take(2).all(|b| b.is_ascii_uppercase())
        && text.bytes().skip(2).all(|b| b.is_ascii_hexdigit())
}

/// Another id of the same kind, which nobody has.
fn like(id: &str, random: &mut Random) -> String {
    let (high, low) = (random.draw(), random.draw());
    format!("{}{high:016x}{low:016x}", &id[..2])
}

/// The ids of a customer that a field of this name can hold.
fn candidates(customer: &Customer, field: &str) -> Vec<String> {
    let name = field_of_ids(field).unwrap_or(field);
    let fits = |known: &&String| name == known.as_str() || name.ends_with(&format!("_{known}"));
    let known = customer.ids.keys().filter(fits);
    known
        .flat_map(|it| customer.ids[it].iter().cloned())
        .collect()
}

/// The fields that hold ids, each with the messages that it stands in.
fn paths(message: &MessageDescriptor, depth: usize) -> Vec<Vec<FieldDescriptor>> {
    let mut paths = Vec::new();
    for field in message.fields() {
        let kind = field.kind();
        if matches!(kind, Kind::String) && field_of_ids(field.name()).is_some() {
            paths.push(vec![field]);
        } else if let Some(inner) = kind.as_message().filter(|_| 1 < depth) {
            for rest in self::paths(inner, depth - 1) {
                paths.push([vec![field.clone()], rest].concat());
            }
        }
    }
    paths
}

/// A message of what `customer` could send, with `id` in the field at `path`.
fn filled(
    descriptor: &MessageDescriptor,
    customer: &Customer,
    path: &[FieldDescriptor],
    id: &str,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let on_path = path.first() == Some(&field);
        let first = |it: prost_reflect::OneofDescriptor| it.fields().next() == Some(field.clone());
        let others = path.first().and_then(FieldDescriptor::containing_oneof);
        // Of several kinds, the one on the path, or the first.
        let chosen = field
            .containing_oneof()
            .is_none_or(|it| others.as_ref() != Some(&it) && first(it));
        if !on_path && !chosen {
            continue;
        }
        let value = match field.kind().as_message() {
            Some(inner) if on_path => Some(Value::Message(filled(inner, customer, &path[1..], id))),
            None if on_path => Some(Value::String(id.to_owned())),
            _ => plausible(&field, customer),
        };
        if let Some(value) = value {
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

/// A value that may pass, by the field's name.
fn plausible(field: &FieldDescriptor, customer: &Customer) -> Option<Value> {
    let name = field.name();
    let kind = field.kind();
    if matches!(kind, Kind::Enum(_)) {
        return Some(Value::EnumNumber(1));
    }
    if let Some(inner) = kind.as_message() {
        let theirs = inner.full_name().starts_with("google.");
        return (!theirs).then(|| Value::Message(filled(inner, customer, &[], "")));
    }
    if !matches!(kind, Kind::String) || name.ends_with("_token") {
        return None;
    }
    let text = match name {
        "request_id" => request_id(),
        "family_code" => "SUPPORT".to_owned(),
        "plan_code" => "business".to_owned(),
        "profile_code" => "global".to_owned(),
        "priority_code" => "P3".to_owned(),
        "channel_code" => "EMAIL".to_owned(),
        "role_code" => "OWNER".to_owned(),
        "kind_code" => "FLOW".to_owned(),
        "feature_code" => "phone_numbers".to_owned(),
        "currency_code" => "USD".to_owned(),
        "document" => "{}".to_owned(),
        "amount" | "quantity" => "1.00".to_owned(),
        "email" => format!("{}@example.com", request_id()),
        _ => match candidates(customer, name).pop() {
            Some(own) => own,
            None if field_of_ids(name).is_some() => return None,
            None => "x".to_owned(),
        },
    };
    Some(Value::String(text))
}

/// What an answer tells, without the id that was sent.
fn without(answer: &Result<Vec<u8>, Status>, id: &str) -> String {
    let told = match answer {
        Ok(bytes) => format!("OK {}", String::from_utf8_lossy(bytes)),
        Err(status) => {
            let info = status.get_details_error_info();
            let info = info.map(|it| (it.reason, it.domain));
            format!("{:?} {info:?} {}", status.code(), status.message())
        }
    };
    told.replace(id, "…")
}
