//! The states of a request in the sandbox provider's book.

/// State of a request in the sandbox provider's book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Got lost on its way: the book does not show it until it is repeated.
    Lost,
    /// Accepted; decided later.
    Pending,
    /// The money has moved. Terminal.
    Succeeded,
    /// Refused. Terminal.
    Declined,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Lost, Self::Pending, Self::Succeeded, Self::Declined];

    /// Name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "LOST",
            Self::Pending => "PENDING",
            Self::Succeeded => "SUCCEEDED",
            Self::Declined => "DECLINED",
        }
    }
}
