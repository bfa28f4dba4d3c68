//! Random messages at every method of every service: whatever arrives, it is the sender's fault, and the services go
//! on.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::Who;
use futures::future::join_all;
use perdiem::connect::request_id;
use perdiem::suite::SERVICES;
use prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use proto::account::v1 as account;
use tests::hostile::{TEXTS, filled};
use tonic::Status;

use crate::cancel::{is_fault, left_open};
use crate::raw::{Method, Raw, methods};
use crate::silence::MEMORY_MIB;
use crate::{Random, Victim};

/// Callers at once.
const CALLERS: u64 = 16;
/// After how many calls a caller takes another account.
const CALLS_OF_AN_ACCOUNT: u64 = 250;
/// How long the first message of a stream is waited for.
const STREAM: Duration = Duration::from_millis(100);
/// How long the answer of a unary call is waited for: twice the longest that a call may last.
const PATIENCE: Duration = Duration::from_mins(1);
/// After how many faults a caller stops.
const FAULTS: usize = 5;
/// How deep random messages are nested.
const DEPTH: usize = 3;
/// What takes an account, or a user, from the calls that follow: seldom called with one that there is.
const ENDS: [&str; 5] = [
    "CloseAccount",
    "SuspendAccount",
    "DeleteUser",
    "EraseAccount",
    "RevokeRole",
];

/// What the services answered.
#[derive(Default)]
struct Told {
    accepted: u64,
    refused: u64,
    faults: Vec<String>,
}

/// Makes so many calls; gives the promises that were broken.
pub async fn attack(victim: &mut Victim, calls: u64, mut random: Random) -> Vec<String> {
    let methods = methods();
    // A tenth of the calls fills caches and pools; what is added later was not given back.
    let first = called(victim, &methods, calls / 10, &mut random).await;
    let before = SERVICES.map(|(name, ..)| victim.memory_mib(name));
    let rest = called(victim, &methods, calls - calls / 10, &mut random).await;
    let told = [first, rest];
    let sum = |of: fn(&Told) -> u64| told.iter().map(of).sum::<u64>();
    println!(
        "{} calls of {} methods: {} accepted, {} refused",
        sum(|it| it.accepted) + sum(|it| it.refused),
        methods.len(),
        sum(|it| it.accepted),
        sum(|it| it.refused)
    );
    let mut broken: Vec<String> = told.into_iter().flat_map(|it| it.faults).collect();
    broken.extend(left_open(victim).await);
    for ((name, ..), before) in SERVICES.into_iter().zip(before) {
        if victim.suite.has_ended(name) {
            broken.push(format!("{name} has ended"));
            continue;
        }
        let log = victim.suite.settings.folder.join(format!("{name}.log"));
        let log = std::fs::read_to_string(log).unwrap_or_default();
        for line in log
            .lines()
            .filter(|it| it.contains("panicked"))
            .take(FAULTS)
        {
            broken.push(format!("{name}: {line}"));
        }
        let raw = Raw::new(victim.urls.of(name));
        let health = raw.call("/grpc.health.v1.Health/Check", &[], Vec::new());
        if let Err(status) = health.await {
            broken.push(format!("{name} does not answer: {status:?}"));
        }
        let after = victim.memory_mib(name);
        println!("memory of {name}: {before} MiB after a tenth of the calls, {after} after all");
        if before + MEMORY_MIB < after {
            broken.push(format!("{name}: memory grew from {before} to {after} MiB"));
        }
    }
    broken
}

/// Makes so many calls, by callers at once.
async fn called(victim: &Victim, methods: &[Method], calls: u64, random: &mut Random) -> Told {
    let each = calls.div_ceil(CALLERS);
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| caller(victim, methods, each, Random(random.draw())))
        .collect();
    let mut all = Told::default();
    for told in join_all(callers).await {
        all.accepted += told.accepted;
        all.refused += told.refused;
        all.faults.extend(told.faults);
    }
    all
}

/// Makes so many calls, one after another.
async fn caller(victim: &Victim, methods: &[Method], calls: u64, mut random: Random) -> Told {
    let raws = SERVICES.map(|(name, ..)| (name, Raw::new(victim.urls.of(name))));
    let raws = BTreeMap::from(raws);
    let (mut told, mut real, nothing) = (Told::default(), BTreeMap::new(), BTreeMap::new());
    for number in 0..calls {
        if number % CALLS_OF_AN_ACCOUNT == 0 {
            real = subject(victim).await;
        }
        let method = &methods[random.below(methods.len())];
        let bearer = [bearer(victim, method, &mut random)];
        let ends = ENDS.contains(&method.access.method) && random.below(20) != 0;
        let known = if ends { &nothing } else { &real };
        let message = message(&method.descriptor.input(), known, &mut random);
        let shown: Vec<u8> = message.iter().copied().take(200).collect();
        let patience = if method.access.streams {
            STREAM
        } else {
            PATIENCE
        };
        let calling = raws[method.service].call(&method.path, &bearer, message);
        let fault = match tokio::time::timeout(patience, calling).await {
            // A stream may have nothing to say.
            Err(_) if method.access.streams => None,
            Err(_) => Some(format!("no answer for {PATIENCE:?}")),
            Ok(Err(status)) if is_fault(&status) => Some(shown_fault(&status)),
            Ok(Err(_)) => {
                told.refused += 1;
                None
            }
            Ok(Ok(_)) => {
                told.accepted += 1;
                None
            }
        };
        if let Some(fault) = fault {
            let bytes = chassis::hex(&shown);
            told.faults.push(format!(
                "{}: {fault}; the message begins {bytes}",
                method.path
            ));
        }
        if FAULTS <= told.faults.len() {
            break;
        }
    }
    told
}

/// What a fault says.
fn shown_fault(status: &Status) -> String {
    format!("{:?} {}", status.code(), status.message())
}

/// An account and a user, by the names of the fields that they can stand in.
async fn subject(victim: &Victim) -> BTreeMap<&'static str, String> {
    let request = account::CreateUserRequest {
        email: format!("{}@example.com", request_id()),
        display_name: "Somebody".to_owned(),
        request_id: request_id(),
    };
    let user = victim.operator.account.clone().create_user(request).await;
    let user = user.unwrap().into_inner().user.unwrap().user_id;
    BTreeMap::from([
        ("account_id", victim.account().await),
        ("user_id", user.clone()),
        ("owner_user_id", user),
    ])
}

/// One of those who may call a method.
fn bearer(victim: &Victim, method: &Method, random: &mut Random) -> String {
    let keys = &victim.suite.keys;
    let who = method.access.who;
    let token = match who[random.below(who.len())] {
        Who::Service(name) => keys.service(name.text()),
        Who::Operator(_) => keys.any_operator(),
        Who::Person => keys.person(&victim.owner),
    };
    format!("Bearer {}", token.unwrap())
}

/// Bytes that may be a message.
fn message(
    input: &MessageDescriptor,
    real: &BTreeMap<&str, String>,
    random: &mut Random,
) -> Vec<u8> {
    let kind = random.below(10);
    if kind == 0 {
        return bytes(random, 300);
    }
    let mut message = if random.below(4) == 0 {
        DynamicMessage::new(input.clone())
    } else {
        filled(input, real)
    };
    if kind == 1 {
        // A good message that was cut, or changed on its way.
        let mut bytes = message.encode_to_vec();
        for _ in 0..random.below(4) {
            if !bytes.is_empty() {
                let place = random.below(bytes.len());
                bytes[place] = byte(random);
            }
        }
        bytes.truncate(random.below(bytes.len() + 1).max(bytes.len() / 2));
        return bytes;
    }
    spoil(&mut message, random, DEPTH);
    message.encode_to_vec()
}

/// Sets some fields to random values.
fn spoil(message: &mut DynamicMessage, random: &mut Random, depth: usize) {
    let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    if fields.is_empty() {
        return;
    }
    for _ in 0..=random.below(3) {
        let field = &fields[random.below(fields.len())];
        let value = if field.is_list() {
            // A long list seldom, as it takes long.
            let count = match random.below(100) {
                0 if depth == DEPTH => 5_000,
                it => it % 4,
            };
            Value::List((0..count).map(|_| value(field, random, depth)).collect())
        } else {
            value(field, random, depth)
        };
        message.set_field(field, value);
    }
}

/// A random value of a field.
fn value(field: &FieldDescriptor, random: &mut Random, depth: usize) -> Value {
    match field.kind() {
        Kind::String => Value::String(text(random)),
        Kind::Bytes => Value::Bytes(bytes(random, 300).into()),
        Kind::Bool => Value::Bool(random.below(2) == 0),
        Kind::Double => Value::F64([f64::NAN, f64::INFINITY, f64::MIN][random.below(3)]),
        Kind::Float => Value::F32([f32::NAN, f32::INFINITY, f32::MIN][random.below(3)]),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number(random)),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            let any = random.draw().cast_signed();
            Value::I64([i64::MIN, -1, 0, 1, i64::MAX, any][random.below(6)])
        }
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number(random).cast_unsigned()),
        Kind::Uint64 | Kind::Fixed64 => {
            let any = random.draw();
            Value::U64([0, 1, u64::MAX, any][random.below(4)])
        }
        Kind::Enum(_) => Value::EnumNumber(number(random)),
        Kind::Message(inner) => {
            let mut message = DynamicMessage::new(inner);
            if 1 < depth {
                spoil(&mut message, random, depth - 1);
            }
            Value::Message(message)
        }
    }
}

/// A random number, which is often small or at an end.
fn number(random: &mut Random) -> i32 {
    let any = u32::try_from(random.draw() >> 32).unwrap().cast_signed();
    [i32::MIN, -1, 0, 1, 2, 3, 10_001, i32::MAX, any][random.below(9)]
}

/// A random text.
fn text(random: &mut Random) -> String {
    match random.below(8) {
        0 => {
            let count = random.below(300);
            let letter = |_| u32::try_from(random.below(0x11_0000)).unwrap();
            (0..count).map(letter).filter_map(char::from_u32).collect()
        }
        // A long text seldom, as it takes long.
        1 => "x".repeat(random.below(300_000) / (1 + random.below(10_000))),
        // What may be an amount.
        2 => format!("{}.{}", random.draw(), random.below(1_000_000)),
        3 => format!("-{}", random.below(1_000)),
        // What may be an id.
        4 => {
            let kind = ["AC", "US", "IN", "OR", "PM", "CH"][random.below(6)];
            format!("{kind}{:016x}{:016x}", random.draw(), random.draw())
        }
        // What may be a day.
        5 => format!(
            "{:04}-{:02}-{:02}",
            random.below(10_000),
            random.below(14),
            random.below(33)
        ),
        _ => TEXTS[random.below(TEXTS.len())].to_owned(),
    }
}

/// Random bytes, fewer than `most`.
fn bytes(random: &mut Random, most: usize) -> Vec<u8> {
    (0..random.below(most)).map(|_| byte(random)).collect()
}

/// A random byte.
fn byte(random: &mut Random) -> u8 {
    u8::try_from(random.draw() >> 56).unwrap()
}
