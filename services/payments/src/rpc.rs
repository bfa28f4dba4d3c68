//! The gRPC interface of payments, one file per RPC.

mod add_payment_method;
mod cancel_charge;
mod convert;
mod create_charge;
mod create_refund;
mod erase_account;
mod get_charge;
mod get_refund;
mod import_catalogue;
mod list_charges;
mod list_disputes;
mod list_eligible_methods;
mod list_parked_work;
mod list_payment_methods;
mod list_refunds;
mod list_webhook_events;
mod open_account;
mod reconcile;
mod remove_payment_method;
mod replay_webhook_event;
mod resolve_movement;
mod retry_parked_work;
mod set_default_payment_method;
mod set_standing;
mod settle_charge;
mod update_account_facts;
mod verify_audit;
mod watch_movements;

use std::pin::Pin;

use chassis::{listed, saga, write};
use futures::Stream;
use proto::payments::v1 as pb;
use proto::payments::v1::payments_service_server::PaymentsService;
use tonic::{Request, Response, Status};

use crate::ctx::Ctx;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A read: calls `handle` of the RPC's file with the context and the message.
macro_rules! read {
    ($self:ident, $request:ident, $file:ident) => {
        Ok(Response::new(
            $file::handle($self, $request.into_inner()).await?,
        ))
    };
}

/// A list: like a read, with pagination.
macro_rules! list {
    ($self:ident, $request:ident, $file:ident) => {
        listed($self, $request.into_inner(), |message| {
            $file::handle($self, message)
        })
        .await
    };
}

/// A write in a single transaction.
macro_rules! write {
    ($self:ident, $request:ident, $file:ident) => {
        write($self, $request, $file::handle)
            .await
            .inspect(|_| $self.wake.notify_waiters())
    };
}

/// A write that calls a provider between its transactions.
macro_rules! saga {
    ($self:ident, $request:ident, $file:ident) => {
        saga($self, $request, $file::handle).await
    };
}

#[tonic::async_trait]
impl PaymentsService for Ctx {
    async fn open_account(
        &self,
        request: Request<pb::OpenAccountRequest>,
    ) -> Result<Response<pb::OpenAccountResponse>, Status> {
        write!(self, request, open_account)
    }

    async fn import_catalogue(
        &self,
        request: Request<pb::ImportCatalogueRequest>,
    ) -> Result<Response<pb::ImportCatalogueResponse>, Status> {
        write(self, request, import_catalogue::handle).await
    }

    async fn update_account_facts(
        &self,
        request: Request<pb::UpdateAccountFactsRequest>,
    ) -> Result<Response<pb::UpdateAccountFactsResponse>, Status> {
        write!(self, request, update_account_facts)
    }

    async fn add_payment_method(
        &self,
        request: Request<pb::AddPaymentMethodRequest>,
    ) -> Result<Response<pb::AddPaymentMethodResponse>, Status> {
        saga!(self, request, add_payment_method)
    }

    async fn list_payment_methods(
        &self,
        request: Request<pb::ListPaymentMethodsRequest>,
    ) -> Result<Response<pb::ListPaymentMethodsResponse>, Status> {
        list!(self, request, list_payment_methods)
    }

    async fn remove_payment_method(
        &self,
        request: Request<pb::RemovePaymentMethodRequest>,
    ) -> Result<Response<pb::RemovePaymentMethodResponse>, Status> {
        write!(self, request, remove_payment_method)
    }

    async fn set_default_payment_method(
        &self,
        request: Request<pb::SetDefaultPaymentMethodRequest>,
    ) -> Result<Response<pb::SetDefaultPaymentMethodResponse>, Status> {
        write!(self, request, set_default_payment_method)
    }

    async fn list_eligible_methods(
        &self,
        request: Request<pb::ListEligibleMethodsRequest>,
    ) -> Result<Response<pb::ListEligibleMethodsResponse>, Status> {
        read!(self, request, list_eligible_methods)
    }

    async fn create_charge(
        &self,
        request: Request<pb::CreateChargeRequest>,
    ) -> Result<Response<pb::CreateChargeResponse>, Status> {
        saga!(self, request, create_charge)
    }

    async fn get_charge(
        &self,
        request: Request<pb::GetChargeRequest>,
    ) -> Result<Response<pb::GetChargeResponse>, Status> {
        read!(self, request, get_charge)
    }

    async fn list_charges(
        &self,
        request: Request<pb::ListChargesRequest>,
    ) -> Result<Response<pb::ListChargesResponse>, Status> {
        list!(self, request, list_charges)
    }

    async fn settle_charge(
        &self,
        request: Request<pb::SettleChargeRequest>,
    ) -> Result<Response<pb::SettleChargeResponse>, Status> {
        write!(self, request, settle_charge)
    }

    async fn cancel_charge(
        &self,
        request: Request<pb::CancelChargeRequest>,
    ) -> Result<Response<pb::CancelChargeResponse>, Status> {
        write!(self, request, cancel_charge)
    }

    async fn create_refund(
        &self,
        request: Request<pb::CreateRefundRequest>,
    ) -> Result<Response<pb::CreateRefundResponse>, Status> {
        saga!(self, request, create_refund)
    }

    async fn get_refund(
        &self,
        request: Request<pb::GetRefundRequest>,
    ) -> Result<Response<pb::GetRefundResponse>, Status> {
        read!(self, request, get_refund)
    }

    async fn list_refunds(
        &self,
        request: Request<pb::ListRefundsRequest>,
    ) -> Result<Response<pb::ListRefundsResponse>, Status> {
        list!(self, request, list_refunds)
    }

    async fn resolve_movement(
        &self,
        request: Request<pb::ResolveMovementRequest>,
    ) -> Result<Response<pb::ResolveMovementResponse>, Status> {
        write!(self, request, resolve_movement)
    }

    async fn reconcile(
        &self,
        request: Request<pb::ReconcileRequest>,
    ) -> Result<Response<pb::ReconcileResponse>, Status> {
        saga!(self, request, reconcile)
    }

    type WatchMovementsStream = Streamed<pb::WatchMovementsResponse>;

    async fn watch_movements(
        &self,
        request: Request<pb::WatchMovementsRequest>,
    ) -> Result<Response<Self::WatchMovementsStream>, Status> {
        Ok(Response::new(watch_movements::handle(
            self,
            request.get_ref(),
        )?))
    }

    async fn list_disputes(
        &self,
        request: Request<pb::ListDisputesRequest>,
    ) -> Result<Response<pb::ListDisputesResponse>, Status> {
        list!(self, request, list_disputes)
    }

    async fn list_webhook_events(
        &self,
        request: Request<pb::ListWebhookEventsRequest>,
    ) -> Result<Response<pb::ListWebhookEventsResponse>, Status> {
        list!(self, request, list_webhook_events)
    }

    async fn replay_webhook_event(
        &self,
        request: Request<pb::ReplayWebhookEventRequest>,
    ) -> Result<Response<pb::ReplayWebhookEventResponse>, Status> {
        saga!(self, request, replay_webhook_event)
    }

    async fn erase_account(
        &self,
        request: Request<pb::EraseAccountRequest>,
    ) -> Result<Response<pb::EraseAccountResponse>, Status> {
        saga!(self, request, erase_account)
    }

    async fn set_standing(
        &self,
        request: Request<pb::SetStandingRequest>,
    ) -> Result<Response<pb::SetStandingResponse>, Status> {
        write!(self, request, set_standing)
    }

    async fn list_parked_work(
        &self,
        request: Request<pb::ListParkedWorkRequest>,
    ) -> Result<Response<pb::ListParkedWorkResponse>, Status> {
        list!(self, request, list_parked_work)
    }

    async fn retry_parked_work(
        &self,
        request: Request<pb::RetryParkedWorkRequest>,
    ) -> Result<Response<pb::RetryParkedWorkResponse>, Status> {
        write!(self, request, retry_parked_work)
    }

    async fn verify_audit(
        &self,
        request: Request<pb::VerifyAuditRequest>,
    ) -> Result<Response<pb::VerifyAuditResponse>, Status> {
        read!(self, request, verify_audit)
    }
}
