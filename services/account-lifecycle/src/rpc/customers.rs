//! The gRPC interface for people's own money, plans and payment methods (D29), one file per RPC.
//!
//! A method checks the person's roles and then calls the service that owns the data by its public RPC. A change carries
//! a request id derived from that of the person, so that a retry is the same intent there too.

mod accept_offer;
mod add_payment_method;
mod cancel_order;
mod confirm_email;
mod get_auto_recharge;
mod get_balance;
mod get_invoice;
mod get_refund;
mod get_statement;
mod get_subscription;
mod list_credit_notes;
mod list_eligible_methods;
mod list_entitlements;
mod list_invoices;
mod list_offers;
mod list_payment_methods;
mod list_plan_history;
mod list_refunds;
mod list_usage;
mod preview_invoice;
mod remove_payment_method;
mod render_invoice;
mod set_auto_recharge;
mod set_default_payment_method;
mod summarize_usage;
mod update_user;

use chassis::{Call, Caller, Unit, saga, wire, write};
use proto::Mutation;
use proto::account::v1 as pb;
use proto::account::v1::customer_service_server::CustomerService;
use tonic::{Request, Response, Status};
use values::AccountId;

use super::read;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::accounts::Account;

#[tonic::async_trait]
impl CustomerService for Ctx {
    async fn get_balance(
        &self,
        request: Request<pb::GetBalanceRequest>,
    ) -> Result<Response<pb::GetBalanceResponse>, Status> {
        read!(self, request, get_balance)
    }

    async fn get_statement(
        &self,
        request: Request<pb::GetStatementRequest>,
    ) -> Result<Response<pb::GetStatementResponse>, Status> {
        read!(self, request, get_statement)
    }

    async fn list_invoices(
        &self,
        request: Request<pb::ListInvoicesRequest>,
    ) -> Result<Response<pb::ListInvoicesResponse>, Status> {
        read!(self, request, list_invoices)
    }

    async fn get_invoice(
        &self,
        request: Request<pb::GetInvoiceRequest>,
    ) -> Result<Response<pb::GetInvoiceResponse>, Status> {
        read!(self, request, get_invoice)
    }

    async fn render_invoice(
        &self,
        request: Request<pb::RenderInvoiceRequest>,
    ) -> Result<Response<pb::RenderInvoiceResponse>, Status> {
        read!(self, request, render_invoice)
    }

    async fn preview_invoice(
        &self,
        request: Request<pb::PreviewInvoiceRequest>,
    ) -> Result<Response<pb::PreviewInvoiceResponse>, Status> {
        read!(self, request, preview_invoice)
    }

    async fn list_credit_notes(
        &self,
        request: Request<pb::ListCreditNotesRequest>,
    ) -> Result<Response<pb::ListCreditNotesResponse>, Status> {
        read!(self, request, list_credit_notes)
    }

    async fn summarize_usage(
        &self,
        request: Request<pb::SummarizeUsageRequest>,
    ) -> Result<Response<pb::SummarizeUsageResponse>, Status> {
        read!(self, request, summarize_usage)
    }

    async fn list_usage(
        &self,
        request: Request<pb::ListUsageRequest>,
    ) -> Result<Response<pb::ListUsageResponse>, Status> {
        read!(self, request, list_usage)
    }

    async fn list_plan_history(
        &self,
        request: Request<pb::ListPlanHistoryRequest>,
    ) -> Result<Response<pb::ListPlanHistoryResponse>, Status> {
        read!(self, request, list_plan_history)
    }

    async fn get_subscription(
        &self,
        request: Request<pb::GetSubscriptionRequest>,
    ) -> Result<Response<pb::GetSubscriptionResponse>, Status> {
        read!(self, request, get_subscription)
    }

    async fn list_entitlements(
        &self,
        request: Request<pb::ListEntitlementsRequest>,
    ) -> Result<Response<pb::ListEntitlementsResponse>, Status> {
        read!(self, request, list_entitlements)
    }

    async fn list_offers(
        &self,
        request: Request<pb::ListOffersRequest>,
    ) -> Result<Response<pb::ListOffersResponse>, Status> {
        read!(self, request, list_offers)
    }

    async fn accept_offer(
        &self,
        request: Request<pb::AcceptOfferRequest>,
    ) -> Result<Response<pb::AcceptOfferResponse>, Status> {
        saga(self, request, accept_offer::handle).await
    }

    async fn list_eligible_methods(
        &self,
        request: Request<pb::ListEligibleMethodsRequest>,
    ) -> Result<Response<pb::ListEligibleMethodsResponse>, Status> {
        read!(self, request, list_eligible_methods)
    }

    async fn add_payment_method(
        &self,
        request: Request<pb::AddPaymentMethodRequest>,
    ) -> Result<Response<pb::AddPaymentMethodResponse>, Status> {
        saga(self, request, add_payment_method::handle).await
    }

    async fn list_payment_methods(
        &self,
        request: Request<pb::ListPaymentMethodsRequest>,
    ) -> Result<Response<pb::ListPaymentMethodsResponse>, Status> {
        read!(self, request, list_payment_methods)
    }

    async fn remove_payment_method(
        &self,
        request: Request<pb::RemovePaymentMethodRequest>,
    ) -> Result<Response<pb::RemovePaymentMethodResponse>, Status> {
        saga(self, request, remove_payment_method::handle).await
    }

    async fn set_default_payment_method(
        &self,
        request: Request<pb::SetDefaultPaymentMethodRequest>,
    ) -> Result<Response<pb::SetDefaultPaymentMethodResponse>, Status> {
        saga(self, request, set_default_payment_method::handle).await
    }

    async fn get_auto_recharge(
        &self,
        request: Request<pb::GetAutoRechargeRequest>,
    ) -> Result<Response<pb::GetAutoRechargeResponse>, Status> {
        read!(self, request, get_auto_recharge)
    }

    async fn set_auto_recharge(
        &self,
        request: Request<pb::SetAutoRechargeRequest>,
    ) -> Result<Response<pb::SetAutoRechargeResponse>, Status> {
        saga(self, request, set_auto_recharge::handle).await
    }

    async fn list_refunds(
        &self,
        request: Request<pb::ListRefundsRequest>,
    ) -> Result<Response<pb::ListRefundsResponse>, Status> {
        read!(self, request, list_refunds)
    }

    async fn get_refund(
        &self,
        request: Request<pb::GetRefundRequest>,
    ) -> Result<Response<pb::GetRefundResponse>, Status> {
        read!(self, request, get_refund)
    }

    async fn cancel_order(
        &self,
        request: Request<pb::CancelOrderRequest>,
    ) -> Result<Response<pb::CancelOrderResponse>, Status> {
        self.look_at_catalogue().await;
        saga(self, request, cancel_order::handle).await
    }

    async fn update_user(
        &self,
        request: Request<pb::UpdateUserRequest>,
    ) -> Result<Response<pb::UpdateUserResponse>, Status> {
        write(self, request, update_user::handle).await
    }

    async fn confirm_email(
        &self,
        request: Request<pb::ConfirmEmailRequest>,
    ) -> Result<Response<pb::ConfirmEmailResponse>, Status> {
        write(self, request, confirm_email::handle).await
    }
}

/// The id of an account, if the caller has any role in it.
async fn member(ctx: &Ctx, caller: &Caller, account_id: &str) -> Result<String, Error> {
    let id: AccountId = wire::id("account_id", account_id)?;
    permit::allowed(ctx, caller, id, Action::See).await?;
    Ok(id.to_string())
}

/// The id of a root account, if the caller's roles in it let them see its money.
async fn payer(ctx: &Ctx, caller: &Caller, account_id: &str) -> Result<String, Error> {
    let id: AccountId = wire::id("account_id", account_id)?;
    let account = permit::allowed(ctx, caller, id, Action::SeeMoney).await?;
    root(&account)
}

/// The id of a root account; a subaccount is refused.
fn root(account: &Account) -> Result<String, Error> {
    let id = AccountId::from_uuid(account.account_id);
    if account.root_id == account.account_id {
        return Ok(id.to_string());
    }
    Err(Error::UseRootAccount {
        account: id,
        root: AccountId::from_uuid(account.root_id),
    })
}

/// What identifies a change in a call to the service that owns the data.
struct Passed {
    /// The root account.
    account_id: String,
    /// The request id, the same on every retry.
    request_id: String,
}

/// Checks that the caller may do `action` and that the method is open to the root account in its present state.
async fn passed<M: Mutation>(ctx: &Ctx, call: &Call<M>, action: Action) -> Result<Passed, Error> {
    let id: AccountId = wire::id("account_id", call.message.account_scope())?;
    let account = permit::acting(ctx, call, id, action).await?;
    Ok(Passed {
        account_id: root(&account)?,
        request_id: call.derived_id("passed on").to_string(),
    })
}

/// Stores the answer of the service that owns the data as the answer of this request.
async fn answered<M, R: prost::Message>(ctx: &Ctx, call: &Call<M>, answer: R) -> Result<R, Error> {
    let unit: Unit = call.step::<Error>(&ctx.db).await?;
    Ok(unit.commit(answer).await?)
}
