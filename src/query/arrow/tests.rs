//! Tests of the Arrow forms.
