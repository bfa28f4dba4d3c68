//! Hostile input, driven by the descriptors: every field of every method gets a table of values
//! that nobody should send. What comes back is a refusal that the sender can read, never our fault,
//! and nothing has changed.

use std::collections::BTreeMap;

use chassis::{Access, Who};
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, Value};
use sqlx::AssertSqlSafe;
use tests::hostile::{TEXTS, filled};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::access::TABLES;
use crate::harness::Harness;

/// A client that sends any bytes and reads none.
pub struct Raw(Channel);

#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).to_vec()))
    }
}

impl Raw {
    pub async fn connect(url: &str) -> Self {
        Self(
            Endpoint::from_shared(url.to_owned())
                .unwrap()
                .connect()
                .await
                .unwrap(),
        )
    }

    /// Sends one message; of an answer that streams, the first message is read.
    pub async fn call(
        &self,
        path: &str,
        token: Option<&str>,
        message: Vec<u8>,
    ) -> Result<(), Status> {
        let mut request = Request::new(tokio_stream::once(message));
        if let Some(token) = token {
            let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        let answer = client
            .streaming(request, path.parse().unwrap(), Bytes)
            .await?;
        let mut messages = answer.into_inner();
        tokio::time::timeout(std::time::Duration::from_secs(10), messages.message())
            .await
            .unwrap_or(Ok(None))?;
        Ok(())
    }
}

/// A token that the row lets through.
pub fn token_for(h: &Harness, row: &Access) -> String {
    // What would take the account, or its owner, from the calls that follow.
    const ENDS: [&str; 4] = [
        "CloseAccount",
        "SuspendAccount",
        "ReinstateAccount",
        "DeleteUser",
    ];
    let keys = &h.suite.keys;
    let by_operator = row.who.iter().any(|who| matches!(who, Who::Operator(_)));
    match row.who[0] {
        Who::Service(name) => keys.service(name.text()).unwrap(),
        Who::Operator(role) => keys.operator("one", &[role]).unwrap(),
        // The operator where there is one: then more is reached than "no such account".
        Who::Person if by_operator && !ENDS.contains(&row.method) => keys.any_operator().unwrap(),
        // Where only people may, the owner of every account made here.
        Who::Person if !by_operator => keys.person(&h.owner).unwrap(),
        Who::Person => keys.person("US00000000000000000000000000000001").unwrap(),
    }
}

/// What nobody should send, by kind.
fn hostile(field: &FieldDescriptor) -> Vec<Value> {
    let list = field.is_list();
    let one: Vec<Value> = match field.kind() {
        Kind::String => TEXTS
            .into_iter()
            .map(|it| Value::String(it.to_owned()))
            .chain([
                Value::String("x".repeat(70_000)),
                Value::String("é".repeat(3_000)),
            ])
            .collect(),
        Kind::Int32 | Kind::Sint32 => [i32::MIN, -1, i32::MAX].map(Value::I32).to_vec(),
        Kind::Int64 => [i64::MIN, -1, i64::MAX].map(Value::I64).to_vec(),
        Kind::Uint32 => vec![Value::U32(u32::MAX)],
        Kind::Bool => vec![Value::Bool(true)],
        Kind::Enum(_) => [-1, 999].map(Value::EnumNumber).to_vec(),
        Kind::Bytes => vec![Value::Bytes(vec![0xff; 64].into())],
        Kind::Message(inner) => {
            let empty = DynamicMessage::new(inner.clone());
            let mut values = vec![Value::Message(empty.clone())];
            for field in inner.fields() {
                for value in hostile(&field) {
                    let mut message = empty.clone();
                    message.set_field(&field, value);
                    values.push(Value::Message(message));
                }
            }
            values
        }
        _ => Vec::new(),
    };
    if !list {
        return one;
    }
    let many = one
        .first()
        .map(|first| Value::List(vec![first.clone(); 12_000]));
    one.into_iter()
        .map(|it| Value::List(vec![it]))
        .chain(many)
        .collect()
}

/// Row counts of every table but those that keep answers, once no run is under way.
async fn rows(h: &Harness) -> Vec<(String, i64)> {
    while 0 < h
        .count("SELECT count(*) FROM billing.runs WHERE state = 'RUNNING'")
        .await
    {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
         WHERE schemaname IN ('plan', 'billing', 'account', 'payments') AND tablename <> 'requests' ORDER BY 1",
    )
    .fetch_all(&h.db)
    .await
    .unwrap();
    let mut counts = Vec::new();
    for table in tables {
        let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&h.db)
            .await
            .unwrap();
        counts.push((table, count));
    }
    counts
}

/// Why an answer to hostile input is our fault; `None` when it is not.
fn fault(status: &Status) -> Option<String> {
    let ours = matches!(
        status.code(),
        Code::Internal | Code::Unknown | Code::DataLoss | Code::OutOfRange | Code::DeadlineExceeded
    );
    let bare =
        !matches!(status.code(), Code::Unimplemented) && status.get_details_error_info().is_none();
    (ours || bare).then(|| format!("{:?}: {}", status.code(), status.message()))
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_in_any_field_are_the_senders_fault_and_change_nothing() {
    let h = Harness::start().await;
    let account = h.account().await;
    let user = h.user("somebody").await;
    let real = BTreeMap::from([
        ("account_id", account),
        ("user_id", user.clone()),
        ("owner_user_id", user),
    ]);
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let (mut cells, mut refused, mut faults) = (0_u32, 0_u32, Vec::new());
    for (service, name, table) in TABLES {
        let raw = Raw::connect(h.urls.of(service)).await;
        for method in pool.get_service_by_name(name).unwrap().methods() {
            let row = table
                .iter()
                .find(|row| row.method == method.name())
                .unwrap();
            let (path, token) = (format!("/{name}/{}", method.name()), token_for(&h, row));
            let before = rows(&h).await;
            let mut accepted = 0;
            for field in method.input().fields() {
                for value in hostile(&field) {
                    let mut message = filled(&method.input(), &real);
                    message.set_field(&field, value);
                    cells += 1;
                    match raw.call(&path, Some(&token), message.encode_to_vec()).await {
                        Ok(()) => accepted += 1,
                        Err(status) => {
                            refused += 1;
                            if let Some(fault) = fault(&status) {
                                faults.push(format!("{path} {}: {fault}", field.name()));
                            }
                        }
                    }
                }
            }
            if accepted == 0 && rows(&h).await != before {
                faults.push(format!(
                    "{path}: everything was refused, yet rows have changed"
                ));
            }
        }
    }
    println!("{cells} cells of method, field and value; {refused} refused");
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults
            .iter()
            .take(40)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert!(2_000 < cells);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_do_not_read_and_messages_too_long_are_the_senders_fault() {
    let h = Harness::start().await;
    let before = rows(&h).await;
    let garbage: Vec<Vec<u8>> = vec![
        vec![0xff; 40],
        vec![0x0a, 0x05, 0xff, 0xfe, 0xfd, 0xfc, 0xfb], // a string that is not UTF-8
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],       // a length of four gigabytes
        vec![0x0b; 300],                                // groups in groups
        vec![0x08],
    ];
    let mut cells = 0;
    for (service, name, table) in TABLES {
        let raw = Raw::connect(h.urls.of(service)).await;
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        for method in pool.get_service_by_name(name).unwrap().methods() {
            let row = table.iter().find(|row| row.method == method.name());
            let row = row.unwrap();
            let (path, token) = (format!("/{name}/{}", row.method), token_for(&h, row));
            for message in garbage.iter().cloned().chain([vec![0x0a; 6 << 20]]) {
                cells += 1;
                let status = raw.call(&path, Some(&token), message).await.unwrap_err();
                assert_eq!(
                    status.code(),
                    Code::InvalidArgument,
                    "{path}: {}",
                    status.message()
                );
                assert!(
                    !status.message().contains("proto::") && !status.message().contains("prost"),
                    "{}",
                    status.message()
                );
            }
        }
    }
    assert_eq!(rows(&h).await, before);
    println!("{cells} messages that do not read");
}
