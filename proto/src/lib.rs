//! The contracts of the suite, compiled: messages, clients, servers and their descriptors.
#![allow(
    clippy::doc_lazy_continuation,
    reason = "lists in comments of the contracts, as the generator indents them"
)]

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstCodec, ProstEncoder};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Contract of `plan`.
pub mod plan {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("perdiem.plan.v1");
    }
}
/// Contract of `billing`.
pub mod billing {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("perdiem.billing.v1");
    }
}
/// Contract of `account-lifecycle`.
pub mod account {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("perdiem.account.v1");
    }
}
/// Contract of `payments`.
pub mod payments {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("perdiem.payments.v1");
    }
}
/// Contract of the test clock.
pub mod clock {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("perdiem.clock.v1");
    }
}
/// What the contracts share.
pub mod r#type {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("perdiem.r#type.v1");
    }
}

mod mutations {
    include!(concat!(env!("OUT_DIR"), "/mutations.rs"));
}

mod listings {
    include!(concat!(env!("OUT_DIR"), "/listings.rs"));
}

/// The descriptors of every contract that reflection shows, with comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A request that changes something, and so names its intent.
pub trait Mutation: Message + Default + Clone + 'static {
    /// The message's full name.
    const NAME: &'static str;
    /// The method's name.
    const METHOD: &'static str;
    /// The UUID of the intent, as sent.
    fn request_id(&self) -> &str;
    /// The account that it is about, as sent; empty where it names none.
    fn account_scope(&self) -> &str;
    /// Whether it says itself that it follows the closing of its account, so that this does not shut it out.
    fn after_closing(&self) -> bool;
    /// Leaves the request without its id, and without words of ours: what two requests of one intent must agree in.
    fn clear_request_id(&mut self);
}

/// A request for a page of a list.
pub trait Listing: Message + Default + Clone {
    /// The message's full name.
    const NAME: &'static str;
    /// Where the page starts.
    fn page_token(&mut self) -> &mut String;
    /// How many rows it holds.
    fn page_size(&mut self) -> &mut i32;
}

/// A page of a list.
pub trait Listed: Message {
    /// Where the next page starts; empty for the last page.
    fn next_page_token(&mut self) -> &mut String;
}

/// Protobuf by prost; what does not decode is the sender's fault and tells no internals.
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

/// The decoder of [`Codec`].
pub struct StrictDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(buf).map(Some).map_err(|_| {
            let details = ErrorDetails::with_error_info(
                "MALFORMED_MESSAGE",
                "perdiem",
                [] as [(String, String); 0],
            );
            Status::with_error_details(
                Code::InvalidArgument,
                "the message does not decode",
                details,
            )
        })
    }
}
