//! Tests of real servers exist only where servers are promised, so that none is
//! ever skipped in silence.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(real_servers)");
    println!("cargo::rerun-if-env-changed=EVENTKIT_REAL");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("EVENTKIT_REAL").is_ok_and(|real| real == "1") {
        println!("cargo::rustc-cfg=real_servers");
    }
}
