//! Who may what, over catalogs made for it.

use super::*;
use crate::catalog::Change;
use crate::catalog::rights::{Access, BOOTSTRAP, Membership};

const OWNER: RoleId = 20_001;
const READER: RoleId = 20_002;
const STAFF: RoleId = 20_003;
const LONER: RoleId = 20_004;
const MAKER: RoleId = 20_005;

fn role(id: RoleId, name: &str, member_of: &[RoleId]) -> Role {
    let member_of = member_of.iter().map(|&role| Membership { role, grantor: BOOTSTRAP, admin: false }).collect();
    Role { id, name: name.to_owned(), inherits: true, member_of, ..Role::default() }
}

fn table(id: u32) -> Table {
    Table { id, name: format!("t{id}"), columns: Vec::new(), checks: Vec::new() }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let grants = vec![
        Grant { grantee: OWNER, grantor: OWNER, privileges: ObjectKind::Table.all(), grantable: Privileges::NONE },
        Grant { grantee: STAFF, grantor: OWNER, privileges: SELECT, grantable: SELECT },
    ];
    for change in [
        Change::PutRole(role(OWNER, "owner", &[])),
        Change::PutRole(role(READER, "reader", &[STAFF])),
        Change::PutRole(role(STAFF, "staff", &[])),
        Change::PutRole(Role { inherits: false, ..role(LONER, "loner", &[STAFF, predefined::READ_ALL_DATA]) }),
        Change::PutRole(Role { creates_roles: true, ..role(MAKER, "maker", &[]) }),
        Change::PutTable(table(16_400)),
        Change::PutTable(table(16_401)),
        Change::PutAccess(Access { object: 16_400, owner: OWNER, grants: Some(grants) }),
    ] {
        catalog.apply(&change);
    }
    catalog
}

fn code(result: Result<()>) -> &'static str {
    result.err().map_or("", |error| error.state().code())
}

#[test]
fn nobody_may_do_what_was_not_granted() {
    let catalog = catalog();
    let check = |role, id, needed| code(Actor::new(&catalog, role).check_table(&table(id), needed));
    for (role, id, needed, expected) in [
        (BOOTSTRAP, 16_400, ObjectKind::Table.all(), ""),
        (OWNER, 16_400, ObjectKind::Table.all(), ""),
        (OWNER, 16_401, SELECT, "42501"),
        (STAFF, 16_400, SELECT, ""),
        (STAFF, 16_400, WRITE, "42501"),
        (READER, 16_400, SELECT, ""),
        (READER, 16_401, SELECT, "42501"),
        (LONER, 16_400, SELECT, "42501"),
        // A role that is not there, or not any more.
        (29_999, 16_400, SELECT, "42501"),
        (PUBLIC, 16_400, SELECT, "42501"),
    ] {
        assert_eq!(check(role, id, needed), expected, "{role} on {id}");
    }
    let error = Actor::new(&catalog, LONER).check_table(&table(16_400), SELECT).expect_err("refused");
    assert_eq!(error.message(), "permission denied for table t16400");
}

#[test]
fn predefined_roles_read_and_write_everything() {
    let mut catalog = catalog();
    for (role_id, of) in [(20_010, predefined::READ_ALL_DATA), (20_011, predefined::WRITE_ALL_DATA)] {
        catalog.apply(&Change::PutRole(role(role_id, &format!("r{role_id}"), &[of])));
    }
    let check = |role, needed| code(Actor::new(&catalog, role).check_table(&table(16_401), needed));
    assert_eq!([check(20_010, SELECT), check(20_010, WRITE)], ["", "42501"]);
    assert_eq!([check(20_011, SELECT), check(20_011, WRITE)], ["42501", ""]);
    assert_eq!(check(20_011, Privileges::of(&[Privilege::Truncate])), "42501");
}

#[test]
fn the_schema_is_everybodys_to_use_and_nobodys_to_fill() {
    let mut catalog = catalog();
    assert_eq!(code(Actor::new(&catalog, STAFF).check_create()), "42501");
    assert_eq!(code(Actor::new(&catalog, BOOTSTRAP).check_create()), "");
    let grants = ObjectKind::Schema.default_grants(BOOTSTRAP).into_iter().filter(|grant| grant.grantee != PUBLIC);
    let grants = Some(grants.collect());
    catalog.apply(&Change::PutAccess(Access { object: PUBLIC_SCHEMA, owner: BOOTSTRAP, grants }));
    let error = Actor::new(&catalog, STAFF).check_table(&table(16_400), SELECT).expect_err("refused");
    assert_eq!(error.message(), "permission denied for schema public");
}

#[test]
fn membership_lets_become_what_it_does_not_inherit() {
    let catalog = catalog();
    let loner = Actor::new(&catalog, LONER);
    assert!(loner.is_member_of(STAFF) && !loner.has_privileges_of(STAFF));
    assert!(Actor::new(&catalog, READER).has_privileges_of(STAFF));
    assert!(!Actor::new(&catalog, STAFF).is_member_of(READER));
    assert!(Actor::new(&catalog, BOOTSTRAP).is_member_of(READER));
}

#[test]
fn who_creates_roles_does_not_rise_above_them() {
    let mut catalog = catalog();
    catalog.apply(&Change::PutRole(role(20_020, "deputy", &[BOOTSTRAP])));
    let maker = Actor::new(&catalog, MAKER);
    assert!(maker.manages(STAFF) && maker.manages(READER));
    for beyond in [BOOTSTRAP, predefined::WRITE_SERVER_FILES, LONER, 20_020] {
        assert!(!maker.manages(beyond), "{beyond}");
    }
    assert!(!Actor::new(&catalog, STAFF).manages(STAFF));
}

#[test]
fn circles_of_membership_end() {
    let mut catalog = catalog();
    catalog.apply(&Change::PutRole(role(STAFF, "staff", &[READER])));
    assert!(Actor::new(&catalog, STAFF).has_privileges_of(READER));
    assert!(!Actor::new(&catalog, STAFF).has_privileges_of(OWNER));
}

#[test]
fn who_may_grant_on() {
    let catalog = catalog();
    let of = |role| Actor::new(&catalog, role).grantor(ObjectKind::Table, 16_400);
    assert_eq!(of(BOOTSTRAP), (OWNER, ObjectKind::Table.all()));
    assert_eq!(of(OWNER), (OWNER, ObjectKind::Table.all()));
    assert_eq!(of(READER), (STAFF, SELECT));
    assert_eq!(of(LONER), (LONER, Privileges::NONE));
}

#[test]
fn sessions_are_ended_by_their_own_kind() {
    let catalog = catalog();
    let check = |role, other| code(Actor::new(&catalog, role).check_signal(other, true));
    assert_eq!(check(READER, READER), "");
    assert_eq!(check(READER, STAFF), "");
    assert_eq!(check(STAFF, READER), "42501");
    assert_eq!(check(STAFF, BOOTSTRAP), "42501");
    assert_eq!(check(BOOTSTRAP, STAFF), "");
}
