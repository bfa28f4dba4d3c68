//! Events of an account that its followers are told.

words! {
    /// What an event is about.
    Kind {
        /// The balance has crossed a threshold.
        BalanceCrossed = "BALANCE_CROSSED",
        /// The charge of a renewal failed.
        RenewalFailed = "RENEWAL_FAILED",
        /// An open invoice was issued, or its payment failed.
        OpenInvoice = "OPEN_INVOICE",
        /// A payment of an open invoice was received.
        PaymentReceived = "PAYMENT_RECEIVED",
        /// A charge is disputed, or its dispute was decided.
        Dispute = "DISPUTE",
        /// Auto-recharge was switched off.
        AutoRechargeDisabled = "AUTO_RECHARGE_DISABLED",
        /// Auto-recharge pauses for a while.
        AutoRechargePaused = "AUTO_RECHARGE_PAUSED",
    }
}
