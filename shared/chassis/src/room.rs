//! Admission control: a limited number of permits, of which each caller gets at most a share (R28).
//!
//! Persons are many: all of them together leave a quarter to services and operators, on whom the other services and
//! the rescue of this one depend. A permit counts from admission on, also while its call waits for a turn.
//!
//! A [`Permit`] belongs to the work and not to the call: it is returned when the work ends, even if the caller
//! disconnected long before. In addition, the calls of one person or operator take turns, so that they never hold all
//! connections to the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Caller;

/// A limited number of permits.
#[derive(Clone)]
pub struct Room {
    whole: Arc<Semaphore>,
    /// The part of them that all persons together may use.
    persons: Arc<Semaphore>,
    size: usize,
    /// How many calls of one person or operator are worked on at once; further ones wait.
    turns: usize,
    taken: Arc<Mutex<Taken>>,
}

/// Permits in use by each caller, and by each connection of a caller.
type Taken = HashMap<String, Share>;

/// Permits in use by one of them.
#[derive(Debug)]
struct Share {
    places: usize,
    turns: Arc<Semaphore>,
}

/// One permit, returned when dropped.
#[derive(Debug)]
pub struct Permit {
    _whole: OwnedSemaphorePermit,
    _persons: Option<OwnedSemaphorePermit>,
    places: usize,
    taken: Arc<Mutex<Taken>>,
    whose: Vec<String>,
    /// The turns of the person or operator who made the call.
    turns: Option<Arc<Semaphore>>,
    /// The turn that the call has.
    turn: Option<OwnedSemaphorePermit>,
}

/// Why no permit is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All permits are in use, or all that persons may use.
    Whole,
    /// The caller or its connection has used its share.
    Share,
}

impl Room {
    /// Room for `size`.
    pub fn new(size: usize) -> Self {
        Self {
            whole: Arc::new(Semaphore::new(size)),
            persons: Arc::new(Semaphore::new(size - size / 4)),
            size,
            turns: Semaphore::MAX_PERMITS,
            taken: Arc::default(),
        }
    }

    /// The same limit; in addition, this many calls of one person or operator are worked on at once.
    pub fn with_turns(self, turns: usize) -> Self {
        Self {
            turns: turns.max(1),
            ..self
        }
    }

    /// How many permits `caller` may hold across all its connections.
    fn share(&self, caller: &Caller) -> usize {
        let share = match caller {
            Caller::Service { .. } | Caller::Operator { .. } => self.size / 2,
            Caller::Person { .. } => self.size / 8,
        };
        share.max(1)
    }

    /// A permit for a call of `caller` on the connection from `peer`.
    pub fn take(&self, caller: &Caller, peer: Option<String>) -> Result<Permit, Full> {
        self.take_many(1, caller, peer)
    }

    /// A permit for a call that takes the room of several.
    pub fn take_many(
        &self,
        places: usize,
        caller: &Caller,
        peer: Option<String>,
    ) -> Result<Permit, Full> {
        let count = u32::try_from(places).map_err(|_| Full::Share)?;
        let some_of = |of: &Arc<Semaphore>| {
            let taken = of.clone().try_acquire_many_owned(count);
            taken.map_err(|_| Full::Whole)
        };
        let whole = some_of(&self.whole)?;
        let persons = match caller {
            Caller::Person { .. } => Some(some_of(&self.persons)?),
            Caller::Service { .. } | Caller::Operator { .. } => None,
        };
        let share = self.share(caller);
        let whose: Vec<String> = [Some(caller.to_string()), peer]
            .into_iter()
            .flatten()
            .collect();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // One connection may carry several callers, who together get at most half of the permits.
        let most = |index: usize| {
            if index == 0 {
                share
            } else {
                (self.size / 2).max(1)
            }
        };
        let full = whose.iter().enumerate().any(|(index, key)| {
            let held = taken.get(key).map_or(0, |it| it.places);
            most(index) < held + places
        });
        if full {
            return Err(Full::Share);
        }
        for key in &whose {
            let share = taken.entry(key.clone()).or_insert_with(|| Share {
                places: 0,
                turns: Arc::new(Semaphore::new(self.turns)),
            });
            share.places += places;
        }
        let own = whose.first().and_then(|key| taken.get(key));
        let turns = match caller {
            Caller::Person { .. } | Caller::Operator { .. } => own.map(|it| it.turns.clone()),
            Caller::Service { .. } => None,
        };
        drop(taken);
        Ok(Permit {
            _whole: whole,
            _persons: persons,
            places,
            taken: self.taken.clone(),
            whose,
            turns,
            turn: None,
        })
    }
}

impl Permit {
    /// The permit with a turn, once the call may run among those of the same person or operator. Services have no such
    /// limit.
    pub async fn in_turn(mut self) -> Self {
        if let Some(turns) = self.turns.clone() {
            self.turn = turns.acquire_owned().await.ok();
        }
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &self.whose {
            if let Some(share) = taken.get_mut(key) {
                share.places -= self.places;
                if share.places == 0 {
                    taken.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_a_share_and_all_comes_back() {
        let room = Room::new(16);
        let operator = |name: &str| Caller::Operator {
            name: name.to_owned(),
            roles: std::collections::BTreeSet::new(),
        };
        let ann = operator("ann");

        let held: Vec<_> = (0..8).map(|_| room.take(&ann, None).unwrap()).collect();
        assert_eq!(room.take(&ann, None).err(), Some(Full::Share));
        let others: Vec<_> = (0..8).map(|_| room.take(&operator("bob"), None)).collect();
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(room.take(&operator("eve"), None).err(), Some(Full::Whole));

        drop((held, others));
        assert!(room.take(&ann, None).is_ok());
        assert!(room.taken.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn calls_of_one_person_or_operator_take_turns_and_those_of_services_do_not() {
        let room = Room::new(64).with_turns(2);
        let ann = Caller::Person {
            user: values::UserId::from_uuid(uuid::Uuid::nil()),
            authenticated_at: None,
        };
        let auditor = Caller::Operator {
            name: "o".to_owned(),
            roles: std::collections::BTreeSet::from([crate::OperatorRole::Auditor]),
        };
        for caller in [ann, auditor] {
            let permit = || room.take(&caller, None).unwrap();
            let first = permit().in_turn().await;
            let _second = permit().in_turn().await;
            let mut third = std::pin::pin!(permit().in_turn());
            assert!(futures::poll!(&mut third).is_pending());
            drop(first);
            third.await;
        }
        let service = Caller::Service {
            name: crate::ServiceName::Billing,
        };
        let permits = (0..3).map(|_| room.take(&service, None).unwrap().in_turn());
        assert_eq!(futures::future::join_all(permits).await.len(), 3);
    }

    #[test]
    fn all_persons_together_leave_room_for_services() {
        let room = Room::new(64);
        let person = |n: u128| Caller::Person {
            user: values::UserId::from_uuid(uuid::Uuid::from_u128(n)),
            authenticated_at: None,
        };
        let service = Caller::Service {
            name: crate::ServiceName::Billing,
        };
        let held: Vec<_> = (0..64)
            .filter_map(|n| room.take(&person(n / 8), None).ok())
            .collect();
        assert_eq!(held.len(), 48);
        assert_eq!(room.take(&person(9), None).err(), Some(Full::Whole));
        let served: Vec<_> = (0..16).map(|_| room.take(&service, None)).collect();
        assert!(served.iter().all(Result::is_ok));
        drop(held);
        assert!(room.take(&person(9), None).is_ok());
    }

    #[test]
    fn who_takes_much_at_once_has_no_more_than_a_share() {
        let room = Room::new(16);
        let service = Caller::Service {
            name: crate::ServiceName::Usage,
        };
        let held = room.take_many(5, &service, None).unwrap();
        assert_eq!(room.take_many(4, &service, None).err(), Some(Full::Share));
        assert!(room.take_many(3, &service, None).is_ok());
        drop(held);
        assert!(room.take_many(8, &service, None).is_ok());
        assert_eq!(room.take_many(9, &service, None).err(), Some(Full::Share));
    }

    #[test]
    fn a_connection_has_a_share_whoever_calls_on_it() {
        let room = Room::new(16);
        let peer = || Some("127.0.0.1:5000".to_owned());
        let caller = |n: usize| Caller::Operator {
            name: n.to_string(),
            roles: std::collections::BTreeSet::new(),
        };
        let held: Vec<_> = (0..8)
            .map(|n| room.take(&caller(n), peer()).unwrap())
            .collect();
        assert_eq!(room.take(&caller(8), peer()).err(), Some(Full::Share));
        assert!(room.take(&caller(8), None).is_ok());
        drop(held);
    }
}
