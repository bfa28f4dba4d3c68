//! The gRPC face of payments: a table of contents, one file for each RPC.

mod import_catalogue;
mod open_account;

use std::pin::Pin;

use chassis::{not_yet, write};
use futures::Stream;
use proto::payments::v1 as pb;
use proto::payments::v1::payments_service_server::PaymentsService;
use tonic::{Request, Response, Status};

use crate::ctx::Ctx;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PaymentsService for Ctx {
    async fn open_account(
        &self,
        request: Request<pb::OpenAccountRequest>,
    ) -> Result<Response<pb::OpenAccountResponse>, Status> {
        write(self, request, open_account::handle).await
    }

    async fn import_catalogue(
        &self,
        request: Request<pb::ImportCatalogueRequest>,
    ) -> Result<Response<pb::ImportCatalogueResponse>, Status> {
        write(self, request, import_catalogue::handle).await
    }

    // What follows is in the contract and comes with its own issue.

    async fn update_account_facts(
        &self,
        _: Request<pb::UpdateAccountFactsRequest>,
    ) -> Result<Response<pb::UpdateAccountFactsResponse>, Status> {
        Err(not_yet("UpdateAccountFacts"))
    }

    async fn add_payment_method(
        &self,
        _: Request<pb::AddPaymentMethodRequest>,
    ) -> Result<Response<pb::AddPaymentMethodResponse>, Status> {
        Err(not_yet("AddPaymentMethod"))
    }

    async fn list_payment_methods(
        &self,
        _: Request<pb::ListPaymentMethodsRequest>,
    ) -> Result<Response<pb::ListPaymentMethodsResponse>, Status> {
        Err(not_yet("ListPaymentMethods"))
    }

    async fn remove_payment_method(
        &self,
        _: Request<pb::RemovePaymentMethodRequest>,
    ) -> Result<Response<pb::RemovePaymentMethodResponse>, Status> {
        Err(not_yet("RemovePaymentMethod"))
    }

    async fn set_default_payment_method(
        &self,
        _: Request<pb::SetDefaultPaymentMethodRequest>,
    ) -> Result<Response<pb::SetDefaultPaymentMethodResponse>, Status> {
        Err(not_yet("SetDefaultPaymentMethod"))
    }

    async fn list_eligible_methods(
        &self,
        _: Request<pb::ListEligibleMethodsRequest>,
    ) -> Result<Response<pb::ListEligibleMethodsResponse>, Status> {
        Err(not_yet("ListEligibleMethods"))
    }

    async fn create_charge(
        &self,
        _: Request<pb::CreateChargeRequest>,
    ) -> Result<Response<pb::CreateChargeResponse>, Status> {
        Err(not_yet("CreateCharge"))
    }

    async fn get_charge(
        &self,
        _: Request<pb::GetChargeRequest>,
    ) -> Result<Response<pb::GetChargeResponse>, Status> {
        Err(not_yet("GetCharge"))
    }

    async fn list_charges(
        &self,
        _: Request<pb::ListChargesRequest>,
    ) -> Result<Response<pb::ListChargesResponse>, Status> {
        Err(not_yet("ListCharges"))
    }

    async fn settle_charge(
        &self,
        _: Request<pb::SettleChargeRequest>,
    ) -> Result<Response<pb::SettleChargeResponse>, Status> {
        Err(not_yet("SettleCharge"))
    }

    async fn create_refund(
        &self,
        _: Request<pb::CreateRefundRequest>,
    ) -> Result<Response<pb::CreateRefundResponse>, Status> {
        Err(not_yet("CreateRefund"))
    }

    async fn get_refund(
        &self,
        _: Request<pb::GetRefundRequest>,
    ) -> Result<Response<pb::GetRefundResponse>, Status> {
        Err(not_yet("GetRefund"))
    }

    async fn list_refunds(
        &self,
        _: Request<pb::ListRefundsRequest>,
    ) -> Result<Response<pb::ListRefundsResponse>, Status> {
        Err(not_yet("ListRefunds"))
    }

    async fn resolve_movement(
        &self,
        _: Request<pb::ResolveMovementRequest>,
    ) -> Result<Response<pb::ResolveMovementResponse>, Status> {
        Err(not_yet("ResolveMovement"))
    }

    async fn list_disputes(
        &self,
        _: Request<pb::ListDisputesRequest>,
    ) -> Result<Response<pb::ListDisputesResponse>, Status> {
        Err(not_yet("ListDisputes"))
    }

    async fn list_webhook_events(
        &self,
        _: Request<pb::ListWebhookEventsRequest>,
    ) -> Result<Response<pb::ListWebhookEventsResponse>, Status> {
        Err(not_yet("ListWebhookEvents"))
    }

    async fn replay_webhook_event(
        &self,
        _: Request<pb::ReplayWebhookEventRequest>,
    ) -> Result<Response<pb::ReplayWebhookEventResponse>, Status> {
        Err(not_yet("ReplayWebhookEvent"))
    }

    async fn reconcile(
        &self,
        _: Request<pb::ReconcileRequest>,
    ) -> Result<Response<pb::ReconcileResponse>, Status> {
        Err(not_yet("Reconcile"))
    }

    type WatchMovementsStream = Streamed<pb::WatchMovementsResponse>;

    async fn watch_movements(
        &self,
        _: Request<pb::WatchMovementsRequest>,
    ) -> Result<Response<Self::WatchMovementsStream>, Status> {
        Err(not_yet("WatchMovements"))
    }

    async fn erase_account(
        &self,
        _: Request<pb::EraseAccountRequest>,
    ) -> Result<Response<pb::EraseAccountResponse>, Status> {
        Err(not_yet("EraseAccount"))
    }

    async fn verify_audit(
        &self,
        _: Request<pb::VerifyAuditRequest>,
    ) -> Result<Response<pb::VerifyAuditResponse>, Status> {
        Err(not_yet("VerifyAudit"))
    }
}
