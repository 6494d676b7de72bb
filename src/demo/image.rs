//! What runs in a container of the demo? No image is pulled: those that its manifests name are programs built into this
//! binary, with the arguments that the manifests give them, and the guide's shell one-liner is understood by [`script`].

use std::process::ExitCode;

pub mod bb;
pub mod pause;
pub mod slow_cooker;
pub mod script;

/// A container of the demo cannot be run here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("image {image:?} is not built in; there are buoyantio/bb, buoyantio/slow_cooker and pause")]
    Image { image: String },
    #[error(
        "command {command:?} is not built in for image {image:?}; there is /bin/sh, or none for the image's own"
    )]
    Command { image: String, command: Vec<String> },
}

/// The built-in programs, as hidden roles of this binary.
#[derive(Debug, clap::Subcommand)]
pub enum Program {
    /// A server with one static answer.
    #[command(name = "bb")]
    Bb(bb::Args),
    /// A load generator with a steady rate.
    #[command(name = "slow_cooker")]
    SlowCooker(Box<slow_cooker::Args>),
    /// Nothing, until asked to stop.
    #[command(name = "pause")]
    Pause,
    /// The one shell script form that the guide uses.
    #[command(name = "sh")]
    Script(script::Args),
}

impl Program {
    /// Runs until it ends or is asked to.
    ///
    /// # Errors
    /// What stops the program, for its log.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Bb(args) => bb::run(args).await,
            Self::SlowCooker(args) => slow_cooker::run(*args).await,
            Self::Pause => pause::run().await,
            Self::Script(args) => Box::pin(script::run(args)).await,
        }
    }
}

/// The arguments, after `causeway demo image`, that run a container as its manifest says.
///
/// # Errors
/// For images and commands that are not built in.
pub fn arguments(image: &str, command: &[String], args: &[String]) -> Result<Vec<String>, Error> {
    // Registry, tag and digest do not matter: `docker.io/buoyantio/bb:v0.0.6` is `bb`.
    let path = image.split('@').next().unwrap_or(image);
    let name = path.rsplit('/').next().unwrap_or(path).split(':').next().unwrap_or(path);
    if !["bb", "slow_cooker", "pause"].contains(&name) {
        return Err(Error::Image { image: image.to_owned() });
    }
    let program = match command {
        [] => name,
        [shell] if shell == "/bin/sh" || shell == "sh" => "sh",
        _ => return Err(Error::Command { image: image.to_owned(), command: command.to_vec() }),
    };
    Ok(std::iter::once(program.to_owned()).chain(args.iter().cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn an_image_runs_its_own_program_whatever_its_tag() {
        for image in ["buoyantio/bb:v0.0.6", "docker.io/buoyantio/bb", "localhost:5000/bb@sha256:00"] {
            assert_eq!(arguments(image, &[], &strings(&["terminus"])), Ok(strings(&["bb", "terminus"])));
        }
    }

    #[test]
    fn a_shell_command_runs_the_script() {
        let args = strings(&["-c", "sleep 5"]);
        let ran = arguments("buoyantio/slow_cooker:1.3.0", &strings(&["/bin/sh"]), &args);
        assert_eq!(ran, Ok(strings(&["sh", "-c", "sleep 5"])));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(arguments("nginx", &[], &[]), Err(Error::Image { image: "nginx".to_owned() }));
        let command = strings(&["/bin/bash", "-x"]);
        let refused = arguments("buoyantio/bb", &command, &[]);
        assert_eq!(refused, Err(Error::Command { image: "buoyantio/bb".to_owned(), command }));
    }
}
