//! The gRPC interface of account-lifecycle, one file per RPC.

mod ask_refund;
mod authorize;
mod buy_add_on;
mod buy_credits;
mod buy_number;
mod cancel_subscription;
mod check_rate_limit;
mod close_account;
mod commit_order;
mod confirm_order;
mod convert;
mod create_account;
mod create_dlt_registration;
mod create_order;
mod create_resource;
mod create_subaccount;
mod create_ticket;
mod create_user;
mod create_whitelisted_number;
mod customers;
mod delete_resource;
mod delete_user;
mod delete_whitelisted_number;
mod get_account;
mod get_billing_details;
mod get_close_options;
mod get_current_plan;
mod get_deletion_receipt;
mod get_kyc;
mod get_order;
mod get_payout_details;
mod get_resource;
mod get_ticket;
mod get_user;
mod go_live;
mod grant_role;
mod list_account_history;
mod list_accounts;
mod list_audit_entries;
mod list_available_plans;
mod list_closings;
mod list_dlt_registrations;
mod list_kyc_submissions;
mod list_members;
mod list_notifications;
mod list_orders;
mod list_parked_work;
mod list_pending_changes;
mod list_resources;
mod list_tickets;
mod list_users;
mod list_whitelisted_numbers;
mod pay_invoice;
mod pay_renewal;
mod reinstate_account;
mod retry_parked_work;
mod return_to_service;
mod review_kyc;
mod revoke_dlt_registration;
mod revoke_role;
mod send_whitelist_code;
mod set_payout_details;
mod soft_close;
mod submit_kyc;
mod suspend_account;
mod switch_billing_cycle;
mod undo_cancellation;
mod update_billing_details;
mod upgrade;
mod verify_audit;
mod verify_whitelisted_number;
mod watch_accounts;
mod withdraw_change;
mod withdraw_kyc;

use std::pin::Pin;

use chassis::{Caller, internal, listed, saga, write};
use futures::Stream;
use proto::account::v1 as pb;
use proto::account::v1::account_service_server::AccountService;
use tonic::{Request, Response, Status};

use crate::ctx::Ctx;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A read: calls `handle` of the RPC's file with the context, the caller and the message.
macro_rules! read {
    ($self:ident, $request:ident, $file:ident) => {{
        let caller = $request
            .extensions()
            .get::<chassis::Caller>()
            .cloned()
            .ok_or_else(chassis::internal)?;
        Ok(tonic::Response::new(
            $file::handle($self, &caller, $request.into_inner()).await?,
        ))
    }};
}
use read;

/// A list: like a read, with pagination.
macro_rules! list {
    ($self:ident, $request:ident, $file:ident) => {{
        let caller = $request
            .extensions()
            .get::<Caller>()
            .cloned()
            .ok_or_else(internal)?;
        listed($self, $request.into_inner(), |message| {
            $file::handle($self, &caller, message)
        })
        .await
    }};
}

#[tonic::async_trait]
impl AccountService for Ctx {
    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::CreateAccountResponse>, Status> {
        saga(self, request, create_account::handle).await
    }

    async fn create_subaccount(
        &self,
        request: Request<pb::CreateSubaccountRequest>,
    ) -> Result<Response<pb::CreateSubaccountResponse>, Status> {
        saga(self, request, create_subaccount::handle).await
    }

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::GetAccountResponse>, Status> {
        read!(self, request, get_account)
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        list!(self, request, list_accounts)
    }

    async fn create_user(
        &self,
        request: Request<pb::CreateUserRequest>,
    ) -> Result<Response<pb::CreateUserResponse>, Status> {
        write(self, request, create_user::handle).await
    }

    async fn get_user(
        &self,
        request: Request<pb::GetUserRequest>,
    ) -> Result<Response<pb::GetUserResponse>, Status> {
        read!(self, request, get_user)
    }

    async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersResponse>, Status> {
        list!(self, request, list_users)
    }

    async fn grant_role(
        &self,
        request: Request<pb::GrantRoleRequest>,
    ) -> Result<Response<pb::GrantRoleResponse>, Status> {
        saga(self, request, grant_role::handle).await
    }

    async fn revoke_role(
        &self,
        request: Request<pb::RevokeRoleRequest>,
    ) -> Result<Response<pb::RevokeRoleResponse>, Status> {
        saga(self, request, revoke_role::handle).await
    }

    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        list!(self, request, list_members)
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

    async fn create_order(
        &self,
        request: Request<pb::CreateOrderRequest>,
    ) -> Result<Response<pb::CreateOrderResponse>, Status> {
        saga(self, request, create_order::handle).await
    }

    async fn confirm_order(
        &self,
        request: Request<pb::ConfirmOrderRequest>,
    ) -> Result<Response<pb::ConfirmOrderResponse>, Status> {
        self.look_at_catalogue().await;
        write(self, request, confirm_order::handle).await
    }

    async fn commit_order(
        &self,
        request: Request<pb::CommitOrderRequest>,
    ) -> Result<Response<pb::CommitOrderResponse>, Status> {
        self.look_at_catalogue().await;
        write(self, request, commit_order::handle).await
    }

    async fn get_order(
        &self,
        request: Request<pb::GetOrderRequest>,
    ) -> Result<Response<pb::GetOrderResponse>, Status> {
        read!(self, request, get_order)
    }

    async fn list_orders(
        &self,
        request: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        list!(self, request, list_orders)
    }

    async fn create_ticket(
        &self,
        request: Request<pb::CreateTicketRequest>,
    ) -> Result<Response<pb::CreateTicketResponse>, Status> {
        saga(self, request, create_ticket::handle).await
    }

    async fn get_ticket(
        &self,
        request: Request<pb::GetTicketRequest>,
    ) -> Result<Response<pb::GetTicketResponse>, Status> {
        read!(self, request, get_ticket)
    }

    async fn list_tickets(
        &self,
        request: Request<pb::ListTicketsRequest>,
    ) -> Result<Response<pb::ListTicketsResponse>, Status> {
        list!(self, request, list_tickets)
    }

    async fn cancel_subscription(
        &self,
        request: Request<pb::CancelSubscriptionRequest>,
    ) -> Result<Response<pb::CancelSubscriptionResponse>, Status> {
        saga(self, request, cancel_subscription::handle).await
    }

    async fn update_billing_details(
        &self,
        request: Request<pb::UpdateBillingDetailsRequest>,
    ) -> Result<Response<pb::UpdateBillingDetailsResponse>, Status> {
        saga(self, request, update_billing_details::handle).await
    }

    async fn get_billing_details(
        &self,
        request: Request<pb::GetBillingDetailsRequest>,
    ) -> Result<Response<pb::GetBillingDetailsResponse>, Status> {
        read!(self, request, get_billing_details)
    }

    async fn withdraw_change(
        &self,
        request: Request<pb::WithdrawChangeRequest>,
    ) -> Result<Response<pb::WithdrawChangeResponse>, Status> {
        saga(self, request, withdraw_change::handle).await
    }

    async fn undo_cancellation(
        &self,
        request: Request<pb::UndoCancellationRequest>,
    ) -> Result<Response<pb::UndoCancellationResponse>, Status> {
        saga(self, request, undo_cancellation::handle).await
    }

    async fn switch_billing_cycle(
        &self,
        request: Request<pb::SwitchBillingCycleRequest>,
    ) -> Result<Response<pb::SwitchBillingCycleResponse>, Status> {
        saga(self, request, switch_billing_cycle::handle).await
    }

    async fn submit_kyc(
        &self,
        request: Request<pb::SubmitKycRequest>,
    ) -> Result<Response<pb::SubmitKycResponse>, Status> {
        saga(self, request, submit_kyc::handle).await
    }

    async fn review_kyc(
        &self,
        request: Request<pb::ReviewKycRequest>,
    ) -> Result<Response<pb::ReviewKycResponse>, Status> {
        saga(self, request, review_kyc::handle).await
    }

    async fn withdraw_kyc(
        &self,
        request: Request<pb::WithdrawKycRequest>,
    ) -> Result<Response<pb::WithdrawKycResponse>, Status> {
        saga(self, request, withdraw_kyc::handle).await
    }

    async fn list_pending_changes(
        &self,
        request: Request<pb::ListPendingChangesRequest>,
    ) -> Result<Response<pb::ListPendingChangesResponse>, Status> {
        read!(self, request, list_pending_changes)
    }

    async fn get_kyc(
        &self,
        request: Request<pb::GetKycRequest>,
    ) -> Result<Response<pb::GetKycResponse>, Status> {
        read!(self, request, get_kyc)
    }

    async fn list_kyc_submissions(
        &self,
        request: Request<pb::ListKycSubmissionsRequest>,
    ) -> Result<Response<pb::ListKycSubmissionsResponse>, Status> {
        list!(self, request, list_kyc_submissions)
    }

    async fn list_account_history(
        &self,
        request: Request<pb::ListAccountHistoryRequest>,
    ) -> Result<Response<pb::ListAccountHistoryResponse>, Status> {
        list!(self, request, list_account_history)
    }

    async fn close_account(
        &self,
        request: Request<pb::CloseAccountRequest>,
    ) -> Result<Response<pb::CloseAccountResponse>, Status> {
        saga(self, request, close_account::handle).await
    }

    async fn return_to_service(
        &self,
        request: Request<pb::ReturnToServiceRequest>,
    ) -> Result<Response<pb::ReturnToServiceResponse>, Status> {
        saga(self, request, return_to_service::handle).await
    }

    async fn suspend_account(
        &self,
        request: Request<pb::SuspendAccountRequest>,
    ) -> Result<Response<pb::SuspendAccountResponse>, Status> {
        saga(self, request, suspend_account::handle).await
    }

    async fn reinstate_account(
        &self,
        request: Request<pb::ReinstateAccountRequest>,
    ) -> Result<Response<pb::ReinstateAccountResponse>, Status> {
        saga(self, request, reinstate_account::handle).await
    }

    async fn get_close_options(
        &self,
        request: Request<pb::GetCloseOptionsRequest>,
    ) -> Result<Response<pb::GetCloseOptionsResponse>, Status> {
        read!(self, request, get_close_options)
    }

    async fn list_closings(
        &self,
        request: Request<pb::ListClosingsRequest>,
    ) -> Result<Response<pb::ListClosingsResponse>, Status> {
        list!(self, request, list_closings)
    }

    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        read!(self, request, authorize)
    }

    async fn check_rate_limit(
        &self,
        request: Request<pb::CheckRateLimitRequest>,
    ) -> Result<Response<pb::CheckRateLimitResponse>, Status> {
        read!(self, request, check_rate_limit)
    }

    async fn get_resource(
        &self,
        request: Request<pb::GetResourceRequest>,
    ) -> Result<Response<pb::GetResourceResponse>, Status> {
        read!(self, request, get_resource)
    }

    async fn list_resources(
        &self,
        request: Request<pb::ListResourcesRequest>,
    ) -> Result<Response<pb::ListResourcesResponse>, Status> {
        list!(self, request, list_resources)
    }

    async fn list_dlt_registrations(
        &self,
        request: Request<pb::ListDltRegistrationsRequest>,
    ) -> Result<Response<pb::ListDltRegistrationsResponse>, Status> {
        list!(self, request, list_dlt_registrations)
    }

    async fn list_whitelisted_numbers(
        &self,
        request: Request<pb::ListWhitelistedNumbersRequest>,
    ) -> Result<Response<pb::ListWhitelistedNumbersResponse>, Status> {
        list!(self, request, list_whitelisted_numbers)
    }

    async fn list_notifications(
        &self,
        request: Request<pb::ListNotificationsRequest>,
    ) -> Result<Response<pb::ListNotificationsResponse>, Status> {
        list!(self, request, list_notifications)
    }

    async fn create_resource(
        &self,
        request: Request<pb::CreateResourceRequest>,
    ) -> Result<Response<pb::CreateResourceResponse>, Status> {
        saga(self, request, create_resource::handle).await
    }

    async fn delete_resource(
        &self,
        request: Request<pb::DeleteResourceRequest>,
    ) -> Result<Response<pb::DeleteResourceResponse>, Status> {
        saga(self, request, delete_resource::handle).await
    }

    async fn create_dlt_registration(
        &self,
        request: Request<pb::CreateDltRegistrationRequest>,
    ) -> Result<Response<pb::CreateDltRegistrationResponse>, Status> {
        saga(self, request, create_dlt_registration::handle).await
    }

    async fn revoke_dlt_registration(
        &self,
        request: Request<pb::RevokeDltRegistrationRequest>,
    ) -> Result<Response<pb::RevokeDltRegistrationResponse>, Status> {
        saga(self, request, revoke_dlt_registration::handle).await
    }

    async fn create_whitelisted_number(
        &self,
        request: Request<pb::CreateWhitelistedNumberRequest>,
    ) -> Result<Response<pb::CreateWhitelistedNumberResponse>, Status> {
        saga(self, request, create_whitelisted_number::handle).await
    }

    async fn send_whitelist_code(
        &self,
        request: Request<pb::SendWhitelistCodeRequest>,
    ) -> Result<Response<pb::SendWhitelistCodeResponse>, Status> {
        saga(self, request, send_whitelist_code::handle).await
    }

    async fn verify_whitelisted_number(
        &self,
        request: Request<pb::VerifyWhitelistedNumberRequest>,
    ) -> Result<Response<pb::VerifyWhitelistedNumberResponse>, Status> {
        saga(self, request, verify_whitelisted_number::handle).await
    }

    async fn delete_whitelisted_number(
        &self,
        request: Request<pb::DeleteWhitelistedNumberRequest>,
    ) -> Result<Response<pb::DeleteWhitelistedNumberResponse>, Status> {
        saga(self, request, delete_whitelisted_number::handle).await
    }

    async fn go_live(
        &self,
        request: Request<pb::GoLiveRequest>,
    ) -> Result<Response<pb::GoLiveResponse>, Status> {
        saga(self, request, go_live::handle).await
    }

    async fn delete_user(
        &self,
        request: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        write(self, request, delete_user::handle).await
    }

    async fn set_payout_details(
        &self,
        request: Request<pb::SetPayoutDetailsRequest>,
    ) -> Result<Response<pb::SetPayoutDetailsResponse>, Status> {
        saga(self, request, set_payout_details::handle).await
    }

    async fn get_payout_details(
        &self,
        request: Request<pb::GetPayoutDetailsRequest>,
    ) -> Result<Response<pb::GetPayoutDetailsResponse>, Status> {
        read!(self, request, get_payout_details)
    }

    async fn get_deletion_receipt(
        &self,
        request: Request<pb::GetDeletionReceiptRequest>,
    ) -> Result<Response<pb::GetDeletionReceiptResponse>, Status> {
        read!(self, request, get_deletion_receipt)
    }

    async fn list_audit_entries(
        &self,
        request: Request<pb::ListAuditEntriesRequest>,
    ) -> Result<Response<pb::ListAuditEntriesResponse>, Status> {
        list!(self, request, list_audit_entries)
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
        write(self, request, retry_parked_work::handle)
            .await
            .inspect(|_| self.wake.notify_waiters())
    }

    async fn verify_audit(
        &self,
        request: Request<pb::VerifyAuditRequest>,
    ) -> Result<Response<pb::VerifyAuditResponse>, Status> {
        read!(self, request, verify_audit)
    }

    type WatchAccountsStream = Streamed<pb::WatchAccountsResponse>;

    async fn watch_accounts(
        &self,
        request: Request<pb::WatchAccountsRequest>,
    ) -> Result<Response<Self::WatchAccountsStream>, Status> {
        let stream = watch_accounts::handle(self, request.get_ref())?;
        Ok(Response::new(stream))
    }
}
