//! Lists of hosts, plain and hostile.

use rand::RngExt;
use rand::rngs::StdRng;
use records::{COLUMNS, Host, write_hosts};

pub(crate) fn csv<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_hosts(&mut bytes, &COLUMNS, hosts).unwrap();
    bytes
}

pub(crate) fn host(id: &str, name: &str, tags: &[(&str, &str)]) -> Host {
    Host {
        instance_id: id.to_owned(),
        name: name.to_owned(),
        asg: "obelix_spot_asg".to_owned(),
        instance_state: "running".to_owned(),
        private_ip: "172.31.0.4".to_owned(),
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Host::default()
    }
}

/// Members of one group, as a group makes them: one name, one service.
pub(crate) fn fleet(ids: impl IntoIterator<Item = u32>) -> Vec<Host> {
    let tags = [("service", "obelix"), ("scope", "spot")];
    ids.into_iter().map(|id| host(&format!("i-{id:08x}"), "ob-appengine", &tags)).collect()
}

/// What tags must never do to a configuration, a shell, a terminal or a spreadsheet.
pub(crate) const HOSTILE: [&str; 36] = [
    "\n",
    "\t",
    "\r",
    "\r\n",
    "\"",
    "'",
    ";",
    "\\",
    "\\\n",
    "\\\\",
    "}",
    "\n}\n",
    "{",
    "#",
    "\n#",
    ",",
    "!",
    "*",
    "+",
    "null",
    "\n}\ndefine command {\n\tcommand_name evil\n\tcommand_line /bin/touch /tmp/evil\n}\n",
    "\n}\ndefine host {\n\tuse linux-server\n\thost_name evil\n\taddress 1.2.3.4\n}\n",
    "$(touch /tmp/evil)",
    "`id`",
    "$USER1$",
    "{{ 7 * 7 }}",
    "{{ lookup('pipe','id') }}",
    "{% raw %}",
    "\u{1b}[31m",
    "\0",
    "\u{202e}gpj",
    "\u{2028}",
    "=cmd|'/c calc'!A1",
    "\u{7f}\u{1}\u{8}",
    "register 0",
    ":0a",
];

/// Text of up to 256 characters, most of it hostile.
pub(crate) fn text(rng: &mut StdRng) -> String {
    let mut text = String::new();
    for _ in 0..rng.random_range(0..6) {
        match rng.random_range(0..8) {
            0..4 => text.push_str(HOSTILE[rng.random_range(0..HOSTILE.len())]),
            4 => text.extend(std::iter::repeat_n(char::from(rng.random_range(b' '..b'~')), rng.random_range(1..256))),
            5 => text.extend((0..rng.random_range(1..9)).map(|_| rng.random::<char>())),
            6 => text.extend((0..rng.random_range(1..9)).map(|_| char::from(rng.random_range(0..128_u8)))),
            _ => text.push_str(["obelix", "ob-1", " a b ", "Käse", "x.y_z"][rng.random_range(0..5)]),
        }
    }
    text.chars().take(256).collect()
}
