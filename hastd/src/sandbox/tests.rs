use super::*;

#[test]
fn what_was_given_up_is_told_in_base_s_words() {
    for (root, capabilities, text) in [
        (Root::Jail, true, "capsicum+jail+setgid+setuid"),
        (Root::Chroot, false, "chroot+setgid+setuid"),
        (Root::Unchanged, false, "setgid+setuid"),
    ] {
        assert_eq!(Dropped { root, capabilities }.to_string(), text);
    }
}

/// That they are really gone is shown with a whole process: `tests/ctl`.
#[test]
fn only_root_has_something_to_give_up_and_becomes_somebody_else() {
    let root = unistd::geteuid().is_root();
    match user() {
        Ok(Some(who)) => assert!(root && who.uid != 0 && who.gid != 0, "{who:?}"),
        Ok(None) => assert!(!root),
        Err(error) => assert!(
            cfg!(target_os = "freebsd") && error == SandboxError::NoUser(USER),
            "{error}"
        ),
    }
}

#[test]
fn who_stays_root_has_given_nothing_up() {
    let Err(SandboxError::Kept(ids)) = verify(Uid::from_raw(4242), Gid::from_raw(4242)) else {
        panic!("this process is not user 4242");
    };
    assert!(ids.contains("real"), "{ids}");
}
