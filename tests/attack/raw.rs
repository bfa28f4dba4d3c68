//! Calls of any method by its path, with any bytes.

use chassis::Access;
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// The services with their tables, by the name that the suite gives them.
const TABLES: [(&str, &str, &[Access]); 5] = [
    ("plan", "perdiem.plan.v1.PlanService", plan::ACCESS),
    (
        "billing",
        "perdiem.billing.v1.BillingService",
        billing::ACCESS,
    ),
    (
        "account-lifecycle",
        "perdiem.account.v1.AccountService",
        account_lifecycle::ACCESS,
    ),
    (
        "account-lifecycle",
        "perdiem.account.v1.CustomerService",
        account_lifecycle::ACCESS,
    ),
    (
        "payments",
        "perdiem.payments.v1.PaymentsService",
        payments::ACCESS,
    ),
];

/// A method of a service.
pub struct Method {
    /// The service, by the name that the suite gives it.
    pub service: &'static str,
    /// Its path.
    pub path: String,
    /// Its row.
    pub access: &'static Access,
    /// What it is in the contract.
    pub descriptor: MethodDescriptor,
}

/// Every method.
pub fn methods() -> Vec<Method> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let mut methods = Vec::new();
    for (service, name, table) in TABLES {
        for descriptor in pool.get_service_by_name(name).unwrap().methods() {
            let mut rows = table.iter();
            methods.push(Method {
                service,
                path: format!("/{name}/{}", descriptor.name()),
                access: rows.find(|it| it.method == descriptor.name()).unwrap(),
                descriptor,
            });
        }
    }
    methods
}

/// A client that sends any bytes and gives those of the answer.
#[derive(Clone)]
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
    /// Connects on first use.
    pub fn new(url: &str) -> Self {
        Self::at(&Endpoint::from_shared(url.to_owned()).unwrap())
    }

    /// Connects on first use, as the endpoint says.
    pub fn at(endpoint: &Endpoint) -> Self {
        Self(endpoint.connect_lazy())
    }

    /// Sends one message with these authorization headers; gives the first message of the answer.
    pub async fn call(
        &self,
        path: &str,
        authorization: &[String],
        message: Vec<u8>,
    ) -> Result<Vec<u8>, Status> {
        let mut request = Request::new(tokio_stream::once(message));
        for value in authorization {
            let value = value.parse().unwrap();
            request.metadata_mut().append("authorization", value);
        }
        let mut client = Grpc::new(self.0.clone());
        let ready = client.ready().await;
        ready.map_err(|error| Status::from_error(error.into()))?;
        let path = path.parse().unwrap();
        let answer = client.streaming(request, path, Bytes).await?;
        Ok(answer.into_inner().message().await?.unwrap_or_default())
    }
}
