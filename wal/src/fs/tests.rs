//! Tests of the seam: both file systems behave alike, and the simulated one loses what it may.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::sim::{CallKind, Fault, FaultKind, SimFileSystem};
use super::{FileSystem, OpenMode, OsFileSystem, publish, read_exact_at, read_file, write_all_at};

fn write(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) {
    let file = fs.open(path, OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), bytes, 0).unwrap();
    file.sync_all().unwrap();
}

/// What any implementation must do, in a directory of its own.
fn check_behaviour(fs: &dyn FileSystem, root: &Path) {
    let kind = |e: std::io::Error| e.kind();
    let (a, b, dir) = (root.join("a"), root.join("b"), root.join("dir"));
    assert_eq!(fs.open(&a, OpenMode::Read).map_err(kind).unwrap_err(), ErrorKind::NotFound);
    assert_eq!(fs.open(&a, OpenMode::ReadWrite).map_err(kind).unwrap_err(), ErrorKind::NotFound);
    write(fs, &a, b"hello");
    assert_eq!(fs.open(&a, OpenMode::CreateNew).map_err(kind).unwrap_err(), ErrorKind::AlreadyExists);
    let file = fs.open(&a, OpenMode::ReadWrite).unwrap();
    assert_eq!(file.len().unwrap(), 5);
    write_all_at(file.as_ref(), b"!", 7).unwrap();
    assert_eq!(read_file(fs, &a).unwrap(), b"hello\0\0!");
    file.set_len(2).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(read_file(fs, &a).unwrap(), b"he\0\0");
    let mut buf = [0; 5];
    assert_eq!(read_exact_at(file.as_ref(), &mut buf, 0).map_err(kind).unwrap_err(), ErrorKind::UnexpectedEof);
    assert!(fs.open(&a, OpenMode::Read).unwrap().write_at(b"x", 0).is_err());

    assert_eq!(fs.create_dir(&dir.join("deep")).map_err(kind).unwrap_err(), ErrorKind::NotFound);
    fs.create_dir(&dir).unwrap();
    assert_eq!(fs.create_dir(&dir).map_err(kind).unwrap_err(), ErrorKind::AlreadyExists);
    publish(fs, &dir.join("x"), b"one").unwrap();
    publish(fs, &dir.join("x"), b"two").unwrap();
    write(fs, &dir.join("x.tmp"), b"left over");
    publish(fs, &dir.join("x"), b"three").unwrap();
    assert_eq!(read_file(fs, &dir.join("x")).unwrap(), b"three");
    assert!(!fs.exists(&dir.join("x.tmp")).unwrap());

    write(fs, &b, b"replaced");
    fs.rename(&a, &b).unwrap();
    assert_eq!(read_file(fs, &b).unwrap(), b"he\0\0");
    let moved = root.join("moved");
    fs.rename(&dir, &moved).unwrap();
    assert_eq!(read_file(fs, &moved.join("x")).unwrap(), b"three");
    fs.sync_dir(root).unwrap();
    let names: Vec<_> = fs.read_dir(root).unwrap().into_iter().map(|e| (e.name, e.is_dir)).collect();
    assert_eq!(names, [("b".to_owned(), false), ("moved".to_owned(), true)]);
    assert_eq!(fs.read_dir(&moved).unwrap()[0].len, 5);

    let lock = fs.try_lock(&root.join("LOCK"), "process 17").unwrap();
    let second = fs.try_lock(&root.join("LOCK"), "other");
    assert_eq!(second.map_err(kind).unwrap_err(), ErrorKind::WouldBlock);
    assert_eq!(read_file(fs, &root.join("LOCK")).unwrap(), b"process 17");
    drop(lock);
    let _again = fs.try_lock(&root.join("LOCK"), "me").unwrap();
    assert_eq!(read_file(fs, &root.join("LOCK")).unwrap(), b"me");

    fs.remove_file(&b).unwrap();
    fs.remove_dir_all(&moved).unwrap();
    assert!(!fs.exists(&moved).unwrap());
    assert!(fs.free_space(root).unwrap() > 0);
}

#[test]
fn the_real_file_system_behaves() {
    let dir = tempfile::tempdir().unwrap();
    check_behaviour(&OsFileSystem, dir.path());
}

#[test]
fn the_simulated_file_system_behaves() {
    check_behaviour(&SimFileSystem::new(1), Path::new("/"));
    let ragged = SimFileSystem::new(2);
    ragged.set_ragged(true);
    // Short and interrupted calls are the business of the two functions here, and publish uses them.
    publish(&ragged, Path::new("/x"), &[7; 5000]).unwrap();
    assert_eq!(read_file(&ragged, Path::new("/x")).unwrap(), [7; 5000]);
}

#[test]
fn files_and_directories_are_private() {
    let dir = tempfile::tempdir().unwrap();
    write(&OsFileSystem, &dir.path().join("f"), b"x");
    OsFileSystem.create_dir(&dir.path().join("d")).unwrap();
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("f"), mode("d")), (0o600, 0o700));
}

#[test]
fn a_published_file_is_old_or_new_at_every_cut() {
    let path = Path::new("/x");
    let (old, new) = (vec![1; 1500], vec![2; 2500]);
    for cut in 1.. {
        let fs = SimFileSystem::new(cut);
        publish(&fs, path, &old).unwrap();
        fs.crash_at(fs.calls() + cut);
        let published = publish(&fs, path, &new);
        for image in fs.crash_images(256) {
            let found = read_file(&image, path).unwrap();
            assert!(found == new || (published.is_err() && found == old), "cut {cut}: {} bytes", found.len());
        }
        if published.is_ok() {
            break;
        }
    }
}

#[test]
fn a_recorded_moment_is_what_a_cut_leaves() {
    let play = |fs: &SimFileSystem| -> std::io::Result<()> {
        fs.create_dir("/d".as_ref())?;
        publish(fs, "/d/a".as_ref(), &[1; 700])?;
        fs.sync_dir("/".as_ref())?;
        publish(fs, "/d/a".as_ref(), &[2; 1800])?;
        fs.remove_file("/d/a".as_ref())
    };
    let recorded = SimFileSystem::new(4);
    recorded.record();
    play(&recorded).unwrap();
    let moments = recorded.moments();
    assert_eq!(moments.len() as u64, recorded.calls() + 1);
    for (calls, moment) in moments.iter().enumerate() {
        let cut = SimFileSystem::new(4);
        cut.crash_at(calls as u64 + 1);
        assert_eq!(play(&cut).is_ok(), calls + 1 == moments.len());
        let prints =
            |fs: &SimFileSystem| fs.crash_images(32).iter().map(SimFileSystem::fingerprint).collect::<Vec<_>>();
        assert_eq!(prints(moment), prints(&cut), "after {calls} calls");
    }
}

#[test]
fn an_unsynced_directory_loses_the_name() {
    let fs = SimFileSystem::new(1);
    write(&fs, Path::new("/x"), b"bytes are synced, the name is not");
    let kept: BTreeSet<bool> = fs.crash_images(8).iter().map(|disk| disk.exists(Path::new("/x")).unwrap()).collect();
    assert_eq!(kept, BTreeSet::from([false, true]));
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(fs.crash_images(8).len(), 1, "nothing is left to choose");
}

#[test]
fn a_rename_over_directories_needs_both_synced() {
    let fs = SimFileSystem::new(1);
    let (from, to) = (Path::new("/a/x"), Path::new("/b/x"));
    for dir in ["/a", "/b"] {
        fs.create_dir(Path::new(dir)).unwrap();
    }
    fs.sync_dir(Path::new("/")).unwrap();
    publish(&fs, from, b"x").unwrap();
    fs.rename(from, to).unwrap();
    fs.sync_dir(Path::new("/a")).unwrap();
    let lost = fs.crash_images(8).iter().any(|disk| !disk.exists(from).unwrap() && !disk.exists(to).unwrap());
    assert!(lost);
    fs.sync_dir(Path::new("/b")).unwrap();
    assert!(fs.crash_images(8).iter().all(|disk| disk.exists(to).unwrap()));
}

#[test]
fn unsynced_sectors_come_back_in_any_combination() {
    let fs = SimFileSystem::new(1);
    publish(&fs, Path::new("/x"), &[0; 1536]).unwrap();
    let file = fs.open(Path::new("/x"), OpenMode::ReadWrite).unwrap();
    file.write_at(&[1; 1536], 0).unwrap();
    let images: BTreeSet<Vec<u8>> = fs
        .crash_images(8)
        .iter()
        .map(|disk| read_file(disk, Path::new("/x")).unwrap().into_iter().step_by(512).collect())
        .collect();
    assert_eq!(images.len(), 8, "three sectors, every subset");
    file.sync_data().unwrap();
    assert_eq!(fs.crash_images(8).len(), 1);
}

#[test]
fn what_a_failed_sync_lost_is_readable_until_evicted_and_never_comes_back() {
    let fs = SimFileSystem::new(4);
    publish(&fs, Path::new("/x"), &[0; 8192]).unwrap();
    let file = fs.open(Path::new("/x"), OpenMode::ReadWrite).unwrap();
    file.write_at(&[1; 8192], 0).unwrap();
    fs.plan_fault(Fault { call: CallKind::Sync, nth: 1, fault: FaultKind::Io, sticky: false });
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(read_file(&fs, Path::new("/x")).unwrap(), [1; 8192]);
    fs.evict();
    let found = read_file(&fs, Path::new("/x")).unwrap();
    assert!(found.contains(&0) && found.contains(&1), "some sectors were lost, some not");
}

#[test]
fn a_full_disk_takes_a_part_and_has_room_again_after_a_removal() {
    let fs = SimFileSystem::new(1);
    publish(&fs, Path::new("/x"), &[1; 1000]).unwrap();
    fs.set_capacity(Some(1500));
    assert_eq!(fs.free_space(Path::new("/")).unwrap(), 500);
    let file = fs.open(Path::new("/y"), OpenMode::CreateNew).unwrap();
    assert_eq!(file.write_at(&[2; 800], 0).unwrap(), 500);
    assert_eq!(file.write_at(&[2; 300], 500).unwrap_err().kind(), ErrorKind::StorageFull);
    fs.remove_file(Path::new("/x")).unwrap();
    assert_eq!(file.write_at(&[2; 300], 500).unwrap(), 300);
}

#[test]
fn a_flipped_bit_is_in_the_reading_not_on_the_disk() {
    let fs = SimFileSystem::new(1);
    publish(&fs, Path::new("/x"), &[0; 100]).unwrap();
    fs.plan_fault(Fault { call: CallKind::Read, nth: 1, fault: FaultKind::BitFlip, sticky: false });
    let ones = |bytes: Vec<u8>| bytes.iter().map(|b| b.count_ones()).sum::<u32>();
    assert_eq!(ones(read_file(&fs, Path::new("/x")).unwrap()), 1);
    assert_eq!(ones(read_file(&fs, Path::new("/x")).unwrap()), 0);
}
