//! Writes the seeds of a target into a folder: `write_seeds TARGET FOLDER`.

// What is instrumented needs the fuzzer's library.
use libfuzzer_sys as _;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(target), Some(folder)) = (args.next(), args.next()) else {
        return Err(std::io::Error::other("expected a target and a folder"));
    };
    std::fs::create_dir_all(&folder)?;
    for (number, seed) in causeway_fuzz::seeds::of(&target).into_iter().enumerate() {
        std::fs::write(format!("{folder}/seed-{number:02}"), seed)?;
    }
    Ok(())
}
