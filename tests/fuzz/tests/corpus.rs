//! The seeds keep every target's promises.

use std::path::Path;

#[test]
fn every_seed_passes() {
    for (name, target) in eventkit_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name);
        let seeds = std::fs::read_dir(&folder).unwrap();
        let mut count = 0;
        for seed in seeds {
            let path = seed.unwrap().path();
            println!("{}", path.display());
            target(&std::fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "no seeds in {}", folder.display());
    }
}
