//! The tests are in `tests/`; they are compiled only where `EVENTKIT_REAL` is set.
