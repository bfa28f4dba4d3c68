//! The threads that a program's tasks run on.

use std::io;

/// The stack of a thread in bytes: as much as a program's first thread has. Where nothing is optimised, each call that
/// is awaited keeps copies of what it awaits, and the deepest handlers need more than Rust's default of 2 MiB.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// Runs `main` to its end, with what it spawns, on a thread a core.
///
/// # Errors
///
/// The operating system gives no thread, or no timer or poll.
pub fn wait_for<F: Future>(main: F) -> io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()?;
    Ok(runtime.block_on(main))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a little more than four kilobytes of stack a level, however it is compiled.
    #[inline(never)]
    fn deep(levels: u64, before: &[u8; 4096]) -> u64 {
        let copy = *before;
        let here = std::hint::black_box(&copy);
        match levels.checked_sub(1) {
            Some(left) => 1 + deep(left, here),
            None => 0,
        }
    }

    #[test]
    fn a_task_has_the_stack_of_a_programs_first_thread() {
        let task = async {
            #[expect(clippy::disallowed_methods, reason = "ends with the test")]
            let deep = tokio::spawn(async { deep(700, &[1; 4096]) });
            deep.await.unwrap()
        };
        // More than 2 MiB of it, which ends a process whose threads have Rust's default.
        assert_eq!(wait_for(task).unwrap(), 700);
    }
}
