//! Disputed charges, as far as their accounts are told of them.

words! {
    /// State of a dispute that an account is told of. An inquiry withholds nothing, and what is closed without a decision
    /// has none to tell.
    State {
        /// The payer disputes the charge.
        Open = "OPEN",
        /// It is decided for us.
        Won = "WON",
        /// It is decided for the payer.
        Lost = "LOST",
    }
}
