//! What the processor must have, and what this build makes of it.

/// Whether the processor has what this build was compiled for; names what it lacks.
pub fn check() -> Result<(), &'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let checks = [
            (cfg!(target_feature = "avx2") && !std::arch::is_x86_feature_detected!("avx2"), "AVX2"),
            (cfg!(target_feature = "fma") && !std::arch::is_x86_feature_detected!("fma"), "FMA"),
            (cfg!(target_feature = "f16c") && !std::arch::is_x86_feature_detected!("f16c"), "F16C"),
        ];
        if let Some((_, name)) = checks.iter().find(|(missing, _)| *missing) {
            return Err(name);
        }
    }
    Ok(())
}

/// The class of instructions this build uses, as `version()` says it.
pub const SPEED_CLASS: &str = if cfg!(target_feature = "avx2") { "AVX2" } else { "generic" };
