//! What goes wrong: services are killed and frozen, the database crashes, connections are cut, delayed and swallowed;
//! and the time, which goes on beside it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use perdiem::suite::{SERVICES, Suite};
use tests::victim::Random;

use crate::World;
use crate::proxy::Edge;

/// How the time is moved: by so much each time.
const TICK: chrono::TimeDelta = chrono::TimeDelta::minutes(1);
/// How often.
const TICK_EVERY: Duration = Duration::from_secs(2);
/// How long all clocks together may take to be set.
const SET: Duration = Duration::from_secs(5);
/// How long after the campaign the clocks may take at most.
const SET_WITHIN: Duration = Duration::from_mins(1);
/// The seconds that the least numbers are for.
const LEAST_SECONDS: u64 = 240;

/// How often something was done.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Once more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was done to the suite.
#[derive(Debug, Default)]
pub struct Done {
    /// Services that were killed.
    pub kills: Count,
    /// Services that were frozen for longer than a lease.
    pub pauses: Count,
    /// Crashes of the database.
    pub crashes: Count,
    /// Edges on which connections were cut.
    pub cuts: Count,
    /// Edges that passed on late for a while.
    pub delays: Count,
    /// Edges that swallowed everything for a while.
    pub silences: Count,
}

/// What a campaign of `seconds` does at least, of what it does `least` in four minutes.
pub const fn scaled(least: u64, seconds: u64) -> u64 {
    least * seconds / LEAST_SECONDS
}

/// Kills in four minutes, at least.
pub const KILLS: u64 = 100;
/// Pauses in four minutes, at least.
pub const PAUSES: u64 = 20;
/// Crashes of the database in four minutes, at least.
pub const CRASHES: u64 = 5;
/// Cuts in four minutes, at least.
pub const CUTS: u64 = 200;

/// Kills and freezes services and crashes the database, one after another, until the campaign ends.
pub async fn processes(world: &World, mut random: Random) {
    let begun = Instant::now();
    while !world.is_over() {
        // A quarter more than is asked for, so that a slow moment is made up.
        let lags = |count: &Count, least: u64| {
            let goal = u128::from(scaled(least * 5 / 4, world.seconds));
            u128::from(count.get()) * u128::from(world.seconds) * 1_000
                < goal * begun.elapsed().as_millis()
        };
        let done = &world.done;
        let mut suite = world.suite.lock().await;
        if lags(&done.crashes, CRASHES) {
            crash(world, &mut suite).await;
        } else if lags(&done.pauses, PAUSES) {
            pause(world, &mut suite, &mut random).await;
        } else if lags(&done.kills, KILLS) {
            let (name, ..) = SERVICES[random.below(SERVICES.len())];
            kill(world, &mut suite, name).await;
        }
        drop(suite);
        sleep_millis(20 + random.below(200)).await;
    }
}

/// Kills a service, and waits until it is there again.
async fn kill(world: &World, suite: &mut Suite, name: &str) {
    if suite.has_ended(name) {
        world.broke(format!("{name} ended by itself"));
    }
    suite.kill(name).await;
    world.spawn(suite, name);
    world.wait_for(suite, name).await;
    world.done.kills.add();
}

/// Freezes a service for longer than its leases, and kills others meanwhile.
async fn pause(world: &World, suite: &mut Suite, random: &mut Random) {
    let (name, ..) = SERVICES[random.below(SERVICES.len())];
    let Some(pid) = suite.pid(name) else {
        return world.broke(format!("{name} has no process"));
    };
    signal("-STOP", pid);
    let until = Instant::now() + Duration::from_millis(1_500) + millis(random.below(1_500));
    while Instant::now() < until {
        sleep_millis(200 + random.below(400)).await;
        let (other, ..) = SERVICES[random.below(SERVICES.len())];
        if other != name {
            kill(world, suite, other).await;
        }
    }
    signal("-CONT", pid);
    world.wait_for(suite, name).await;
    world.done.pauses.add();
}

/// Crashes the database, and waits until every service is there again.
async fn crash(world: &World, suite: &mut Suite) {
    let cluster = world.cluster.clone();
    let crashed = tokio::task::spawn_blocking(move || cluster.crash()).await;
    crashed.unwrap().unwrap();
    for (name, ..) in SERVICES {
        world.wait_for(suite, name).await;
    }
    world.done.crashes.add();
}

/// Cuts, delays and swallows what goes over an edge, until the campaign ends; then it is calm.
pub async fn network(world: &World, edge: &Edge, mut random: Random) {
    let done = &world.done;
    while !world.is_over() {
        sleep_millis(500 + random.below(5_000)).await;
        match random.below(10) {
            0 | 1 => {
                edge.delay(millis(10 + random.below(490)));
                sleep_millis(1_000 + random.below(2_000)).await;
                edge.calm();
                done.delays.add();
            }
            2 => {
                edge.silence();
                sleep_millis(1_000 + random.below(2_000)).await;
                edge.calm();
                if edge.cut() {
                    done.cuts.add();
                }
                done.silences.add();
            }
            _ => {
                if edge.cut() {
                    done.cuts.add();
                }
            }
        }
    }
}

/// Moves all clocks a minute every two seconds, and in the midst of the campaign to when April is billed.
pub async fn time(world: &World) {
    let begun = Instant::now();
    let half = Duration::from_secs(world.seconds) / 2;
    let mut to = world.now();
    while !world.is_over() {
        tokio::time::sleep(TICK_EVERY).await;
        to += TICK;
        if half < begun.elapsed() {
            to = to.max(crate::at(crate::APRIL_IS_BILLED));
        }
        // Again until all of them stand there: a clock that does already stays.
        loop {
            // While none of the services is being killed.
            let suite = world.suite.lock().await;
            let set = tokio::time::timeout(SET, perdiem::clock::set(&world.urls, to)).await;
            drop(suite);
            if matches!(set, Ok(Ok(()))) {
                break;
            }
            if world.is_over_for(SET_WITHIN) {
                return world.broke("the clocks can't be set".to_owned());
            }
            sleep_millis(100).await;
        }
        world.stand_at(to);
    }
}

fn signal(signal: &str, pid: u32) {
    let sent = std::process::Command::new("kill")
        .arg(signal)
        .arg(pid.to_string())
        .status();
    assert!(sent.unwrap().success(), "kill {signal} {pid}");
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap())
}

async fn sleep_millis(count: usize) {
    tokio::time::sleep(millis(count)).await;
}
