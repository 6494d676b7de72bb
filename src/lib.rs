pub mod model;
pub mod telemetry;
pub mod admin;
