//! Whether a program can be run at all: judged before the first run, and by `check`, so that both say the same.
//!
//! What trying again can't change is told here, and the collector set aside at once. What a look at the files does not
//! show is judged by how the start failed.

use std::{fmt, fs, io, os::unix::fs::PermissionsExt as _};

use crate::config::Exec;

/// Why a program can't be run, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub what: String,
    /// What to change.
    pub remedy: &'static str,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

/// Judges it for an agent that runs as the user of this process. `None`: nothing stands in the way that can be seen.
pub fn unfit(exec: &Exec) -> Option<Unfit> {
    judge(exec, rustix::process::geteuid().as_raw())
}

fn judge(exec: &Exec, agent: u32) -> Option<Unfit> {
    let unfit = |what: String, remedy| Some(Unfit { what, remedy });
    if !exec.as_root && exec.user.unwrap_or(agent) == 0 {
        return unfit("it would run as root".to_owned(), "name a `user`, or say `as_root: true`");
    }
    const PROGRAM: &str = "name a file in `command` that is there and may be executed";
    match fs::metadata(&exec.program) {
        Ok(found) if found.is_dir() => return unfit("the program is a folder".to_owned(), PROGRAM),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            return unfit("Permission denied, since it is not executable".to_owned(), PROGRAM);
        }
        Err(error) if is_lasting(&error) && error.kind() != io::ErrorKind::PermissionDenied => {
            return unfit(error.to_string(), PROGRAM);
        }
        // Whom it runs as may see more than the agent does.
        Ok(_) | Err(_) => {}
    }
    const FOLDER: &str = "name a folder that is there";
    let directory = exec.directory.display();
    match fs::metadata(&exec.directory) {
        Ok(found) if !found.is_dir() => {
            unfit(format!("its `working_directory` {directory} is no folder"), FOLDER)
        }
        Err(error) if is_lasting(&error) => {
            unfit(format!("its `working_directory` {directory}: {error}"), FOLDER)
        }
        Ok(_) | Err(_) => None,
    }
}

/// Whether what failed so will fail again, until somebody changes a file or the configuration.
pub fn is_lasting(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ArgumentListTooLong, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied,
    };

    let no_program = rustix::io::Errno::NOEXEC.raw_os_error();
    matches!(
        error.kind(),
        NotFound | PermissionDenied | NotADirectory | IsADirectory | InvalidInput | ArgumentListTooLong
    ) || error.raw_os_error() == Some(no_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_refused_unless_it_is_said_or_another_is_named() {
        let what = |exec: &Exec, agent| judge(exec, agent).map(|unfit| unfit.to_string());
        let sh = Exec::of("/bin/sh");
        assert_eq!(
            what(&sh, 0).as_deref(),
            Some("it would run as root: name a `user`, or say `as_root: true`")
        );
        assert_eq!(what(&sh, 1000), None);
        assert_eq!(what(&Exec { as_root: true, ..sh.clone() }, 0), None);
        assert_eq!(what(&Exec { user: Some(1000), ..sh.clone() }, 0), None);
        assert!(what(&Exec { user: Some(0), ..sh }, 1000).is_some());
    }

    #[test]
    fn what_is_not_there_or_not_executable_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("check");
        let what = |exec: &Exec| judge(exec, 1000).map(|unfit| unfit.what).unwrap_or_default();
        assert!(what(&Exec::of(&file)).contains("No such file"));
        fs::write(&file, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(what(&Exec::of(&file)).contains("not executable"));
        assert!(what(&Exec::of(file.join("below"))).contains("Not a directory"));
        assert!(what(&Exec::of(folder.path())).contains("is a folder"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(what(&Exec::of(&file)), "");
        let elsewhere = Exec { directory: folder.path().join("gone"), ..Exec::of(&file) };
        assert!(what(&elsewhere).contains("working_directory"), "{}", what(&elsewhere));
        assert!(what(&Exec { directory: file.clone(), ..Exec::of(&file) }).contains("is no folder"));
    }

    #[test]
    fn a_full_table_of_processes_passes_and_a_text_that_is_no_program_does_not() {
        let of = |errno: rustix::io::Errno| is_lasting(&io::Error::from(errno));
        use rustix::io::Errno;
        assert!([Errno::NOENT, Errno::ACCESS, Errno::PERM, Errno::NOEXEC].into_iter().all(of));
        assert!(![Errno::AGAIN, Errno::NOMEM, Errno::TXTBSY, Errno::MFILE].into_iter().any(of));
    }
}
