pub mod model;

pub mod control;
