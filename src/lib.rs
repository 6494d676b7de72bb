pub mod model;
pub mod telemetry;
