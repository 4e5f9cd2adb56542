//! The demo, as a visitor uses it: the page's buttons are pressed one after the other, and its counters must be as
//! promised. A browser would send the same requests; the page is read as it is without a script.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use whimbrel_tests::{agent::Home, http, wait};

const PATIENCE: Duration = Duration::from_secs(120);

/// A demo that runs. Dropped, it is interrupted.
struct Demo {
    child: Child,
    page: SocketAddr,
}

impl Demo {
    fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("whimbrel starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains("in a browser"));
        let line = line.expect("the demo says where its page is");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        let page = address.and_then(|address| address.parse().ok()).expect("an address");
        // What it prints is read on, so that it never waits for this test.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, page }
    }

    fn page(&self) -> String {
        match http::get(self.page, "/") {
            Ok((200, page)) => page,
            other => panic!("the page: {other:?}"),
        }
    }

    fn press(&self, button: &str) {
        let answer = ureq::post(format!("http://{}/demo/{button}", self.page))
            .header("accept", "application/json")
            .send_empty();
        let mut answer = answer.unwrap_or_else(|error| panic!("{button}: {error}"));
        let said = answer.body_mut().read_to_string().expect("text");
        assert!(said.contains("done"), "{button}: {said}");
    }

    /// One of the counters, as the page shows it.
    fn count(&self, name: &str) -> u64 {
        let page = self.page();
        let at = format!("id=\"count-{name}\" data-value=\"");
        let value = page.split(&at).nth(1).and_then(|rest| rest.split('"').next());
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    fn until(&self, what: &str, fits: impl Fn(&str) -> bool) {
        wait::until(what, PATIENCE, || {
            let page = self.page();
            thread::sleep(Duration::from_millis(100));
            if fits(&page) { Ok(()) } else { Err(page) }
        });
    }

    fn nothing_is_lost_or_repeated(&self, when: &str) {
        assert_eq!((self.count("lost"), self.count("repeated")), (0, 0), "{when}:\n{}", self.page());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it still runs");
        }
        let status = self.child.wait().expect("it can be waited for");
        // A panic of the test itself is the better message.
        if !thread::panicking() {
            assert!(status.success(), "an interrupted demo ends well: {status}");
        }
    }
}

#[test]
fn nothing_is_lost_whatever_button_is_pressed() {
    let home = Home::new("");
    let temporary = home.path().join("tmp");
    fs::create_dir(&temporary).expect("a folder");
    let mut command = home.command(&["demo"]);
    command.env("TMPDIR", &temporary);
    let demo = Demo::start(command);
    wait::until("records arrive", PATIENCE, || match demo.count("delivered") {
        0..4 => Err(demo.page()),
        _ => Ok(()),
    });

    // The backend goes; the agent is killed meanwhile, with a backlog; the backend comes back.
    demo.press("stop");
    demo.until("the backend is stopped", |page| page.contains("the backend is stopped"));
    let before = demo.count("pending");
    wait::until("the backlog fills", PATIENCE, || match demo.count("pending") {
        pending if pending > before + 6 => Ok(()),
        pending => Err(pending),
    });
    demo.press("kill");
    demo.until("the agent is killed", |page| page.contains("the agent is dead"));
    demo.until("it is started again", |page| page.contains(", start 2"));
    demo.press("start");
    demo.until("everything is delivered", |page| page.contains("drained: everything"));
    demo.nothing_is_lost_or_repeated("after an outage and kill -9");

    demo.press("hostile");
    demo.until("the hostile plugin is contained", |page| page.contains("contained for good: hostile"));
    demo.until("it is named", |page| page.contains("data-collector=\"hostile\""));
    demo.press("calm");
    demo.until("it is unloaded", |page| !page.contains("data-collector=\"hostile\""));

    demo.press("record");
    demo.until("a stored record is shown", |page| page.contains("The same, decoded"));
    demo.nothing_is_lost_or_repeated("in the end");
    let (appended, delivered) = (demo.count("appended"), demo.count("delivered"));
    assert!(delivered > 0 && appended >= delivered, "{appended} appended, {delivered} delivered");
    drop(demo);
    let left: Vec<_> =
        fs::read_dir(&temporary).expect("a folder").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
