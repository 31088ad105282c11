//! What `list` shows: the gates of this machine.
//!
//! The kernel's gates stand in the GEOM tree, `kern.geom.confxml`, class
//! `GATE` (spec/geom-gate-kernel.md 5.6). The printed form is base's, byte for
//! byte (spec/ggate-wire-and-cli.md section 12).

use super::{Access, Unit};
use roxmltree::{Document, Node};
use std::fmt;
use std::str::FromStr;

/// One gate, or rather its provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GateInfo {
    /// Provider name: `ggate0`, `hast/data`.
    pub name: String,
    /// Media size in bytes.
    pub media_size: u64,
    /// Sector size in bytes.
    pub sector_size: u32,
    /// How often the provider is open.
    pub mode: Mode,
    /// What the gate itself knows. `None` for a gate that was destroyed while
    /// open: its provider stays until the last consumer has closed it.
    pub config: Option<Config>,
    /// The process that serves it. Always `None` for a gate in the kernel,
    /// which does not tell.
    pub pid: Option<u32>,
}

/// What CREATE was told, and the state of the queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Number of the gate.
    pub unit: Unit,
    /// Free text of whoever made it.
    pub info: String,
    /// Access for consumers.
    pub access: Access,
    /// Check interval in seconds, 0 = none.
    pub timeout: u32,
    /// Requests waiting and outstanding.
    pub queue_count: u32,
    /// Their limit after clamping, 0 = unlimited.
    pub queue_size: u32,
    /// Calls in progress + 1; 1 means that nobody serves it.
    pub references: u32,
}

/// Open counts of a provider: reading, writing, exclusively. `r1w1e0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mode {
    /// Opens for reading.
    pub read: u32,
    /// Opens for writing.
    pub write: u32,
    /// Exclusive opens.
    pub exclusive: u32,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}w{}e{}", self.read, self.write, self.exclusive)
    }
}

/// Not of the form `r1w1e0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadMode;

impl FromStr for Mode {
    type Err = BadMode;

    fn from_str(s: &str) -> Result<Self, BadMode> {
        let counts = || {
            let (read, rest) = s.strip_prefix('r')?.split_once('w')?;
            let (write, exclusive) = rest.split_once('e')?;
            Some(Self {
                read: read.parse().ok()?,
                write: write.parse().ok()?,
                exclusive: exclusive.parse().ok()?,
            })
        };
        counts().ok_or(BadMode)
    }
}

/// Keeps what `list -u N` shows: the gate called `ggateN`. A named gate has a
/// unit too, but is not found by it.
pub fn retain_unit(gates: &mut Vec<GateInfo>, unit: Unit) {
    let name = format!("ggate{unit}");
    gates.retain(|gate| gate.name == name);
}

impl GateInfo {
    /// The long form: a line per property and an empty line.
    #[must_use]
    pub fn long(&self) -> impl fmt::Display + '_ {
        Long(self)
    }
}

struct Long<'a>(&'a GateInfo);

impl fmt::Display for Long<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn line(f: &mut fmt::Formatter<'_>, label: &str, value: impl fmt::Display) -> fmt::Result {
            writeln!(f, "{label:>11}: {value}")
        }

        let Self(gate) = self;
        line(f, "NAME", &gate.name)?;
        if let Some(config) = &gate.config {
            line(f, "info", &config.info)?;
            line(f, "access", config.access.text())?;
            line(f, "timeout", config.timeout)?;
            line(f, "queue_count", config.queue_count)?;
            line(f, "queue_size", config.queue_size)?;
            line(f, "references", config.references)?;
        }
        let short = ShortSize(gate.media_size);
        line(
            f,
            "mediasize",
            format_args!("{} ({short})", gate.media_size),
        )?;
        line(f, "sectorsize", gate.sector_size)?;
        line(f, "mode", gate.mode)?;
        if let Some(pid) = gate.pid {
            line(f, "pid", pid)?;
        }
        writeln!(f)
    }
}

/// A size in at most three digits and a 1024-based unit: `512B`, `1.0M`, `64M`.
struct ShortSize(u64);

impl fmt::Display for ShortSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut whole = self.0;
        let mut rest = 0; // 1024ths of the unit
        let mut units = ["B", "K", "M", "G", "T", "P", "E"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        // 999.5 would need a fourth digit when rounded.
        while whole > 999 || (whole == 999 && rest >= 512) {
            let Some(next) = units.next() else { break };
            (whole, rest, unit) = (whole / 1024, whole % 1024, next);
        }
        let tenths = whole * 10 + (rest * 10 + 512) / 1024;
        if unit != "B" && tenths < 100 {
            write!(f, "{}.{}{unit}", tenths / 10, tenths % 10)
        } else {
            write!(f, "{}{unit}", whole + (rest + 512) / 1024)
        }
    }
}

/// Why the gates could not be listed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The kernel's tree is no XML.
    #[error(
        "kern.geom.confxml is ill-formed ({0}); a name or info text with '<' or '&' does that \
         until its gate is destroyed"
    )]
    IllFormed(#[from] roxmltree::Error),
    /// The tree is XML, but not as the kernel writes it.
    #[error("kern.geom.confxml: gate {gate}: no valid <{field}>")]
    Field {
        /// Name of the geom or provider, as far as it is known.
        gate: String,
        /// The element that is missing or makes no sense.
        field: &'static str,
    },
    /// The tree could not be read.
    #[error("cannot read kern.geom.confxml: {0}")]
    Sysctl(nix::errno::Errno),
    /// The run directory of the gate in software could not be read.
    #[error("cannot read the run directory: {0}")]
    RunDirectory(std::io::ErrorKind),
}

/// The gates in a GEOM tree, in its order; none when the class is not loaded.
pub fn parse_confxml(xml: &str) -> Result<Vec<GateInfo>, ListError> {
    let document = Document::parse(xml)?;
    let mut gates = Vec::new();
    let classes = children(document.root_element(), "class");
    for class in classes.filter(|&class| text(class, "name") == Some("GATE")) {
        for geom in children(class, "geom") {
            let config = config(geom)?;
            for provider in children(geom, "provider") {
                let name = text(provider, "name").unwrap_or_default();
                gates.push(GateInfo {
                    name: name.to_owned(),
                    media_size: parsed(provider, name, "mediasize")?,
                    sector_size: parsed(provider, name, "sectorsize")?,
                    mode: parsed(provider, name, "mode")?,
                    config: config.clone(),
                    pid: None,
                });
            }
        }
    }
    Ok(gates)
}

/// The config block of a geom of class GATE; absent or without a unit once the
/// gate is destroyed.
fn config(geom: Node<'_, '_>) -> Result<Option<Config>, ListError> {
    let Some(config) = children(geom, "config").find(|node| text(*node, "unit").is_some()) else {
        return Ok(None);
    };
    let name = text(geom, "name").unwrap_or_default();
    let access = text(config, "access")
        .and_then(Access::from_text)
        .ok_or_else(|| bad_field(name, "access"))?;
    Ok(Some(Config {
        unit: Unit(parsed(config, name, "unit")?),
        info: text(config, "info").unwrap_or_default().to_owned(),
        access,
        timeout: parsed(config, name, "timeout")?,
        queue_count: parsed(config, name, "queue_count")?,
        queue_size: parsed(config, name, "queue_size")?,
        references: parsed(config, name, "ref")?,
    }))
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children()
        .filter(move |child| child.has_tag_name(name))
}

fn text<'a>(node: Node<'a, '_>, name: &'static str) -> Option<&'a str> {
    children(node, name).next()?.text()
}

fn parsed<T: FromStr>(node: Node<'_, '_>, gate: &str, field: &'static str) -> Result<T, ListError> {
    text(node, field)
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| bad_field(gate, field))
}

fn bad_field(gate: &str, field: &'static str) -> ListError {
    ListError::Field {
        gate: gate.to_owned(),
        field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ggate0() -> GateInfo {
        GateInfo {
            name: "ggate0".into(),
            media_size: 64 << 20,
            sector_size: 512,
            mode: Mode::default(),
            config: Some(Config {
                unit: Unit(0),
                info: "127.0.0.1:3080 /dev/md0".into(),
                access: Access::ReadWrite,
                timeout: 0,
                queue_count: 0,
                queue_size: 1024,
                references: 2,
            }),
            pid: None,
        }
    }

    /// A tree as `geom_dump.c` writes it: a disk, `ggate0`, `hast/data`, and a
    /// gate that was destroyed while open.
    const TREE: &str = r#"<mesh>
  <class id="0xffffffff81a5b2c0">
    <name>DISK</name>
    <geom id="0xfffff80003a4d100">
      <class ref="0xffffffff81a5b2c0"/>
      <name>ada0</name>
      <rank>1</rank>
      <config>
      </config>
      <provider id="0xfffff80003a4ca00">
        <geom ref="0xfffff80003a4d100"/>
        <mode>r1w1e2</mode>
        <name>ada0</name>
        <mediasize>107374182400</mediasize>
        <sectorsize>512</sectorsize>
      </provider>
    </geom>
  </class>
  <class id="0xffffffff82f1c0e0">
    <name>GATE</name>
    <geom id="0xfffff80004a2e300">
      <class ref="0xffffffff82f1c0e0"/>
      <name>ggate0</name>
      <rank>1</rank>
      <config>
        <access>read-write</access>
        <timeout>0</timeout>
        <info>127.0.0.1:3080 /dev/md0</info>
        <queue_count>0</queue_count>
        <queue_size>1024</queue_size>
        <ref>2</ref>
        <unit>0</unit>
      </config>
      <provider id="0xfffff80004a2e200">
        <geom ref="0xfffff80004a2e300"/>
        <mode>r0w0e0</mode>
        <name>ggate0</name>
        <mediasize>67108864</mediasize>
        <sectorsize>512</sectorsize>
        <stripesize>0</stripesize>
        <stripeoffset>0</stripeoffset>
      </provider>
    </geom>
    <geom id="0xfffff80004a2e400">
      <class ref="0xffffffff82f1c0e0"/>
      <name>hast/data</name>
      <rank>2</rank>
      <config>
        <access>read-only</access>
        <read_offset>8192</read_offset>
        <read_provider>md0</read_provider>
        <timeout>30</timeout>
        <info></info>
        <queue_count>3</queue_count>
        <queue_size>0</queue_size>
        <ref>1</ref>
        <unit>7</unit>
      </config>
      <provider id="0xfffff80004a2e500">
        <geom ref="0xfffff80004a2e400"/>
        <mode>r1w1e0</mode>
        <name>hast/data</name>
        <mediasize>1073741824</mediasize>
        <sectorsize>4096</sectorsize>
      </provider>
    </geom>
    <geom id="0xfffff80004a2e600">
      <class ref="0xffffffff82f1c0e0"/>
      <name>ggate1</name>
      <rank>1</rank>
      <wither/>
      <provider id="0xfffff80004a2e700">
        <geom ref="0xfffff80004a2e600"/>
        <mode>r1w0e0</mode>
        <name>ggate1</name>
        <mediasize>512</mediasize>
        <sectorsize>512</sectorsize>
        <wither/>
      </provider>
    </geom>
  </class>
</mesh>
"#;

    #[test]
    fn the_long_form_is_the_example_of_the_manual() {
        assert_eq!(
            ggate0().long().to_string(),
            "       NAME: ggate0\n       info: 127.0.0.1:3080 /dev/md0\n     access: read-write\n    \
             timeout: 0\nqueue_count: 0\n queue_size: 1024\n references: 2\n  \
             mediasize: 67108864 (64M)\n sectorsize: 512\n       mode: r0w0e0\n\n"
        );
    }

    #[test]
    fn a_destroyed_gate_that_is_still_open_is_shown_without_its_configuration() {
        let gates = parse_confxml(TREE).unwrap();
        assert_eq!(gates[2].config, None);
        assert_eq!(
            gates[2].long().to_string(),
            "       NAME: ggate1\n  mediasize: 512 (512B)\n sectorsize: 512\n       mode: r1w0e0\n\n"
        );
    }

    #[test]
    fn the_serving_process_is_shown_where_it_is_known() {
        let mut gate = ggate0();
        gate.pid = Some(4711);
        assert!(
            gate.long()
                .to_string()
                .ends_with("       mode: r0w0e0\n        pid: 4711\n\n")
        );
    }

    #[test]
    fn sizes_take_three_digits_at_most() {
        for (bytes, short) in [
            (0, "0B"),
            (512, "512B"),
            (999, "999B"),
            (1000, "1.0K"),
            (1024, "1.0K"),
            (10 * 1024 - 52, "9.9K"),
            (10 * 1024 - 51, "10K"),
            (1 << 20, "1.0M"),
            (3 << 19, "1.5M"),
            (64 << 20, "64M"),
            (999 << 20, "999M"),
            ((999 << 20) + (1 << 19), "1.0G"),
            (1000 << 20, "1.0G"),
            (5 << 40, "5.0T"),
            (1 << 60, "1.0E"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(ShortSize(bytes).to_string(), short, "{bytes}");
        }
    }

    #[test]
    fn gates_are_found_in_the_tree_and_other_classes_are_not() {
        let gates = parse_confxml(TREE).unwrap();
        assert_eq!(gates.len(), 3);
        assert_eq!(gates[0], ggate0());
        assert_eq!(gates[1].name, "hast/data");
        assert_eq!(gates[1].mode.to_string(), "r1w1e0");
        let config = gates[1].config.as_ref().unwrap();
        assert_eq!((config.unit, config.access), (Unit(7), Access::ReadOnly));
        assert_eq!((config.timeout, config.queue_count), (30, 3));
        assert_eq!(config.info, "");
    }

    #[test]
    fn a_unit_finds_only_the_gate_of_that_default_name() {
        let mut gates = parse_confxml(TREE).unwrap();
        retain_unit(&mut gates, Unit(0));
        assert_eq!(gates, [ggate0()]);
        let mut gates = parse_confxml(TREE).unwrap();
        retain_unit(&mut gates, Unit(7));
        assert_eq!(gates, []);
    }

    #[test]
    fn a_tree_without_the_class_has_no_gates() {
        assert_eq!(parse_confxml("<mesh></mesh>"), Ok(vec![]));
    }

    #[test]
    fn an_escaped_info_text_is_shown_as_it_was_given() {
        let escaped = super::super::info::escaped("h:3080 /a<b>&c");
        let tree = TREE.replace("127.0.0.1:3080 /dev/md0", &escaped);
        let gates = parse_confxml(&tree).unwrap();
        assert_eq!(gates[0].config.as_ref().unwrap().info, "h:3080 /a<b>&c");
    }

    #[test]
    fn an_info_text_that_somebody_did_not_escape_is_explained() {
        let tree = TREE.replace("127.0.0.1:3080 /dev/md0", "h /a&b<c");
        let error = parse_confxml(&tree).unwrap_err();
        assert!(matches!(error, ListError::IllFormed(_)));
        assert!(error.to_string().contains("until its gate is destroyed"));
    }

    #[test]
    fn a_field_that_makes_no_sense_is_named() {
        for (from, to, field) in [
            ("<ref>2</ref>", "", "ref"),
            ("<mediasize>67108864<", "<mediasize>-1<", "mediasize"),
            ("<mode>r0w0e0</mode>", "<mode>rw</mode>", "mode"),
            ("read-write", "both", "access"),
        ] {
            assert_eq!(
                parse_confxml(&TREE.replace(from, to)),
                Err(ListError::Field {
                    gate: "ggate0".into(),
                    field
                })
            );
        }
    }
}
