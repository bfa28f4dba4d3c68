//! Errors, as the caller's program reads them.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A request turned down, as the caller's program reads it (AIP-193).
///
/// `reason` is part of the API: once released it keeps its spelling and its meaning.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Which of the sixteen gRPC codes.
    pub code: Code,
    /// `UPPER_SNAKE_CASE`, unique within the service.
    pub reason: &'static str,
    /// The values that the message mentions, so that no one parses the message.
    pub metadata: Vec<(&'static str, String)>,
    /// The fields that do not read, each with what would have been accepted.
    pub fields: Vec<FieldError>,
    /// After what time the same request may be sent again.
    pub retry_after: Option<Duration>,
}

/// A field of a request that does not read as what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field's path in the request, such as `events[3].price.amount`.
    pub field: String,
    /// What would have been accepted.
    pub expected: String,
}

/// `field` does not read; `expected` would have.
pub fn field_error(field: impl Into<String>, expected: impl Into<String>) -> FieldError {
    FieldError {
        field: field.into(),
        expected: expected.into(),
    }
}

impl Refusal {
    /// A refusal with this code and reason.
    pub const fn new(code: Code, reason: &'static str) -> Self {
        Self {
            code,
            reason,
            metadata: Vec::new(),
            fields: Vec::new(),
            retry_after: None,
        }
    }

    /// A request that cannot be right, whatever the state.
    pub const fn invalid(reason: &'static str) -> Self {
        Self::new(Code::InvalidArgument, reason)
    }

    /// Adds a value that the message mentions.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers, ids and borrowed texts alike"
    )]
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// Adds fields that do not read.
    #[must_use]
    pub fn with_fields(mut self, fields: &[FieldError]) -> Self {
        self.fields.extend_from_slice(fields);
        self
    }

    /// Says after what time the same request may be sent again.
    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The status sent to the caller; `domain` names the service, `message` is for a developer.
    pub fn into_status(self, domain: &str, message: String) -> Status {
        let metadata: HashMap<_, _> = self
            .metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let mut details = ErrorDetails::with_error_info(self.reason, domain, metadata);
        for FieldError { field, expected } in self.fields {
            details.add_bad_request_violation(field, expected);
        }
        if self.code == Code::FailedPrecondition {
            details.add_precondition_failure_violation(self.reason, domain, message.clone());
        }
        if self.code == Code::ResourceExhausted {
            details.add_quota_failure_violation(domain, message.clone());
        }
        if let Some(after) = self.retry_after {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(self.code, message, details)
    }
}

/// The status of our own fault: it tells the caller nothing, the log has the cause.
pub fn internal() -> Status {
    Status::internal("internal error")
}
