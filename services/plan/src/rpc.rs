//! The gRPC interface of plan, one file per RPC.

mod accept_contract_offer;
mod activate_catalogue;
mod add_add_on;
mod add_contract_member;
mod apply_change;
mod cancel_subscription;
mod check_entitlement;
mod close_account;
mod convert;
mod create_contract;
mod create_contract_offer;
mod end_subscription;
mod erase_account;
mod get_catalogue;
mod get_contract;
mod get_current_plan;
mod get_effective_plan;
mod import_catalogue;
mod list_add_ons;
mod list_available_plans;
mod list_catalogue_versions;
mod list_contract_offers;
mod list_contracts;
mod list_entitlements;
mod list_pending_changes;
mod list_plans;
mod list_segments;
mod open_account;
mod preview_change;
mod remove_add_on;
mod remove_contract_member;
mod set_contract_payer;
mod set_standing;
mod stamp_ticket;
mod stream_billable_segments;
mod switch_billing_cycle;
mod undo_cancellation;
mod verify_audit;
mod watch_timelines;
mod withdraw_change;

use std::pin::Pin;

use chassis::{listed, write};
use futures::Stream;
use proto::plan::v1 as pb;
use proto::plan::v1::plan_service_server::PlanService;
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

#[tonic::async_trait]
impl PlanService for Ctx {
    async fn import_catalogue(
        &self,
        request: Request<pb::ImportCatalogueRequest>,
    ) -> Result<Response<pb::ImportCatalogueResponse>, Status> {
        write(self, request, import_catalogue::handle).await
    }

    async fn activate_catalogue(
        &self,
        request: Request<pb::ActivateCatalogueRequest>,
    ) -> Result<Response<pb::ActivateCatalogueResponse>, Status> {
        write(self, request, activate_catalogue::handle).await
    }

    async fn get_catalogue(
        &self,
        request: Request<pb::GetCatalogueRequest>,
    ) -> Result<Response<pb::GetCatalogueResponse>, Status> {
        read!(self, request, get_catalogue)
    }

    async fn list_catalogue_versions(
        &self,
        request: Request<pb::ListCatalogueVersionsRequest>,
    ) -> Result<Response<pb::ListCatalogueVersionsResponse>, Status> {
        list!(self, request, list_catalogue_versions)
    }

    async fn open_account(
        &self,
        request: Request<pb::OpenAccountRequest>,
    ) -> Result<Response<pb::OpenAccountResponse>, Status> {
        write(self, request, open_account::handle).await
    }

    async fn list_plans(
        &self,
        request: Request<pb::ListPlansRequest>,
    ) -> Result<Response<pb::ListPlansResponse>, Status> {
        read!(self, request, list_plans)
    }

    async fn list_available_plans(
        &self,
        request: Request<pb::ListAvailablePlansRequest>,
    ) -> Result<Response<pb::ListAvailablePlansResponse>, Status> {
        read!(self, request, list_available_plans)
    }

    async fn get_current_plan(
        &self,
        request: Request<pb::GetCurrentPlanRequest>,
    ) -> Result<Response<pb::GetCurrentPlanResponse>, Status> {
        read!(self, request, get_current_plan)
    }

    async fn get_effective_plan(
        &self,
        request: Request<pb::GetEffectivePlanRequest>,
    ) -> Result<Response<pb::GetEffectivePlanResponse>, Status> {
        read!(self, request, get_effective_plan)
    }

    async fn list_segments(
        &self,
        request: Request<pb::ListSegmentsRequest>,
    ) -> Result<Response<pb::ListSegmentsResponse>, Status> {
        read!(self, request, list_segments)
    }

    async fn preview_change(
        &self,
        request: Request<pb::PreviewChangeRequest>,
    ) -> Result<Response<pb::PreviewChangeResponse>, Status> {
        read!(self, request, preview_change)
    }

    async fn apply_change(
        &self,
        request: Request<pb::ApplyChangeRequest>,
    ) -> Result<Response<pb::ApplyChangeResponse>, Status> {
        write(self, request, apply_change::handle).await
    }

    async fn cancel_subscription(
        &self,
        request: Request<pb::CancelSubscriptionRequest>,
    ) -> Result<Response<pb::CancelSubscriptionResponse>, Status> {
        write(self, request, cancel_subscription::handle).await
    }

    async fn create_contract(
        &self,
        request: Request<pb::CreateContractRequest>,
    ) -> Result<Response<pb::CreateContractResponse>, Status> {
        write(self, request, create_contract::handle).await
    }

    async fn add_contract_member(
        &self,
        request: Request<pb::AddContractMemberRequest>,
    ) -> Result<Response<pb::AddContractMemberResponse>, Status> {
        write(self, request, add_contract_member::handle).await
    }

    async fn remove_contract_member(
        &self,
        request: Request<pb::RemoveContractMemberRequest>,
    ) -> Result<Response<pb::RemoveContractMemberResponse>, Status> {
        write(self, request, remove_contract_member::handle).await
    }

    async fn set_contract_payer(
        &self,
        request: Request<pb::SetContractPayerRequest>,
    ) -> Result<Response<pb::SetContractPayerResponse>, Status> {
        write(self, request, set_contract_payer::handle).await
    }

    async fn get_contract(
        &self,
        request: Request<pb::GetContractRequest>,
    ) -> Result<Response<pb::GetContractResponse>, Status> {
        read!(self, request, get_contract)
    }

    async fn list_contracts(
        &self,
        request: Request<pb::ListContractsRequest>,
    ) -> Result<Response<pb::ListContractsResponse>, Status> {
        list!(self, request, list_contracts)
    }

    async fn list_contract_offers(
        &self,
        request: Request<pb::ListContractOffersRequest>,
    ) -> Result<Response<pb::ListContractOffersResponse>, Status> {
        list!(self, request, list_contract_offers)
    }

    async fn check_entitlement(
        &self,
        request: Request<pb::CheckEntitlementRequest>,
    ) -> Result<Response<pb::CheckEntitlementResponse>, Status> {
        read!(self, request, check_entitlement)
    }

    async fn list_entitlements(
        &self,
        request: Request<pb::ListEntitlementsRequest>,
    ) -> Result<Response<pb::ListEntitlementsResponse>, Status> {
        read!(self, request, list_entitlements)
    }

    async fn stamp_ticket(
        &self,
        request: Request<pb::StampTicketRequest>,
    ) -> Result<Response<pb::StampTicketResponse>, Status> {
        write(self, request, stamp_ticket::handle).await
    }

    type StreamBillableSegmentsStream = Streamed<pb::StreamBillableSegmentsResponse>;

    async fn stream_billable_segments(
        &self,
        request: Request<pb::StreamBillableSegmentsRequest>,
    ) -> Result<Response<Self::StreamBillableSegmentsStream>, Status> {
        read!(self, request, stream_billable_segments)
    }

    async fn close_account(
        &self,
        request: Request<pb::CloseAccountRequest>,
    ) -> Result<Response<pb::CloseAccountResponse>, Status> {
        write(self, request, close_account::handle).await
    }

    async fn withdraw_change(
        &self,
        request: Request<pb::WithdrawChangeRequest>,
    ) -> Result<Response<pb::WithdrawChangeResponse>, Status> {
        write(self, request, withdraw_change::handle).await
    }

    async fn undo_cancellation(
        &self,
        request: Request<pb::UndoCancellationRequest>,
    ) -> Result<Response<pb::UndoCancellationResponse>, Status> {
        write(self, request, undo_cancellation::handle).await
    }

    async fn switch_billing_cycle(
        &self,
        request: Request<pb::SwitchBillingCycleRequest>,
    ) -> Result<Response<pb::SwitchBillingCycleResponse>, Status> {
        write(self, request, switch_billing_cycle::handle).await
    }

    async fn end_subscription(
        &self,
        request: Request<pb::EndSubscriptionRequest>,
    ) -> Result<Response<pb::EndSubscriptionResponse>, Status> {
        write(self, request, end_subscription::handle).await
    }

    async fn create_contract_offer(
        &self,
        request: Request<pb::CreateContractOfferRequest>,
    ) -> Result<Response<pb::CreateContractOfferResponse>, Status> {
        write(self, request, create_contract_offer::handle).await
    }

    async fn accept_contract_offer(
        &self,
        request: Request<pb::AcceptContractOfferRequest>,
    ) -> Result<Response<pb::AcceptContractOfferResponse>, Status> {
        write(self, request, accept_contract_offer::handle).await
    }

    async fn list_pending_changes(
        &self,
        request: Request<pb::ListPendingChangesRequest>,
    ) -> Result<Response<pb::ListPendingChangesResponse>, Status> {
        read!(self, request, list_pending_changes)
    }

    type WatchTimelinesStream = Streamed<pb::WatchTimelinesResponse>;

    async fn watch_timelines(
        &self,
        request: Request<pb::WatchTimelinesRequest>,
    ) -> Result<Response<Self::WatchTimelinesStream>, Status> {
        Ok(Response::new(watch_timelines::handle(
            self,
            &request.into_inner(),
        )?))
    }

    async fn erase_account(
        &self,
        request: Request<pb::EraseAccountRequest>,
    ) -> Result<Response<pb::EraseAccountResponse>, Status> {
        write(self, request, erase_account::handle).await
    }

    async fn add_add_on(
        &self,
        request: Request<pb::AddAddOnRequest>,
    ) -> Result<Response<pb::AddAddOnResponse>, Status> {
        write(self, request, add_add_on::handle).await
    }

    async fn remove_add_on(
        &self,
        request: Request<pb::RemoveAddOnRequest>,
    ) -> Result<Response<pb::RemoveAddOnResponse>, Status> {
        write(self, request, remove_add_on::handle).await
    }

    async fn list_add_ons(
        &self,
        request: Request<pb::ListAddOnsRequest>,
    ) -> Result<Response<pb::ListAddOnsResponse>, Status> {
        read!(self, request, list_add_ons)
    }

    async fn set_standing(
        &self,
        request: Request<pb::SetStandingRequest>,
    ) -> Result<Response<pb::SetStandingResponse>, Status> {
        write(self, request, set_standing::handle).await
    }

    async fn verify_audit(
        &self,
        request: Request<pb::VerifyAuditRequest>,
    ) -> Result<Response<pb::VerifyAuditResponse>, Status> {
        read!(self, request, verify_audit)
    }
}
