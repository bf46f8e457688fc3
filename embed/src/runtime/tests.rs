//! Where ONNX Runtime is looked for. Loading it is tried in `tests/`, one process a case, since a process loads it once.

use std::fs;

use super::find;

#[test]
fn environments_prefixes_folders_and_files_are_searched() {
    let place = tempfile::tempdir().expect("a folder");
    let root = place.path();
    let put = |name: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(&path, b"").expect("a file");
        path
    };
    let wheel = put("environment/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.31.1");
    put("environment/lib/python3.11/site-packages/onnxruntime/capi/onnxruntime_pybind11_state.so");
    let debian = put("prefix/lib/python3/dist-packages/onnxruntime/capi/libonnxruntime.so.1.20.0");
    let release = put("release/lib/libonnxruntime.so.1");
    let linked = put("release/lib/libonnxruntime.so");
    let nested = put("site/onnxruntime/capi/libonnxruntime.so.1.19.2");

    assert_eq!(find(&[root.join("environment")]), [wheel]);
    assert_eq!(find(&[root.join("prefix")]), [debian]);
    assert_eq!(find(&[root.join("release")]), [linked.clone(), release.clone()]);
    assert_eq!(find(&[root.join("release/lib")]), [linked.clone(), release]);
    assert_eq!(find(std::slice::from_ref(&linked)), [linked]);
    assert_eq!(find(&[root.join("site")]), [nested]);
    assert!(find(&[root.join("nowhere"), root.to_owned()]).is_empty());
}
