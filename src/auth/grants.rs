//! Lists of grants and how GRANT, REVOKE and a change of owner make others of them: plain functions over plain data.
//!
//! What is granted under a role's name holds as long as the role may grant it. So a list is always what can be followed back
//! to the owner, and REVOKE is taking something out and then everything that hung on it.

use std::collections::BTreeMap;

use crate::catalog::rights::{Grant, ObjectKind, PUBLIC, PUBLIC_SCHEMA, Privileges, Rights, RoleId};

/// Adds to what a role was granted.
pub(crate) fn grant(grants: &mut Vec<Grant>, grantee: RoleId, grantor: RoleId, privileges: Privileges, option: bool) {
    let grantable = if option { privileges } else { Privileges::NONE };
    match grants.iter_mut().find(|grant| grant.grantee == grantee && grant.grantor == grantor) {
        Some(known) => {
            known.privileges = known.privileges.or(privileges);
            known.grantable = known.grantable.or(grantable);
        }
        None => grants.push(Grant { grantee, grantor, privileges, grantable }),
    }
}

/// Takes away from what a role was granted under a name, or only its right to grant that on. Whether something else hung on it:
/// that is gone as well.
pub(crate) fn revoke(
    grants: &mut Vec<Grant>,
    owner: RoleId,
    grantee: RoleId,
    grantor: RoleId,
    privileges: Privileges,
    option_only: bool,
) -> bool {
    for grant in grants.iter_mut().filter(|grant| grant.grantee == grantee && grant.grantor == grantor) {
        grant.grantable = grant.grantable.without(privileges);
        if !option_only {
            grant.privileges = grant.privileges.without(privileges);
        }
    }
    grants.retain(|grant| !grant.privileges.is_empty());
    prune(grants, owner)
}

/// Leaves what can be followed back to the owner; whether anything else was there.
fn prune(grants: &mut Vec<Grant>, owner: RoleId) -> bool {
    let mut options: BTreeMap<RoleId, Privileges> = BTreeMap::new();
    let may = |options: &BTreeMap<RoleId, Privileges>, grant: &Grant, what: Privileges| match grant.grantor == owner {
        true => what,
        false => what.and(options.get(&grant.grantor).copied().unwrap_or_default()),
    };
    loop {
        let mut more = false;
        for grant in grants.iter() {
            let found = may(&options, grant, grant.grantable);
            let known = options.entry(grant.grantee).or_default();
            more |= !known.contains(found);
            *known = known.or(found);
        }
        if !more {
            break;
        }
    }
    let before = grants.clone();
    for grant in grants.iter_mut() {
        grant.privileges = may(&options, grant, grant.privileges);
        grant.grantable = may(&options, grant, grant.grantable);
    }
    grants.retain(|grant| !grant.privileges.is_empty());
    *grants != before
}

/// The same grants on an object that has another owner now: what was the old one's is the new one's.
pub(crate) fn with_owner(grants: &[Grant], old: RoleId, new: RoleId) -> Vec<Grant> {
    let moved = |role| if role == old { new } else { role };
    let mut all: Vec<Grant> = Vec::new();
    for one in grants {
        let (grantee, grantor) = (moved(one.grantee), moved(one.grantor));
        grant(&mut all, grantee, grantor, one.privileges, false);
        grant(&mut all, grantee, grantor, one.grantable, true);
    }
    all
}

/// The grants on an object that a role makes now; `None` if they are the usual ones.
pub(crate) fn of_new_object(rights: &Rights, owner: RoleId, kind: ObjectKind) -> Option<Vec<Grant>> {
    let find = |schema| {
        let found = rights.defaults().iter().find(|one| (one.owner, one.schema, one.kind) == (owner, schema, kind));
        found.and_then(|one| one.grants.as_deref())
    };
    let (everywhere, in_schema) = (find(0), find(PUBLIC_SCHEMA));
    if everywhere.is_none() && in_schema.is_none() {
        return None;
    }
    let mut grants = everywhere.map_or_else(|| kind.default_grants(owner), <[Grant]>::to_vec);
    for one in in_schema.unwrap_or_default() {
        grant(&mut grants, one.grantee, one.grantor, one.privileges, false);
        grant(&mut grants, one.grantee, one.grantor, one.grantable, true);
    }
    Some(grants)
}

/// A grant as an access list shows it: `ann=r*w/bob`.
pub(crate) fn shown(rights: &Rights, grant: &Grant, quoted: impl Fn(&str) -> String) -> String {
    let name = |role: RoleId| match rights.role(role) {
        _ if role == PUBLIC => String::new(),
        Some(role) => quoted(&role.name),
        None => role.to_string(),
    };
    let letters: String = grant
        .privileges
        .each()
        .map(|(letter, word)| match Privileges::named(word) {
            Some(one) if grant.grantable.contains(one) => format!("{letter}*"),
            _ => letter.to_string(),
        })
        .collect();
    format!("{}={letters}/{}", name(grant.grantee), name(grant.grantor))
}

#[cfg(test)]
mod tests {
    use lodedb_sql::statement::Privilege::{Insert, Select, Update};

    use super::*;

    const OWNER: RoleId = 10;
    const ANN: RoleId = 20;
    const BOB: RoleId = 30;
    const CAT: RoleId = 40;

    fn both() -> Privileges {
        Privileges::of(&[Select, Insert])
    }

    fn select() -> Privileges {
        Privileges::of(&[Select])
    }

    fn chain() -> Vec<Grant> {
        let mut grants = ObjectKind::Table.default_grants(OWNER);
        grant(&mut grants, ANN, OWNER, both(), true);
        grant(&mut grants, BOB, ANN, both(), true);
        grant(&mut grants, CAT, BOB, select(), false);
        grants
    }

    fn held(grants: &[Grant], role: RoleId) -> Privileges {
        let own = grants.iter().filter(|grant| grant.grantee == role);
        own.fold(Privileges::NONE, |all, grant| all.or(grant.privileges))
    }

    #[test]
    fn what_is_revoked_takes_with_it_what_hung_on_it() {
        let mut grants = chain();
        assert!(!revoke(&mut grants, OWNER, CAT, BOB, select(), false));
        assert_eq!(held(&grants, CAT), Privileges::NONE);

        let mut grants = chain();
        assert!(revoke(&mut grants, OWNER, ANN, OWNER, select(), false));
        assert_eq!(held(&grants, ANN), Privileges::of(&[Insert]));
        assert_eq!(held(&grants, BOB), Privileges::of(&[Insert]));
        assert_eq!(held(&grants, CAT), Privileges::NONE);

        let mut grants = chain();
        assert!(revoke(&mut grants, OWNER, ANN, OWNER, both(), true));
        assert_eq!((held(&grants, ANN), held(&grants, BOB)), (both(), Privileges::NONE));
    }

    #[test]
    fn a_circle_holds_nothing_up() {
        let mut grants = chain();
        grant(&mut grants, ANN, BOB, both(), true);
        assert!(revoke(&mut grants, OWNER, ANN, OWNER, both(), false));
        assert_eq!((held(&grants, ANN), held(&grants, BOB)), (Privileges::NONE, Privileges::NONE));
        assert_eq!(held(&grants, OWNER), ObjectKind::Table.all());
    }

    #[test]
    fn what_is_granted_twice_is_revoked_once() {
        let mut grants = chain();
        grant(&mut grants, CAT, OWNER, select(), false);
        assert!(!revoke(&mut grants, OWNER, CAT, OWNER, select(), false));
        assert_eq!(held(&grants, CAT), select(), "under BOB's name it stays");
    }

    #[test]
    fn another_owner_takes_over_what_the_one_before_granted() {
        let grants = with_owner(&chain(), OWNER, CAT);
        assert!(grants.iter().all(|grant| grant.grantor != OWNER && grant.grantee != OWNER));
        assert_eq!(held(&grants, CAT), ObjectKind::Table.all());
        assert_eq!(held(&grants, BOB), both());
    }

    #[test]
    fn access_lists_are_shown_as_postgresql_shows_them() {
        let rights = Rights::default();
        let mut grants = ObjectKind::Table.default_grants(OWNER);
        grant(&mut grants, PUBLIC, OWNER, select(), false);
        grant(&mut grants, 11, OWNER, Privileges::of(&[Select, Update]), true);
        let shown: Vec<String> = grants.iter().map(|one| shown(&rights, one, str::to_owned)).collect();
        assert_eq!(shown, ["lodedb=arwdDxt/lodedb", "=r/lodedb", "postgres=r*w*/lodedb"]);
    }
}
