//! What the campaigns found, place by place: each broke a promise before it was mended.
