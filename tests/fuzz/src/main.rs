//! The fuzzer of the target that `EVENTKIT_FUZZ_TARGET` names; `tests/fuzz/run`
//! builds and calls it.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use std::sync::LazyLock;
    static TARGET: LazyLock<eventkit_fuzz::Target> = LazyLock::new(|| {
        let name = std::env::var("EVENTKIT_FUZZ_TARGET");
        eventkit_fuzz::target(&name.expect("EVENTKIT_FUZZ_TARGET names a target"))
    });
    TARGET(bytes);
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("not built for fuzzing: use tests/fuzz/run");
    std::process::exit(1);
}
