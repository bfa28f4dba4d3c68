//! The test clock's own small server: on loopback, absent from reflection, only when turned on.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use proto::clock::v1 as pb;
use proto::clock::v1::test_clock_service_server::{TestClockService, TestClockServiceServer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use crate::wire::timestamp;
use crate::write::database_status;
use crate::{Clock, Refusal, wire};

/// The earliest instant up to the given one at which a service has work to do; any in the past for work that
/// is due now.
pub type NextDue = Arc<
    dyn Fn(DateTime<Utc>) -> BoxFuture<'static, sqlx::Result<Option<DateTime<Utc>>>> + Send + Sync,
>;

struct TestClock {
    clock: Clock,
    next_due: NextDue,
}

/// Serves the test clock until `stop`.
pub async fn serve_test_clock(
    listener: TcpListener,
    clock: Clock,
    next_due: NextDue,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder()
        .add_service(TestClockServiceServer::new(TestClock { clock, next_due }))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop.cancelled_owned())
        .await
}

#[tonic::async_trait]
impl TestClockService for TestClock {
    async fn get_clock(
        &self,
        _: Request<pb::GetClockRequest>,
    ) -> Result<Response<pb::GetClockResponse>, Status> {
        let now = self.now().await?;
        let due = (self.next_due)(now)
            .await
            .map_err(|error| database_status(&error))?;
        Ok(Response::new(pb::GetClockResponse {
            current_time: Some(timestamp(now)),
            idle: due.is_none(),
        }))
    }

    async fn set_clock(
        &self,
        request: Request<pb::SetClockRequest>,
    ) -> Result<Response<pb::SetClockResponse>, Status> {
        let to = instant("current_time", request.into_inner().current_time)?;
        if !self
            .clock
            .set(to)
            .await
            .map_err(|error| database_status(&error))?
        {
            return Err(Refusal::new(Code::FailedPrecondition, "CLOCK_GOES_BACK")
                .into_status("perdiem", "the test clock never goes back".to_owned()));
        }
        Ok(Response::new(pb::SetClockResponse {
            current_time: Some(timestamp(to)),
        }))
    }

    async fn get_next_due(
        &self,
        request: Request<pb::GetNextDueRequest>,
    ) -> Result<Response<pb::GetNextDueResponse>, Status> {
        let until = instant("until_time", request.into_inner().until_time)?;
        let due = (self.next_due)(until)
            .await
            .map_err(|error| database_status(&error))?;
        // What is overdue is due now: whoever moves the clock there does not move it back.
        let now = self.now().await?;
        Ok(Response::new(pb::GetNextDueResponse {
            due_time: due.map(|due| timestamp(due.max(now))),
        }))
    }
}

impl TestClock {
    async fn now(&self) -> Result<DateTime<Utc>, Status> {
        self.clock
            .now()
            .await
            .map_err(|error| database_status(&error))
    }
}

fn instant(field: &str, sent: Option<prost_types::Timestamp>) -> Result<DateTime<Utc>, Status> {
    wire::instant(field, sent).map_err(|fault| {
        Refusal::invalid("INVALID_FIELD")
            .with_fields(&[fault])
            .into_status("perdiem", format!("{field}: expected an instant"))
    })
}
