use eventkit::{App, Settings};

/// What `tests/run` and `tests/stack/up` put into the environment.
fn variable(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{name} is not set: these tests need servers, run tests/run"),
    }
}

/// Kafka's address.
pub fn kafka_servers() -> String {
    variable("KAFKA_BOOTSTRAP_SERVERS")
}

/// The Redis that all tests share; see [`RedisServer`](crate::RedisServer) for one of their own.
pub fn redis_url() -> String {
    variable("REDIS_URL")
}

/// The PostgreSQL that all tests share; each test has a schema of its own.
pub fn database_url() -> String {
    variable("DATABASE_URL")
}

/// Its host and port.
pub fn database_address() -> String {
    let url = database_url();
    let address = url.rsplit('@').next().unwrap_or(&url);
    address.split('/').next().unwrap_or(address).to_owned()
}

/// Where Jaeger takes spans.
pub fn otlp_endpoint() -> String {
    variable("OTEL_EXPORTER_OTLP_ENDPOINT")
}

/// Where Jaeger is asked.
pub fn jaeger_url() -> String {
    variable("JAEGER_QUERY_URL")
}

pub(crate) fn redis_program() -> String {
    variable("EVENTKIT_REDIS_SERVER")
}

/// The folder with PostgreSQL's programs.
pub(crate) fn postgres_programs() -> std::path::PathBuf {
    variable("EVENTKIT_POSTGRES_PROGRAMS").into()
}

/// A name that no other test and no earlier run has.
pub fn unique(name: &str) -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("{name}-{}", &id[..8])
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// An App on the real Kafka that takes nothing from files or the environment.
pub fn app(group: &str) -> App {
    app_at(&kafka_servers(), group)
}

pub(crate) fn app_at(servers: &str, group: &str) -> App {
    App::new(group)
        .settings(Settings::default())
        .bootstrap_servers(servers)
}
