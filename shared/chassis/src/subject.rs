//! The account that a unit of work concerns, and the permissions that it relied on. Both are stored with the answer,
//! so that the answer can be found by account, and is repeated only to a caller who still has those permissions
//! (REQ-047, D38).

use std::cell::RefCell;

use uuid::Uuid;

use crate::Tenant;

/// What is known so far about the work on a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The root account or the user concerned.
    pub root: Option<Uuid>,
    /// The permissions relied on, each once, in the service's own notation.
    pub asked: Vec<String>,
}

tokio::task_local! {
    static SUBJECT: RefCell<Subject>;
}

impl Subject {
    /// The subject of the running task's work; unset outside a unit of work.
    pub fn current() -> Self {
        SUBJECT
            .try_with(|it| it.borrow().clone())
            .unwrap_or_default()
    }

    /// Runs `work` and records its subject.
    pub async fn scope<T>(work: impl Future<Output = T>) -> T {
        SUBJECT.scope(RefCell::default(), work).await
    }

    /// Records that the work concerns the root account, or the user, `root`.
    pub fn about(root: Uuid) {
        // Outside a unit of work nothing reads it.
        let _ = SUBJECT.try_with(|it| it.borrow_mut().root = Some(root));
    }
}

impl Tenant {
    /// Takes note of whose rows the work is about: for a statement that has entered the tenant by itself.
    pub fn noted(self) {
        match self {
            Self::Root(root) => Subject::about(root),
            Self::All => {}
        }
    }
}

/// Records a permission that the work relied on, in a form that [`crate::Owned::still_allowed`] parses: the stored
/// answer is repeated only while all of them still hold.
pub fn asked(what: String) {
    // Outside a unit of work no answer is stored.
    let _ = SUBJECT.try_with(|it| {
        let mut subject = it.borrow_mut();
        if !subject.asked.contains(&what) {
            subject.asked.push(what);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_knows_the_last_account_entered_and_each_permission_once() {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let found = Subject::scope(async {
            Tenant::Root(first).noted();
            Tenant::Root(second).noted();
            Tenant::All.noted();
            asked("AC1 SEE".to_owned());
            asked("AC1 SEE".to_owned());
            Subject::current()
        });
        let known = Subject {
            root: Some(second),
            asked: vec!["AC1 SEE".to_owned()],
        };
        assert_eq!(found.await, known);
        Subject::about(first);
        assert_eq!(Subject::current(), Subject::default());
    }
}
