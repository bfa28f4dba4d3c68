//! The gRPC interface of billing: a table of contents with one file per RPC.

mod abort_closing;
mod approve_billing_run;
mod cancel_billing_run;
mod cancel_collection;
mod collect_order;
mod collect_renewal;
mod compare_billing_runs;
mod convert;
mod count_open_refunds;
mod create_billing_run;
mod create_credit_note;
mod end_rental;
mod erase_account;
mod get_auto_recharge;
mod get_balance;
mod get_billing_run;
mod get_collection;
mod get_invoice;
mod get_statement;
mod get_subscription;
mod grant_credit;
mod halt_billing_run;
mod list_billing_runs;
mod list_credit_notes;
mod list_entries;
mod list_invoices;
mod list_parked_accounts;
mod list_parked_work;
mod list_rentals;
mod list_run_outcomes;
mod list_unposted_events;
mod list_usage;
mod mark_invoice_uncollectible;
mod open_account;
mod particulars;
mod prepare_closing;
mod preview_collection;
mod preview_invoice;
mod reconcile;
mod record_closing;
mod record_invoice_payment;
mod record_usage;
mod release_parked_account;
mod render_invoice;
mod request_refund;
mod resume_billing_run;
mod retry_parked_work;
mod retry_unposted_event;
mod set_auto_recharge;
mod set_standing;
mod settle_closing;
mod start_rental;
mod stream_usage;
mod summarize_usage;
mod update_account_facts;
mod verify_audit;
mod void_credit;
mod void_invoice;
mod watch_balances;
mod watch_billing_run;

use std::pin::Pin;

use chassis::{listed, saga, write};
use futures::Stream;
use proto::billing::v1 as pb;
use proto::billing::v1::billing_service_server::BillingService;
use tonic::{Request, Response, Status, Streaming};

use crate::ctx::Ctx;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A read method: calls its file's `handle` with context and message.
macro_rules! read {
    ($self:ident, $request:ident, $file:ident) => {
        Ok(Response::new(
            $file::handle($self, $request.into_inner()).await?,
        ))
    };
}

/// A list method: a read method with pages.
macro_rules! list {
    ($self:ident, $request:ident, $file:ident) => {
        listed($self, $request.into_inner(), |message| {
            $file::handle($self, message)
        })
        .await
    };
}

#[tonic::async_trait]
impl BillingService for Ctx {
    async fn open_account(
        &self,
        request: Request<pb::OpenAccountRequest>,
    ) -> Result<Response<pb::OpenAccountResponse>, Status> {
        let catalogue = self.active_catalogue().await?;
        write(self, request, move |ctx, call, unit| {
            open_account::handle(ctx, call, unit, catalogue.clone())
        })
        .await
    }

    async fn update_account_facts(
        &self,
        request: Request<pb::UpdateAccountFactsRequest>,
    ) -> Result<Response<pb::UpdateAccountFactsResponse>, Status> {
        let catalogue = self.active_catalogue().await?;
        write(self, request, move |ctx, call, unit| {
            update_account_facts::handle(ctx, call, unit, catalogue.clone())
        })
        .await
    }

    async fn record_usage(
        &self,
        request: Request<pb::RecordUsageRequest>,
    ) -> Result<Response<pb::RecordUsageResponse>, Status> {
        read!(self, request, record_usage)
    }

    async fn stream_usage(
        &self,
        request: Request<Streaming<pb::StreamUsageRequest>>,
    ) -> Result<Response<pb::StreamUsageResponse>, Status> {
        read!(self, request, stream_usage)
    }

    async fn list_usage(
        &self,
        request: Request<pb::ListUsageRequest>,
    ) -> Result<Response<pb::ListUsageResponse>, Status> {
        list!(self, request, list_usage)
    }

    async fn summarize_usage(
        &self,
        request: Request<pb::SummarizeUsageRequest>,
    ) -> Result<Response<pb::SummarizeUsageResponse>, Status> {
        read!(self, request, summarize_usage)
    }

    async fn get_balance(
        &self,
        request: Request<pb::GetBalanceRequest>,
    ) -> Result<Response<pb::GetBalanceResponse>, Status> {
        read!(self, request, get_balance)
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        list!(self, request, list_entries)
    }

    async fn get_statement(
        &self,
        request: Request<pb::GetStatementRequest>,
    ) -> Result<Response<pb::GetStatementResponse>, Status> {
        read!(self, request, get_statement)
    }

    async fn grant_credit(
        &self,
        request: Request<pb::GrantCreditRequest>,
    ) -> Result<Response<pb::GrantCreditResponse>, Status> {
        let catalogue = self.active_catalogue().await?;
        write(self, request, move |ctx, call, unit| {
            grant_credit::handle(ctx, call, unit, catalogue.clone())
        })
        .await
    }

    async fn void_credit(
        &self,
        request: Request<pb::VoidCreditRequest>,
    ) -> Result<Response<pb::VoidCreditResponse>, Status> {
        let catalogue = self.active_catalogue().await?;
        write(self, request, move |ctx, call, unit| {
            void_credit::handle(ctx, call, unit, catalogue.clone())
        })
        .await
    }

    async fn reconcile(
        &self,
        request: Request<pb::ReconcileRequest>,
    ) -> Result<Response<pb::ReconcileResponse>, Status> {
        read!(self, request, reconcile)
    }

    async fn list_unposted_events(
        &self,
        request: Request<pb::ListUnpostedEventsRequest>,
    ) -> Result<Response<pb::ListUnpostedEventsResponse>, Status> {
        list!(self, request, list_unposted_events)
    }

    async fn retry_unposted_event(
        &self,
        request: Request<pb::RetryUnpostedEventRequest>,
    ) -> Result<Response<pb::RetryUnpostedEventResponse>, Status> {
        saga(self, request, retry_unposted_event::handle).await
    }

    async fn preview_invoice(
        &self,
        request: Request<pb::PreviewInvoiceRequest>,
    ) -> Result<Response<pb::PreviewInvoiceResponse>, Status> {
        read!(self, request, preview_invoice)
    }

    async fn get_invoice(
        &self,
        request: Request<pb::GetInvoiceRequest>,
    ) -> Result<Response<pb::GetInvoiceResponse>, Status> {
        read!(self, request, get_invoice)
    }

    async fn list_invoices(
        &self,
        request: Request<pb::ListInvoicesRequest>,
    ) -> Result<Response<pb::ListInvoicesResponse>, Status> {
        list!(self, request, list_invoices)
    }

    async fn void_invoice(
        &self,
        request: Request<pb::VoidInvoiceRequest>,
    ) -> Result<Response<pb::VoidInvoiceResponse>, Status> {
        write(self, request, void_invoice::handle).await
    }

    async fn mark_invoice_uncollectible(
        &self,
        request: Request<pb::MarkInvoiceUncollectibleRequest>,
    ) -> Result<Response<pb::MarkInvoiceUncollectibleResponse>, Status> {
        write(self, request, mark_invoice_uncollectible::handle).await
    }

    async fn create_billing_run(
        &self,
        request: Request<pb::CreateBillingRunRequest>,
    ) -> Result<Response<pb::CreateBillingRunResponse>, Status> {
        let catalogue = self.active_catalogue().await?;
        write(self, request, move |ctx, call, unit| {
            create_billing_run::handle(ctx, call, unit, catalogue.clone())
        })
        .await
        .inspect(|_| self.wake.notify_waiters())
    }

    async fn get_billing_run(
        &self,
        request: Request<pb::GetBillingRunRequest>,
    ) -> Result<Response<pb::GetBillingRunResponse>, Status> {
        read!(self, request, get_billing_run)
    }

    async fn list_billing_runs(
        &self,
        request: Request<pb::ListBillingRunsRequest>,
    ) -> Result<Response<pb::ListBillingRunsResponse>, Status> {
        list!(self, request, list_billing_runs)
    }

    type WatchBillingRunStream = Streamed<pb::WatchBillingRunResponse>;

    async fn watch_billing_run(
        &self,
        request: Request<pb::WatchBillingRunRequest>,
    ) -> Result<Response<Self::WatchBillingRunStream>, Status> {
        read!(self, request, watch_billing_run)
    }

    async fn approve_billing_run(
        &self,
        request: Request<pb::ApproveBillingRunRequest>,
    ) -> Result<Response<pb::ApproveBillingRunResponse>, Status> {
        write(self, request, approve_billing_run::handle)
            .await
            .inspect(|_| self.wake.notify_waiters())
    }

    async fn resume_billing_run(
        &self,
        request: Request<pb::ResumeBillingRunRequest>,
    ) -> Result<Response<pb::ResumeBillingRunResponse>, Status> {
        write(self, request, resume_billing_run::handle)
            .await
            .inspect(|_| self.wake.notify_waiters())
    }

    async fn halt_billing_run(
        &self,
        request: Request<pb::HaltBillingRunRequest>,
    ) -> Result<Response<pb::HaltBillingRunResponse>, Status> {
        write(self, request, halt_billing_run::handle).await
    }

    async fn cancel_billing_run(
        &self,
        request: Request<pb::CancelBillingRunRequest>,
    ) -> Result<Response<pb::CancelBillingRunResponse>, Status> {
        write(self, request, cancel_billing_run::handle)
            .await
            .inspect(|_| self.wake.notify_waiters())
    }

    async fn list_run_outcomes(
        &self,
        request: Request<pb::ListRunOutcomesRequest>,
    ) -> Result<Response<pb::ListRunOutcomesResponse>, Status> {
        list!(self, request, list_run_outcomes)
    }

    async fn list_parked_accounts(
        &self,
        request: Request<pb::ListParkedAccountsRequest>,
    ) -> Result<Response<pb::ListParkedAccountsResponse>, Status> {
        list!(self, request, list_parked_accounts)
    }

    async fn release_parked_account(
        &self,
        request: Request<pb::ReleaseParkedAccountRequest>,
    ) -> Result<Response<pb::ReleaseParkedAccountResponse>, Status> {
        let ready = release_parked_account::prepare(self, request.get_ref()).await?;
        write(self, request, move |ctx, call, unit| {
            release_parked_account::handle(ctx, call, unit, ready.clone())
        })
        .await
    }

    async fn compare_billing_runs(
        &self,
        request: Request<pb::CompareBillingRunsRequest>,
    ) -> Result<Response<pb::CompareBillingRunsResponse>, Status> {
        read!(self, request, compare_billing_runs)
    }

    async fn render_invoice(
        &self,
        request: Request<pb::RenderInvoiceRequest>,
    ) -> Result<Response<pb::RenderInvoiceResponse>, Status> {
        read!(self, request, render_invoice)
    }

    async fn record_invoice_payment(
        &self,
        request: Request<pb::RecordInvoicePaymentRequest>,
    ) -> Result<Response<pb::RecordInvoicePaymentResponse>, Status> {
        let catalogue = self.active_catalogue().await?;
        write(self, request, move |ctx, call, unit| {
            record_invoice_payment::handle(ctx, call, unit, catalogue.clone())
        })
        .await
        .inspect(|_| self.wake.notify_waiters())
    }

    async fn create_credit_note(
        &self,
        request: Request<pb::CreateCreditNoteRequest>,
    ) -> Result<Response<pb::CreateCreditNoteResponse>, Status> {
        let catalogue = self.active_catalogue().await?;
        write(self, request, move |ctx, call, unit| {
            create_credit_note::handle(ctx, call, unit, catalogue.clone())
        })
        .await
    }

    async fn list_credit_notes(
        &self,
        request: Request<pb::ListCreditNotesRequest>,
    ) -> Result<Response<pb::ListCreditNotesResponse>, Status> {
        list!(self, request, list_credit_notes)
    }

    async fn preview_collection(
        &self,
        request: Request<pb::PreviewCollectionRequest>,
    ) -> Result<Response<pb::PreviewCollectionResponse>, Status> {
        read!(self, request, preview_collection)
    }

    async fn collect_order(
        &self,
        request: Request<pb::CollectOrderRequest>,
    ) -> Result<Response<pb::CollectOrderResponse>, Status> {
        saga(self, request, collect_order::handle).await
    }

    async fn get_collection(
        &self,
        request: Request<pb::GetCollectionRequest>,
    ) -> Result<Response<pb::GetCollectionResponse>, Status> {
        read!(self, request, get_collection)
    }

    async fn get_subscription(
        &self,
        request: Request<pb::GetSubscriptionRequest>,
    ) -> Result<Response<pb::GetSubscriptionResponse>, Status> {
        read!(self, request, get_subscription)
    }

    async fn set_auto_recharge(
        &self,
        request: Request<pb::SetAutoRechargeRequest>,
    ) -> Result<Response<pb::SetAutoRechargeResponse>, Status> {
        saga(self, request, set_auto_recharge::handle).await
    }

    async fn get_auto_recharge(
        &self,
        request: Request<pb::GetAutoRechargeRequest>,
    ) -> Result<Response<pb::GetAutoRechargeResponse>, Status> {
        read!(self, request, get_auto_recharge)
    }

    async fn request_refund(
        &self,
        request: Request<pb::RequestRefundRequest>,
    ) -> Result<Response<pb::RequestRefundResponse>, Status> {
        saga(self, request, request_refund::handle).await
    }

    type WatchBalancesStream = Streamed<pb::WatchBalancesResponse>;

    async fn watch_balances(
        &self,
        request: Request<pb::WatchBalancesRequest>,
    ) -> Result<Response<Self::WatchBalancesStream>, Status> {
        let stream = watch_balances::handle(self, request.get_ref())?;
        Ok(Response::new(stream))
    }

    async fn prepare_closing(
        &self,
        request: Request<pb::PrepareClosingRequest>,
    ) -> Result<Response<pb::PrepareClosingResponse>, Status> {
        saga(self, request, prepare_closing::handle).await
    }

    async fn record_closing(
        &self,
        request: Request<pb::RecordClosingRequest>,
    ) -> Result<Response<pb::RecordClosingResponse>, Status> {
        saga(self, request, record_closing::handle).await
    }

    async fn settle_closing(
        &self,
        request: Request<pb::SettleClosingRequest>,
    ) -> Result<Response<pb::SettleClosingResponse>, Status> {
        saga(self, request, settle_closing::handle).await
    }

    async fn count_open_refunds(
        &self,
        request: Request<pb::CountOpenRefundsRequest>,
    ) -> Result<Response<pb::CountOpenRefundsResponse>, Status> {
        read!(self, request, count_open_refunds)
    }

    async fn abort_closing(
        &self,
        request: Request<pb::AbortClosingRequest>,
    ) -> Result<Response<pb::AbortClosingResponse>, Status> {
        saga(self, request, abort_closing::handle).await
    }

    async fn erase_account(
        &self,
        request: Request<pb::EraseAccountRequest>,
    ) -> Result<Response<pb::EraseAccountResponse>, Status> {
        saga(self, request, erase_account::handle).await
    }

    async fn set_standing(
        &self,
        request: Request<pb::SetStandingRequest>,
    ) -> Result<Response<pb::SetStandingResponse>, Status> {
        write(self, request, set_standing::handle).await
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

    async fn start_rental(
        &self,
        request: Request<pb::StartRentalRequest>,
    ) -> Result<Response<pb::StartRentalResponse>, Status> {
        let catalogue = self.active_catalogue().await?;
        write(self, request, move |ctx, call, unit| {
            start_rental::handle(ctx, call, unit, catalogue.clone())
        })
        .await
    }

    async fn end_rental(
        &self,
        request: Request<pb::EndRentalRequest>,
    ) -> Result<Response<pb::EndRentalResponse>, Status> {
        write(self, request, end_rental::handle).await
    }

    async fn list_rentals(
        &self,
        request: Request<pb::ListRentalsRequest>,
    ) -> Result<Response<pb::ListRentalsResponse>, Status> {
        list!(self, request, list_rentals)
    }

    async fn cancel_collection(
        &self,
        request: Request<pb::CancelCollectionRequest>,
    ) -> Result<Response<pb::CancelCollectionResponse>, Status> {
        saga(self, request, cancel_collection::handle).await
    }

    async fn collect_renewal(
        &self,
        request: Request<pb::CollectRenewalRequest>,
    ) -> Result<Response<pb::CollectRenewalResponse>, Status> {
        saga(self, request, collect_renewal::handle).await
    }
}
